"""What the bench measured, and how it is told: rates, how long one took, what it cost of the processors."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One line of the table. `name` is what aims and readers of the JSON call it.

    `taken` are the ms that each one took, or each round of many; `cpu_ms` is what one of them cost, by process.
    """

    name: str
    what: str
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """Of what is measured; what drives it (`driver`) takes its share of the processors, too, and is told apart."""
        return sum(spent for name, spent in self.cpu_ms.items() if name != "driver")


@dataclass(frozen=True)
class Memory:
    """The most that a process held at any moment (VmHWM), in MiB."""

    name: str
    what: str
    peak_mib: Mapping[str, float]


@dataclass(frozen=True)
class Stages:
    """From the histograms of /metrics: the mean ms of each stage, and how often it was passed for one document."""

    name: str
    mean_ms: Mapping[str, float]
    times: Mapping[str, float]


Told = Figure | Memory | Stages


def figure(name: str, what: str, count: int, seconds: float, taken: Sequence[float],
           cpu_ms: Mapping[str, float] | None = None) -> Figure:
    """`count` of them took so many seconds, side by side; each of them as `taken` (seconds) says."""
    return Figure(name, what, count / seconds, quantile(taken, 0.5) * 1000, quantile(taken, 0.99) * 1000, cpu_ms or {})


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part of them does not pass; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else 0.0


def rounds(name: str, what: str, count: int, each: Sequence[float]) -> Figure:
    """Rounds of `count` that took so many seconds: the median round counts, the worst stands where p99 does."""
    return Figure(name, what, count / statistics.median(each), statistics.median(each) / count * 1000,
                  max(each) / count * 1000)


def table(told: Iterable[Told]) -> str:
    """Lines for people: figures, then where the processors' time went, stages, memory."""
    known = list(told)
    figures = [each for each in known if isinstance(each, Figure)]
    lines = [f"{'':74}{'per s':>10}{'p50 ms':>10}{'p99 ms':>10}{'CPU ms':>9}"]
    lines += [f"{each.what:74}{each.per_second:10.1f}{_cell(each.p50_ms, 10)}{_cell(each.p99_ms, 10)}"
              f"{_cell(each.cpu, 9)}" for each in figures]
    spent = [f"{each.what:74}{_named(each.cpu_ms)}" for each in figures if len(each.cpu_ms) > 1]
    stages = [f"{each.name:40}{_named(each.mean_ms)}" for each in known if isinstance(each, Stages)]
    memory = [f"{each.what:74}{_named(each.peak_mib)}" for each in known if isinstance(each, Memory)]
    for title, some in (("CPU of one, in ms, by process", spent), ("ms in each stage, once through it", stages),
                        ("the most memory, in MiB, of each process", memory)):
        lines += ["", title, *some] if some else []
    return "\n".join(lines)


def _cell(value: float, width: int) -> str:
    """Empty for what was not measured."""
    return f"{value:{width}.2f}" if value else " " * width


def _named(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.2f}" for name, value in values.items() if value >= 0.005)


def as_json(told: Iterable[Told]) -> dict[str, Any]:
    """By name, for `var/proof`."""
    kept: dict[str, Any] = {}
    for each in told:
        kind = {Figure: "figures", Memory: "memory", Stages: "stages"}[type(each)]
        kept.setdefault(kind, {})[each.name] = _rounded(asdict(each))
    return kept


def _rounded(value: Any) -> Any:
    match value:
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
        case float():
            return round(value, 3)
    return value
