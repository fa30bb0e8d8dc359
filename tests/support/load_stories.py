"""Eight threads that do everything a device can do, at once, for as long as they are told; run `in_child`.

Few keys stay resident, so that they come and go; devices open and close beside the one that works, and the token's
objects are listed meanwhile.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pkcs11 import Attribute

from hsm import Device, DeviceSettings
from hsm.algorithms import KeyKind, default_algorithm
from hsm.deadline import Deadlined
from hsm.device import Custody, KeyRef
from hsm.sealing import seal, unseal
from hsm.token import Pkcs11Device
from hsm.verification import holds
from tests.support import softhsm, softokn

MADE: dict[str, Callable[[Path], DeviceSettings]] = {"SoftHSM": softhsm.provisioned, "softokn": softokn.provisioned}
RARE = {"store", "list", "open"}  # some ms to 50 ms each: once in so many rounds
EVERY = 16
SAMPLES = 40  # looks at the process, over the whole time


@dataclass
class Load:
    """What was done, how often; and what the process held, in bytes and in number, as time went by."""

    done: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    @property
    def grown(self) -> int:
        """Bytes more in the last quarter, on average, than in the second: the first fills what is kept."""
        quarter = len(self.memory) // 4
        second, last = self.memory[quarter:2 * quarter], self.memory[-quarter:]
        return sum(last) // quarter - sum(second) // quarter

    @property
    def descriptors_grown(self) -> int:
        """The most in the last quarter beyond the most in the second."""
        quarter = len(self.descriptors) // 4
        return max(self.descriptors[-quarter:]) - max(self.descriptors[quarter:2 * quarter])


def mixed_load(directory: Path, module: str, threads: int, seconds: float) -> Load:
    """Any error of any thread is raised."""
    settings = replace(MADE[module](directory), threads=threads, resident_keys=3, deadline=30.0)
    inner = Pkcs11Device(settings)
    device = Deadlined(inner, settings.deadline, settings.generation_deadline, threads, settings.waiting)
    acts = list(_acts(inner, device, settings).items())
    load, until, wrong = Load(), time.monotonic() + seconds, list[BaseException]()
    numbers, counting = itertools.count(), threading.Lock()

    def work() -> None:
        try:
            while not wrong:
                number = next(numbers)
                if number >= len(acts) and time.monotonic() >= until:  # everything was done once, whatever the time
                    return
                name, act = acts[number % len(acts)]
                if name not in RARE or number // len(acts) % EVERY == 0:
                    act(number)
                    with counting:
                        load.done[name] += 1
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        _look(load)
        workers[0].join(seconds / SAMPLES)
    device.close()
    if wrong:
        raise wrong[0]
    return load


def _look(load: Load) -> None:
    load.memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    load.descriptors.append(len(os.listdir("/proc/self/fd")))


def _signs(device: Device, key: KeyRef) -> None:
    algorithm = default_algorithm(key.kind)
    digest = os.urandom(algorithm.digest.size)
    assert holds(key.public_key, algorithm, digest, device.sign(key, algorithm, digest))


def _acts(inner: Pkcs11Device, device: Device, settings: DeviceSettings) -> dict[str, Callable[[int], Any]]:
    able = device.describe().capabilities
    keys = [device.generate_key(f"key-{n}", KeyKind.P256, able.custody) for n in range(6)]
    rsa = [device.generate_key(f"rsa-{n}", KeyKind.RSA_2048, able.custody) for n in range(2)]
    seeds = [device.generate_seed(f"seed-{n}")[0] for n in range(3)]

    def store(number: int) -> None:
        key = device.generate_key(f"stored-{number}", KeyKind.P256, Custody.TOKEN)
        _signs(device, key)
        device.destroy(key)

    def listed(_: int) -> None:
        inner.describe()
        link = inner._link
        assert link is not None
        with link.connection.session() as session, link._searching:
            assert len({each[Attribute.LABEL] for each in session.get_objects({Attribute.TOKEN: True})}) > 3

    def opened(number: int) -> None:
        another = Pkcs11Device(settings)
        _signs(another, keys[number % len(keys)])
        another.close()

    acts: dict[str, Callable[[int], Any]] = {
        "sign P-256": lambda n: _signs(device, keys[n % len(keys)]),
        "sign RSA": lambda n: _signs(device, rsa[n % len(rsa)]),
        "code": lambda n: device.hmac_sha1(seeds[n % len(seeds)], n.to_bytes(8, "big")),
        "mac": lambda n: device.mac(b"row"),
        "random": lambda n: device.random(32),
        "checkpoint": lambda n: device.sign_checkpoint(b"checkpoint"),
        "self-test": lambda n: device.self_test(),
        "store": store, "list": listed, "open": opened,
    }
    if able.wrap:
        acts["generate, wrap, unwrap"] = lambda n: _signs(
            device, device.generate_key(f"new-{n}", KeyKind.P256, Custody.WRAPPED))
    if able.seal:
        acts["seal, unseal"] = lambda n: unseal(device, "owner", seal(device, "owner", b"secret"))
    return acts
