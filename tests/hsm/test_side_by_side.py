"""Many calls at once: each has its own answer, in its own place, and a call that hangs is one call that hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from threading import Event

import pytest

from hsm.algorithms import Algorithm, KeyKind
from hsm.deadline import Deadlined
from hsm.device import Custody, Device
from hsm.errors import DeviceBusy, DeviceUnavailable, KeyNotFound
from hsm.verification import holds
from tests.support import softhsm
from tests.support.memory_device import MemoryDevice

DEADLINE = 0.3


@pytest.fixture
def device() -> Iterator[Deadlined]:
    made = Deadlined(MemoryDevice(), DEADLINE, 10.0, 2, 100)
    yield made
    made.close()


def mac(message: bytes, device: Device) -> bytes:
    return device.mac(message)


def raising(error: Exception, _device: Device) -> bytes:
    raise error


@pytest.mark.parametrize("make", [softhsm.device, MemoryDevice], ids=["SoftHSM", "in memory"])
def test_every_call_has_its_own_answer_in_its_own_place(make: Callable[[], Device]) -> None:
    device, messages = make(), [bytes([n]) for n in range(40)]
    given: list[bytes | Exception] = list(device.side_by_side([partial(mac, each) for each in messages]))
    assert given == [device.mac(each) for each in messages]


def test_signatures_that_were_asked_for_side_by_side_verify() -> None:
    device = softhsm.device()
    key = device.generate_key("side-by-side", KeyKind.P256, Custody.WRAPPED)
    digests = [bytes([n]) * 32 for n in range(20)]

    def sign(digest: bytes, device: Device) -> bytes:
        return device.sign(key, Algorithm.ECDSA_SHA256, digest)

    values = list(device.side_by_side([partial(sign, each) for each in digests]))
    assert all(isinstance(value, bytes) and holds(key.public_key, Algorithm.ECDSA_SHA256, digest, value)
               for digest, value in zip(digests, values, strict=True))


@pytest.mark.parametrize("error", [KeyNotFound("gone"), ValueError("not a digest"), RuntimeError("nobody foresaw it")])
def test_what_one_call_raises_is_its_answer_and_the_others_have_theirs(device: Deadlined, error: Exception) -> None:
    calls: list[Callable[[Device], bytes]] = [partial(mac, b"1"), partial(raising, error), partial(mac, b"3")]
    first, second, third = device.side_by_side(calls)
    assert (first, second, third) == (device.mac(b"1"), error, device.mac(b"3"))


def test_a_call_that_hangs_is_unknown_and_the_others_are_answered(device: Deadlined) -> None:
    free, expected = Event(), [device.mac(bytes([n])) for n in range(5)]

    def hanging(_device: Device) -> bytes:
        free.wait(10)
        return b"too late"

    calls: list[Callable[[Device], bytes]] = [hanging, *(partial(mac, bytes([n])) for n in range(5))]
    try:
        given = list(device.side_by_side(calls))
    finally:
        free.set()
    assert isinstance(given[0], DeviceUnavailable)
    assert given[1:] == expected


def test_what_waits_behind_a_device_that_hangs_was_never_asked(device: Deadlined) -> None:
    """So it is known that nothing was signed; and nobody waits a deadline for each of them."""
    free, begun = Event(), []

    def hanging(_device: Device) -> bytes:
        begun.append(1)
        free.wait(10)
        return b"too late"

    try:
        kinds = [type(each) for each in device.side_by_side([hanging] * 5)]
    finally:
        free.set()
    assert kinds == [DeviceUnavailable] * 2 + [DeviceBusy] * 3
    assert len(begun) == 2


def test_a_full_queue_is_an_answer_too() -> None:
    device = Deadlined(MemoryDevice(), DEADLINE, 10.0, 1, 3)
    free = Event()

    def slow(_device: Device) -> bytes:
        free.wait(0.1)
        return b"slow"

    calls: list[Callable[[Device], bytes]] = [slow, *[partial(mac, b"m")] * 9]
    try:
        assert DeviceBusy in {type(each) for each in device.side_by_side(calls)}
        assert device.mac(b"m") == device.mac(b"m")
    finally:
        free.set()
        device.close()
