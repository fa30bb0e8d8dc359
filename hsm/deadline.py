"""PKCS#11 has no time-outs: a frozen device keeps C_Sign for ever. So calls run in a few threads, and we wait only
until a deadline.

A thread cannot be killed. One whose call is past its deadline counts as hung until the device lets it go; when all
of them hang, only a new process helps, and `hopeless` says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from hsm.algorithms import Algorithm, KeyKind
from hsm.device import CheckpointKey, Custody, Description, Device, KeyRef, SecretRef
from hsm.errors import DeviceBusy, DeviceError, DeviceUnavailable

T = TypeVar("T")
OPENING = 4  # deadlines that the first connection may take
_Job = tuple["Future[Any]", Callable[[], Any]]


class Deadlined:
    """A `Device` whose calls end: with the answer, or with an error at the deadline.

    What is still waiting in our queue at its deadline is DeviceBusy: nothing was asked of the device. What is in
    the device is DeviceUnavailable: it is unknown whether it was done.
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
        self._hung: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._closed = False
        for number in range(threads):
            # Daemons: a process with a hung thread must be able to end.
            threading.Thread(target=self._work, name=f"device-{number}", daemon=True).start()

    @property
    def hopeless(self) -> bool:
        return len(self._hung) >= self._threads

    def open(self) -> None:
        """Connect. Slower than any later call: on a network device some hundred round trips."""
        self._run(self._device.describe, OPENING * self._deadline)

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
        self._run(self._device.recover)

    def close(self) -> None:
        """Ends the threads that can end. Waits at most one deadline for the device to log out."""
        if self._closed:
            return
        with suppress(DeviceError):
            self._run(self._device.close)
        self._closed = True
        for _ in range(self._threads):
            self._jobs.put(None)

    def _run(self, call: Callable[[], T], seconds: float | None = None) -> T:
        """Hand the call to a device thread and wait for it, `seconds` at most (the deadline if None)."""
        seconds = self._deadline if seconds is None else seconds
        future = self._submitted(call)
        try:
            return future.result(seconds)
        except Late as error:
            if future.done():  # the call itself ended with a time-out of its own, or at the last moment
                return future.result()
            raise self._late(future, seconds) from error

    def _submitted(self, call: Callable[[], T]) -> Future[T]:
        if self._closed:
            raise DeviceUnavailable("the device was closed")
        if self.hopeless:
            raise DeviceUnavailable(f"all {self._threads} device threads hang in the device")
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
                self._hung.add(future)
        return DeviceUnavailable(f"the device did not answer within {seconds:g} s: what it did is unknown")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                _settle(future, call)
                with self._lock:
                    self._hung.discard(future)
            del job, future, call  # an idle thread must not keep what the last caller asked


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
