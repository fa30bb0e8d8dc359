"""PKCS#11 has no time-outs: a frozen device keeps C_Sign for ever. So calls run in a few threads, and we wait only
until a deadline.

A thread cannot be killed. One whose call is past its deadline counts as hung until the device lets it go. When two
hang and nothing was answered since the first began to, or when all hang, only a new process helps: a reply that was
lost never comes. `hopeless` says so.

A device that let one call hang and has answered nothing since is not asked again by callers who would wait a deadline
more, behind others who did: they are refused at once, until a call is answered (`recover` always tries) or a deadline
has passed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from hsm.algorithms import Algorithm, KeyKind
from hsm.device import CheckpointKey, Custody, Description, Device, KeyRef, SecretRef
from hsm.errors import DeviceBusy, DeviceError, DeviceUnavailable

T = TypeVar("T")
ENOUGH = 2  # calls that hang, and none was answered since: the second one tried
OPENING = 4  # deadlines that the first connection may take
_Job = tuple["Future[Any]", Callable[[], Any]]


class Deadlined:
    """A `Device` whose calls end: with the answer, or with an error at the deadline.

    What is still waiting in our queue at its deadline is DeviceBusy: nothing was asked of the device. So is what comes
    while the device does not answer. What is in the device is DeviceUnavailable: it is unknown whether it was done.
    """

    def __init__(
        self, device: Device, deadline: float, generation_deadline: float, threads: int, waiting: int
    ) -> None:
        self._device = device
        self._deadline = deadline
        self._generation_deadline = generation_deadline
        self._threads = threads
        self._waiting = waiting
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._hung: dict[Future[Any], float] = {}  # and since when
        self._answered_at = time.monotonic()
        self._lock = threading.Lock()
        self._closed = False
        for number in range(threads):
            # Daemons: a process with a hung thread must be able to end.
            threading.Thread(target=self._work, name=f"device-{number}", daemon=True).start()

    @property
    def hopeless(self) -> bool:
        began = tuple(self._hung.values())
        return self._all_hang or (len(began) >= ENOUGH and self._answered_at < min(began))

    @property
    def _all_hang(self) -> bool:
        return len(self._hung) >= self._threads

    @property
    def stalled(self) -> bool:
        """Does a call hang since less than a deadline, and was none answered since? Then another would hang, too."""
        last = max(tuple(self._hung.values()), default=0.0)
        return self._answered_at <= last and time.monotonic() - last < self._deadline

    def open(self) -> None:
        """Connect. Slower than any later call: on a network device some hundred round trips."""
        self._run(self._device.describe, OPENING * self._deadline)

    def side_by_side(self, calls: Sequence[Callable[[Device], T]]) -> Iterator[T | Exception]:
        """One deadline each, counted from the last answer that came: a slow device is not a device that hangs."""
        begun = [self._begun(partial(call, self._device)) for call in calls]
        last = time.monotonic()
        for each in begun:
            if not isinstance(each, Future):
                yield each
                continue
            try:
                answer: T | Exception = each.result(max(0.0, last + self._deadline - time.monotonic()))
                last = time.monotonic()
            except Late as error:
                answer = (error if each.done() else self._late(each, self._deadline))
            except Exception as error:
                answer, last = error, time.monotonic()
            yield answer

    def _begun(self, call: Callable[[], T]) -> Future[T] | DeviceError:
        try:
            return self._submitted(call, tries=False)
        except DeviceError as error:
            return error

    def describe(self) -> Description:
        return self._run(self._device.describe)

    def generate_key(self, key_id: str, kind: KeyKind, custody: Custody) -> KeyRef:
        return self._run(lambda: self._device.generate_key(key_id, kind, custody), self._generation_deadline)

    def sign(self, key: KeyRef, algorithm: Algorithm, digest: bytes) -> bytes:
        return self._run(lambda: self._device.sign(key, algorithm, digest))

    def generate_seed(self, seed_id: str) -> tuple[SecretRef, bytes]:
        return self._run(lambda: self._device.generate_seed(seed_id))

    def hmac_sha1(self, secret: SecretRef, message: bytes) -> bytes:
        return self._run(lambda: self._device.hmac_sha1(secret, message))

    def mac(self, message: bytes) -> bytes:
        return self._run(lambda: self._device.mac(message))

    def sign_checkpoint(self, message: bytes) -> bytes:
        return self._run(lambda: self._device.sign_checkpoint(message))

    def checkpoint_key(self) -> CheckpointKey:
        return self._run(self._device.checkpoint_key)

    def service_key(self, purpose: str, kind: KeyKind) -> KeyRef:
        return self._run(lambda: self._device.service_key(purpose, kind), self._generation_deadline)

    def random(self, n: int) -> bytes:
        return self._run(lambda: self._device.random(n))

    def encrypt(self, owner: str, secret: bytes) -> bytes:
        return self._run(lambda: self._device.encrypt(owner, secret))

    def decrypt(self, owner: str, blob: bytes) -> bytes:
        return self._run(lambda: self._device.decrypt(owner, blob))

    def destroy(self, key: KeyRef) -> None:
        self._run(lambda: self._device.destroy(key))

    def self_test(self) -> None:
        self._run(self._device.self_test)

    def recover(self) -> None:
        self._run(self._device.recover, tries=True)

    def close(self) -> None:
        """Ends the threads that can end. Waits at most one deadline for the device to log out."""
        if self._closed:
            return
        with suppress(DeviceError):
            self._run(self._device.close, tries=True)
        self._closed = True
        for _ in range(self._threads):
            self._jobs.put(None)

    def _run(self, call: Callable[[], T], seconds: float | None = None, *, tries: bool = False) -> T:
        """Hand the call to a device thread and wait for it, `seconds` at most (the deadline if None).

        `tries`: also while the device answers nobody.
        """
        seconds = self._deadline if seconds is None else seconds
        future = self._submitted(call, tries=tries)
        try:
            return future.result(seconds)
        except Late as error:
            if future.done():  # the call itself ended with a time-out of its own, or at the last moment
                return future.result()
            raise self._late(future, seconds) from error

    def _submitted(self, call: Callable[[], T], *, tries: bool) -> Future[T]:
        if self._closed:
            raise DeviceUnavailable("the device was closed")
        if self._all_hang:
            raise DeviceUnavailable(f"all {self._threads} device threads hang in the device")
        if self.stalled and not tries:
            raise DeviceBusy("the device does not answer others either; nothing was asked of it")
        if self._jobs.qsize() >= self._waiting:
            raise DeviceBusy(f"{self._waiting} calls wait for the device already")
        future: Future[T] = Future()
        self._jobs.put((future, call))
        return future

    def _late(self, future: Future[Any], seconds: float) -> DeviceBusy | DeviceUnavailable:
        if future.cancel():
            return DeviceBusy(f"the call waited {seconds:g} s for its turn; nothing was asked of the device")
        with self._lock:
            if not future.done():
                self._hung[future] = time.monotonic()
        return DeviceUnavailable(f"the device did not answer within {seconds:g} s: what it did is unknown")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                _settle(future, call)
                with self._lock:
                    self._hung.pop(future, None)
                    self._answered_at = time.monotonic()
            del job, future, call  # an idle thread must not keep what the last caller asked


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
