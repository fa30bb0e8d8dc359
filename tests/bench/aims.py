"""What was aimed at, as ratios of figures of one run, and whether it was reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.bench.figures import Figure, Memory, Told


@dataclass(frozen=True)
class Aim:
    """`first` is to be at least so many times as fast as `second`."""

    what: str
    first: str
    second: str
    at_least: float


AIMS = (
    Aim("B-B P-256, upload to download, to PDFBox", "http-p256-bb-small-batch", "pdfbox-p256-small", 1.0),
    Aim("B-B P-256, code to signed document, to PDFBox", "http-p256-bb-small-batch-confirm", "pdfbox-p256-small", 1.0),
    Aim("B-B RSA-2048, upload to download, to PDFBox", "http-rsa-bb-small-batch", "pdfbox-rsa-small", 1.5),
    Aim("B-B RSA-2048, code to signed document, to PDFBox", "http-rsa-bb-small-batch-confirm", "pdfbox-rsa-small",
        1.5),
    Aim("signer, P-256, 50 under one code, to the device", "signer-p256-batch", "device-p256-c", 0.25),
    Aim("signer, RSA-2048, 50 under one code, to the device", "signer-rsa-batch", "device-rsa-c", 0.8),
    Aim("signer, P-256, one code each, to the device", "signer-p256-waiting", "device-p256-c", 0.05),
    Aim("signer, RSA-2048, one code each, to the device", "signer-rsa-waiting", "device-rsa-c", 0.4),
    Aim("B-T to B-B, P-256, 50 under one code", "http-p256-bt-small-batch", "http-p256-bb-small-batch", 0.8),
    Aim("B-T to B-B, RSA-2048, 50 under one code", "http-rsa-bt-small-batch", "http-rsa-bb-small-batch", 0.8),
)
CONFIRM_P99_MS = 50.0   # at half load
LARGE_MIB = 300.0       # every process, with a document of 200 MB


@dataclass(frozen=True)
class Verdict:
    """One aim and what was reached of it."""

    what: str
    aim: str
    reached: str
    met: bool


def verdicts(told: Iterable[Told]) -> list[Verdict]:
    """Of the aims whose figures are there: a part of the bench alone judges only what it measured."""
    known = {each.name: each for each in told}
    judged = [_judged(aim, known) for aim in AIMS]
    judged += [_confirmation(each) for each in known.values() if each.name.startswith("half-load")]
    judged += [_memory(each) for each in known.values() if each.name == "memory-large"]
    return [each for each in judged if each is not None]


def _judged(aim: Aim, known: dict[str, Told]) -> Verdict | None:
    first, second = known.get(aim.first), known.get(aim.second)
    if not isinstance(first, Figure) or not isinstance(second, Figure):
        return None
    ratio = first.per_second / second.per_second
    return Verdict(aim.what, f">= {aim.at_least:.2f}x", f"{ratio:.2f}x", ratio >= aim.at_least)


def _confirmation(told: Told) -> Verdict | None:
    if not isinstance(told, Figure):
        return None
    return Verdict(f"p99 of {told.what}", f"< {CONFIRM_P99_MS:.0f} ms", f"{told.p99_ms:.1f} ms",
                   told.p99_ms < CONFIRM_P99_MS)


def _memory(told: Told) -> Verdict | None:
    if not isinstance(told, Memory):
        return None
    largest = max(told.peak_mib.values())
    return Verdict(told.what, f"< {LARGE_MIB:.0f} MiB", f"{largest:.0f} MiB", largest < LARGE_MIB)


def of_scale(told: Iterable[Told]) -> list[Verdict]:
    """What has grown is to be as fast as what is small; starting has its limits."""
    known = {each.name: each for each in told if isinstance(each, Figure)}
    judged = [verdict for each in known.values() for verdict in _grown(each, known)]
    return judged + [_within(each, *limits) for each in known.values() for limits in LIMITS
                     if limits[0] in each.name]


LIMITS = (  # part of a figure's name, of which moment, and the most that it may be, in ms
    ("-start-100000", "p50", 2_000.0),
    ("-ready-restart-", "p50", 10_000.0),
    ("-search-", "p99", 1_000.0),
    ("nodes-pause", "p99", 10_000.0),
)


def _grown(large: Figure, known: dict[str, Figure]) -> list[Verdict]:
    """The p99 of a signature where there are 100,000 signatories, against that where there are 10.

    Whose key is not in the device any more is held against those whose key always is.
    """
    small = known.get(large.name.replace("-100000", "-10").replace("-first-", "-signature-"))
    if large.name.endswith("-100000") and "-start-" not in large.name and small is not None:
        ratio = large.p99_ms / small.p99_ms
        return [Verdict(f"p99, {large.what}, to one of 10", "<= 1.20x", f"{ratio:.2f}x", ratio <= 1.2)]
    return []


def _within(each: Figure, _part: str, moment: str, limit: float) -> Verdict:
    reached = each.p50_ms if moment == "p50" else each.p99_ms
    return Verdict(f"{moment}, {each.what}", f"<= {limit:.0f} ms", f"{reached:.0f} ms", reached <= limit)


def table(judged: Iterable[Verdict]) -> str:
    lines = [f"{'aims':74}{'aim':>12}{'reached':>12}"]
    lines += [f"{each.what:74}{each.aim:>12}{each.reached:>12}  {'met' if each.met else 'MISSED'}" for each in judged]
    return "\n".join(lines)
