"""The device as PKCS#11 offers it. Calls here may hang for ever: `hsm/deadline.py` stands before it.

One `Link` is one login with everything that is valid only under it. After a failure the question is always the
same: is the device well and only this call bad? A MAC with a key we hold answers it. If not, the link is lost and
the next call makes a new one: initialise, log in, find, sign, verify.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pkcs11 import Mechanism, PKCS11Error, Session

from hsm.algorithms import Algorithm, KeyKind
from hsm.device import (
    Capabilities,
    CheckpointKey,
    Custody,
    Description,
    Device,
    KeyRef,
    SecretRef,
    check_new_id,
    check_signable,
    one_by_one,
    signing_purpose,
)
from hsm.encodings import signature_value, to_operate_on
from hsm.errors import DeviceError, DeviceUnavailable
from hsm.link import Link, sign_with
from hsm.module import Library, Login, acquire, release
from hsm.returncodes import kind_of
from hsm.settings import DeviceSettings

T = TypeVar("T")
PATIENCE = 1.0  # seconds that a reconnection waits for calls still inside, and callers for a reconnection
PAUSE = 0.5  # seconds between two attempts to reconnect: a device that is away is not hammered


class Pkcs11Device:
    """A `Device` on one token. Connects with the first call; safe for threads; of no use after a fork."""

    hopeless = False  # hanging is judged by `hsm/deadline.py`

    def __init__(self, settings: DeviceSettings) -> None:
        self._settings = settings
        self._login = Login(settings.pin_file)
        self._library: Library | None = None
        self._link: Link | None = None
        self._able: Capabilities | None = None  # tried once: an outage must not look like an inability
        self._connecting = threading.Lock()
        self._generation = 0
        self._not_before = 0.0
        self._failure: DeviceError | None = None
        self._opened = False  # were we connected before? then service keys are never made
        self._process = os.getpid()

    # --- Device ---

    def side_by_side(self, calls: Sequence[Callable[[Device], T]]) -> Iterator[T | Exception]:
        return one_by_one(self, calls)

    def describe(self) -> Description:
        return self._run(lambda link, _session: link.description)

    def generate_key(self, key_id: str, kind: KeyKind, custody: Custody) -> KeyRef:
        check_new_id(key_id)
        return self._run(lambda link, session: link.generate(session, key_id, kind, custody))

    def sign(self, key: KeyRef, algorithm: Algorithm, digest: bytes) -> bytes:
        check_signable(key.kind, algorithm, digest)
        data, how = to_operate_on(key.kind, algorithm, digest)

        def work(link: Link, session: Session) -> bytes:
            with link.private(session, key) as handle:
                return sign_with(session, handle, data, how)

        return signature_value(algorithm, self._run(work))

    def generate_seed(self, seed_id: str) -> tuple[SecretRef, bytes]:
        check_new_id(seed_id)
        return self._run(lambda link, session: link.generate_seed(session, seed_id))

    def hmac_sha1(self, secret: SecretRef, message: bytes) -> bytes:
        def work(link: Link, session: Session) -> bytes:
            with link.secret(session, secret) as handle:
                return sign_with(session, handle, message, {"mechanism": Mechanism.SHA_1_HMAC})

        return self._run(work)

    def mac(self, message: bytes) -> bytes:
        return self._run(lambda link, session: link.mac(session, message))

    def sign_checkpoint(self, message: bytes) -> bytes:
        return self._run(lambda link, session: link.sign_checkpoint(session, message))

    def checkpoint_key(self) -> CheckpointKey:
        return self._run(lambda link, _session: link.checkpoint.public)

    def service_key(self, purpose: str, kind: KeyKind) -> KeyRef:
        service = signing_purpose(purpose)
        return self._run(lambda link, session: link.service_pair(session, service, kind))

    def random(self, n: int) -> bytes:
        if n < 1:
            raise ValueError("ask for at least one byte")
        return self._run(lambda _link, session: session.generate_random(8 * n))

    def encrypt(self, owner: str, secret: bytes) -> bytes:
        return self._run(lambda link, session: link.encrypt(session, owner, secret))

    def decrypt(self, owner: str, blob: bytes) -> bytes:
        return self._run(lambda link, session: link.decrypt(session, owner, blob))

    def destroy(self, key: KeyRef) -> None:
        self._run(lambda link, session: link.destroy(session, key))

    def self_test(self) -> None:
        self._run(lambda link, session: link.self_test(session))

    def recover(self) -> None:
        self._run(lambda link, session: link.signs(session))

    def close(self) -> None:
        with self._connecting:
            link, self._link = self._link, None
            library, self._library = self._library, None
            if link is not None:
                link.connection.close()
            if library is not None:
                release(library)

    # --- the connection ---

    def _run(self, work: Callable[[Link, Session], T]) -> T:
        """Do one thing in the device. Every error that leaves here is a DeviceError, or a ValueError of ours."""
        if os.getpid() != self._process:
            raise DeviceUnavailable("a device does not survive a fork: open it in the process that uses it")
        link = self._valid() or self._reconnected()
        with link.library.used(link.generation):
            try:
                with link.connection.session() as session:
                    return work(link, session)
            except PKCS11Error as error:
                raise self._explained(link, error) from error

    def _explained(self, link: Link, error: PKCS11Error) -> DeviceError:
        """Was it the device or the call? No code is believed before token and login are known to be good."""
        if link.well():
            return kind_of(error)(f"the device refused: {describe_error(error)}")
        self._lose(link)
        return DeviceUnavailable(f"the device is away: {describe_error(error)}")

    def _valid(self) -> Link | None:
        """The link, unless it was lost, or another device of this process began the module anew."""
        link = self._link
        return link if link is not None and link.generation == link.library.generation else None

    def _lose(self, link: Link) -> None:
        """Nobody uses this link any more; calls that are inside end by themselves."""
        if self._link is link:
            self._link = None

    def _reconnected(self) -> Link:
        """One thread connects; the others wait a moment and then say that the device is away."""
        if not self._connecting.acquire(timeout=PATIENCE):
            raise DeviceUnavailable("the device is being reconnected")
        try:
            return self._valid() or self._connected()
        finally:
            self._connecting.release()

    def _connected(self) -> Link:
        """Initialise, log in, find, sign, verify: only all of it proves that the device is back."""
        if time.monotonic() < self._not_before and self._failure is not None:
            raise type(self._failure)(str(self._failure))
        try:
            self._link = self._proven()
        except DeviceError as error:
            self._not_before, self._failure = time.monotonic() + PAUSE, error
            raise
        self._opened = True
        return self._link

    def _proven(self) -> Link:
        try:
            library = self._initialised()
            with library.used(library.generation):
                make = self._settings.make_service_keys and not self._opened
                link = Link(library, self._settings, self._login, self._able, make=make)
                with link.connection.session() as session:
                    link.self_test(session)
                self._able = link.description.capabilities
                return link
        except PKCS11Error as error:
            raise kind_of(error)(f"the device could not be opened: {describe_error(error)}") from error

    def _initialised(self) -> Library:
        """The library, begun anew if it was in use by us before."""
        if self._library is None:
            self._library = acquire(self._settings)
        else:
            self._library.renew(self._generation, PATIENCE)
        self._generation = self._library.generation
        return self._library


def describe_error(error: PKCS11Error) -> str:
    """The code's name, and what the module said about codes without one. Never holds anything secret."""
    return f"{type(error).__name__} {error}".strip()
