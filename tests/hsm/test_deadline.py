"""Calls end. The device is the in-memory twin; the real frozen one is in test_faults.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from hsm.algorithms import KeyKind
from hsm.deadline import Deadlined
from hsm.device import Custody
from hsm.errors import DeviceBusy, DeviceUnavailable, KeyNotFound
from tests.support.memory_device import MemoryDevice

Opened = Callable[..., Deadlined]


@pytest.fixture
def memory() -> MemoryDevice:
    return MemoryDevice()


@pytest.fixture
def opened(memory: MemoryDevice) -> Iterator[Opened]:
    made: list[Deadlined] = []

    def opened(deadline: float = 0.2, threads: int = 2, waiting: int = 100) -> Deadlined:
        made.append(Deadlined(memory, deadline, 10.0, threads, waiting))
        return made[-1]

    yield opened
    for each in made:
        each.close()


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "it did not happen within 10 s"
        time.sleep(0.005)


def hang(device: Deadlined, calls: int) -> None:
    """So many calls at once, each to end at its deadline."""
    with ThreadPoolExecutor(calls) as pool:
        asked = [pool.submit(device.random, 1) for _ in range(calls)]
    assert all(isinstance(each.exception(), DeviceUnavailable) for each in asked)


def test_a_call_that_hangs_ends_at_its_deadline_and_its_outcome_is_unknown(
    memory: MemoryDevice, opened: Opened
) -> None:
    device = opened()
    with memory.hanging(), pytest.raises(DeviceUnavailable, match="unknown"):
        device.mac(b"row")
    assert not device.hopeless


def test_it_is_hopeless_while_what_tries_hangs_too(memory: MemoryDevice, opened: Opened) -> None:
    """A reply that was lost never comes: it needs no more threads to know, and a new process is soon there."""
    device = opened(threads=8)
    with memory.hanging():
        hang(device, 1)
        assert not device.hopeless
        with pytest.raises(DeviceUnavailable, match="unknown"):
            device.recover()
        assert device.hopeless
    eventually(lambda: not device.hopeless)
    assert len(device.mac(b"row")) == 32


def test_two_calls_that_hang_on_a_device_that_answers_others_are_not_hopeless(
    memory: MemoryDevice, opened: Opened
) -> None:
    device = opened(threads=8)
    for _ in range(3):
        device._hung[Future()] = time.monotonic()
    device.recover()
    assert not device.hopeless


def test_it_is_hopeless_only_while_every_thread_hangs(memory: MemoryDevice, opened: Opened) -> None:
    device = opened(threads=2)
    with memory.hanging():
        hang(device, 1)
        assert not device.hopeless
        with pytest.raises(DeviceUnavailable, match="unknown"):
            device.recover()
        eventually(lambda: device.hopeless)
        with pytest.raises(DeviceUnavailable, match="all 2"):
            device.mac(b"row")
    eventually(lambda: not device.hopeless)
    assert len(device.mac(b"row")) == 32


def test_a_hopeless_device_refuses_at_once(memory: MemoryDevice, opened: Opened) -> None:
    device = opened(deadline=0.1, threads=1)
    with memory.hanging():
        hang(device, 1)
        asked = len(memory.calls)
        for _ in range(50):
            with pytest.raises(DeviceUnavailable):
                device.mac(b"row")
        assert len(memory.calls) == asked


def test_while_a_call_hangs_and_none_is_answered_others_are_refused_at_once(
    memory: MemoryDevice, opened: Opened
) -> None:
    """Or whoever waits behind one that hung would wait for a second deadline, and a third."""
    device = opened(deadline=30.0, threads=3)
    device._deadline = 0.1
    with memory.hanging():
        hang(device, 1)
        device._deadline = 30.0  # for what is asked from now on: it does not wait
        asked = len(memory.calls)
        for _ in range(20):
            with pytest.raises(DeviceBusy, match="nothing was asked"):
                device.mac(b"row")
        assert len(memory.calls) == asked
        assert not device.hopeless
    eventually(lambda: not device.stalled)
    assert len(device.mac(b"row")) == 32


def test_a_device_that_answers_anybody_again_is_asked_by_everybody(memory: MemoryDevice, opened: Opened) -> None:
    device = opened(deadline=30.0, threads=3)
    device._deadline = 0.1
    with memory.hanging():
        hang(device, 1)
        device._deadline = 30.0
        with ThreadPoolExecutor(1) as pool:
            trying = pool.submit(device.recover)  # what keeps the house asks whatever hangs
            assert device.stalled
            memory._free.set()
            trying.result(10)
        assert len(device.mac(b"row")) == 32


def test_a_device_that_let_one_call_hang_is_asked_again_after_a_deadline(memory: MemoryDevice, opened: Opened) -> None:
    device = opened(deadline=0.05, threads=4)
    with memory.hanging():
        hang(device, 1)
    eventually(lambda: not device.stalled)
    device._hung[Future()] = time.monotonic()  # one that hangs for ever
    eventually(lambda: not device.stalled)
    assert len(device.mac(b"row")) == 32


def test_what_waited_too_long_in_our_queue_was_never_asked(memory: MemoryDevice, opened: Opened) -> None:
    device = opened(deadline=1.0, threads=1)
    with memory.hanging(), ThreadPoolExecutor(1) as pool:
        first = pool.submit(device.mac, b"row")
        eventually(device._jobs.empty)  # the only thread has it
        device._deadline = 0.1
        with pytest.raises(DeviceBusy, match="nothing was asked"):
            device.generate_seed("seed")
        assert isinstance(first.exception(), DeviceUnavailable)
    eventually(lambda: not device.hopeless)
    assert device.random(1)
    assert "generate_seed" not in memory.calls


def test_a_full_queue_refuses_at_once(memory: MemoryDevice, opened: Opened) -> None:
    device = opened(deadline=1.0, threads=1, waiting=3)
    with memory.hanging(), ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(device.mac, b"row") for _ in range(10)]
        errors = [call.exception() for call in calls]
    kinds = [type(error) for error in errors]
    assert kinds.count(DeviceUnavailable) == 1  # in the device
    assert kinds.count(DeviceBusy) == 9
    assert sum("wait for the device already" in str(error) for error in errors) >= 5


def test_an_error_of_the_device_reaches_the_caller_unchanged(memory: MemoryDevice, opened: Opened) -> None:
    device = opened()
    for error in (KeyNotFound("gone"), DeviceUnavailable("away")):
        memory.fail_next(error)
        with pytest.raises(type(error), match=str(error)):
            device.mac(b"row")
    with pytest.raises(ValueError, match="at least one"):
        device.random(0)


def test_making_a_key_may_take_longer_than_the_deadline(memory: MemoryDevice, opened: Opened) -> None:
    device = opened(deadline=0.05)
    with ThreadPoolExecutor(1) as pool:
        with memory.hanging():
            made = pool.submit(device.generate_key, "key", KeyKind.P256, Custody.WRAPPED)
            with pytest.raises(DeviceUnavailable):
                device.mac(b"row")  # the deadline is over
            assert not made.done()
        assert made.result(10).id == "key"


def test_every_call_goes_through(memory: MemoryDevice, opened: Opened) -> None:
    device = opened()
    device.open()
    key = device.generate_key("key", KeyKind.P256, Custody.TOKEN)
    seed, _ = device.generate_seed("seed")
    assert len(device.hmac_sha1(seed, b"message")) == 20
    assert device.decrypt("owner", device.encrypt("owner", b"secret")) == b"secret"
    assert device.sign_checkpoint(b"message")
    assert device.checkpoint_key().algorithm == "ed25519"
    assert device.service_key("timestamp", KeyKind.P256).custody is Custody.TOKEN
    device.destroy(key)
    device.recover()
    assert memory.calls[-2:] == ["destroy", "self_test"]


def test_a_closed_device_refuses_and_closing_is_repeatable(opened: Opened) -> None:
    device = opened()
    device.close()
    device.close()
    with pytest.raises(DeviceUnavailable, match="closed"):
        device.mac(b"row")


def test_closing_ends_although_the_device_hangs(memory: MemoryDevice, opened: Opened) -> None:
    device = opened(deadline=0.1, threads=1)
    with memory.hanging():
        hang(device, 1)
        device.close()
