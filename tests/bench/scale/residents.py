"""What `resident_keys` buys and costs: a signature with a key that is in the device, with one that must be unwrapped
first, and the memory of each that stays.

A signatory who signs leaves two of them: their key, and the seed of their codes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from hsm import open_device
from hsm.algorithms import Algorithm, KeyKind
from hsm.device import Custody, Device
from tests.bench.figures import Figure, Memory, Told, figure
from tests.bench.scale.kept import Kept
from tests.bench.short import less
from tests.support import softhsm

RESIDENTS = less(10_000, 200)
AGAIN = less(2_000, 50)
KINDS = {KeyKind.P256: Algorithm.ECDSA_SHA256, KeyKind.RSA_2048: Algorithm.RSA_SHA256}


def measure(_kept: Kept, _directory: Path) -> Iterator[Told]:
    device = open_device(replace(softhsm.settings(), resident_keys=4 * RESIDENTS))
    try:
        for kind in KINDS:
            yield from _of_kind(device, kind)
        yield from _of_seeds(device)
    finally:
        device.close()


def _of_kind(device: Device, kind: KeyKind) -> Iterator[Told]:
    """One key under many ids: each is unwrapped, and stays, for itself."""
    ref, algorithm = device.generate_key(f"residents-{kind}", kind, Custody.WRAPPED), KINDS[kind]
    device.sign(ref, algorithm, bytes(32))
    yield _timed(f"resident-{kind}", f"{kind}, a signature in the device", AGAIN,
                 lambda _: device.sign(ref, algorithm, bytes(32)))
    yield from _kept(device, f"{kind}, the same where the key is unwrapped first", f"unwrapped-{kind}",
                     lambda number: device.sign(replace(ref, id=f"{ref.id}-{number}"), algorithm, bytes(32)))


def _of_seeds(device: Device) -> Iterator[Told]:
    ref, _ = device.generate_seed("residents-seed")
    device.hmac_sha1(ref, b"step")
    yield _timed("resident-seed", "a code in the device", AGAIN, lambda _: device.hmac_sha1(ref, b"step"))
    yield from _kept(device, "the same where the seed is unwrapped first", "unwrapped-seed",
                     lambda number: device.hmac_sha1(replace(ref, id=f"{ref.id}-{number}"), b"step"))


def _kept(device: Device, what: str, name: str, work: Callable[[int], object]) -> Iterator[Told]:
    before = _memory()
    yield _timed(name, what, RESIDENTS, work)
    yield Memory(f"memory-{name}", f"{RESIDENTS} that stay", {"signer": _memory() - before})
    yield _timed(f"well-{name}", "whether the device is well, asked among them", 20, lambda _: device.recover())


def _timed(name: str, what: str, count: int, work: Callable[[int], object]) -> Figure:
    taken, spent, begun = [], time.process_time(), time.perf_counter()
    for number in range(count):
        at = time.perf_counter()
        work(number)
        taken.append(time.perf_counter() - at)
    cpu = (time.process_time() - spent) / count * 1000
    return figure(name, what, count, time.perf_counter() - begun, taken, {"device": cpu})


def _memory() -> float:
    """MiB that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
