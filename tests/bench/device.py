"""The device alone, as everybody else's measure: a loop in C around C_Sign, and python-pkcs11 as the signer uses it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from hsm.algorithms import Algorithm, KeyKind
from hsm.device import Custody
from tests.bench.figures import Figure, figure
from tests.bench.short import QUICK
from tests.support import softhsm

SECONDS = 0.3 if QUICK else 3.0
KINDS = {"p256": (KeyKind.P256, Algorithm.ECDSA_SHA256), "rsa": (KeyKind.RSA_2048, Algorithm.RSA_SHA256)}


def measure(directory: Path) -> Iterator[Figure]:
    loop = _built(directory)
    for name, (kind, _) in KINDS.items():
        yield _in_c(loop, f"device-{name}-c", f"device, {kind}, a loop in C, one thread", kind, 1)
        cores = os.cpu_count() or 1
        yield _in_c(loop, f"device-{name}-c-cores", f"device, {kind}, a loop in C, {cores} threads", kind, cores)
    for name, (kind, algorithm) in KINDS.items():
        yield _in_python(f"device-{name}-python", f"device, {kind}, through hsm.Device", kind, algorithm)


def _built(directory: Path) -> Path:
    program = directory / "device_loop"
    source = Path(__file__).with_name("device_loop.c")
    subprocess.run(["cc", "-O2", "-std=gnu11", "-o", program, source, "-ldl", "-lpthread"], check=True)
    return program


def _in_c(loop: Path, name: str, what: str, kind: KeyKind, threads: int) -> Figure:
    settings = softhsm.settings()
    command = [loop, settings.module, settings.token, softhsm.PIN, kind.value, str(threads), str(SECONDS)]
    environment = {**os.environ, "SOFTHSM2_CONF": str(settings.softhsm_conf)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    count, seconds, p50, p99 = (float(each) for each in done.stdout.split())
    return Figure(name, what, count / seconds, p50 / 1000, p99 / 1000)


def _in_python(name: str, what: str, kind: KeyKind, algorithm: Algorithm) -> Figure:
    device = softhsm.device()
    key = device.generate_key(f"bench-{kind}-{time.monotonic_ns()}", kind, Custody.WRAPPED)
    digest = hashlib.sha256(b"bench").digest()
    device.sign(key, algorithm, digest)  # unwrapped and kept from here on
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    spent, begun = time.process_time(), time.perf_counter()
    while time.perf_counter() < end:
        at = time.perf_counter()
        device.sign(key, algorithm, digest)
        taken.append(time.perf_counter() - at)
    passed = time.perf_counter() - begun
    cpu = (time.process_time() - spent) / len(taken) * 1000
    return figure(name, what, len(taken), passed, taken, {"python": cpu})
