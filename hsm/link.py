"""Everything that is valid under one login: sessions, handles of the service keys, unwrapped keys.

Methods here speak PKCS#11 and raise its errors; `hsm/token.py` judges those. Only a blob that the device refused is
judged on the spot, because "the blob is not ours" can be said only where it was tried.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from pkcs11 import Mechanism, PKCS11Error, Session, Token

from hsm import keys
from hsm.algorithms import Algorithm, KeyKind
from hsm.connection import Connection
from hsm.device import Capabilities, Custody, Description, KeyRef, SecretRef, ServiceKey
from hsm.encodings import der_of, signature_value, to_operate_on
from hsm.errors import DeviceError, DeviceUnavailable, KeyNotFound, Tampered, Unsupported
from hsm.module import Library, Login, find_token, token_lock
from hsm.residents import Resident, Residents
from hsm.returncodes import BLOB_REFUSED
from hsm.service_keys import Checkpoint, ServiceKeys, found_pair, make_pair, service_keys
from hsm.settings import DeviceSettings
from hsm.trials import proven
from hsm.verification import holds

LONGEST_SIGNATURE = 1024  # bytes of python-pkcs11's buffer; RSA-4096 needs 512


class Link:
    """One login to one token."""

    def __init__(
        self, library: Library, settings: DeviceSettings, login: Login, known: Capabilities | None, *, make: bool
    ) -> None:
        """Find the token, log in, find (or, if `make`, make) the service keys. Inside `library.used`.

        What the device can do is tried the first time, and is `known` from an earlier link after that.
        """
        self.library = library
        self.generation = library.generation
        with token_lock(settings.pin_file):
            token = find_token(library, settings.wanted)
            self.connection = Connection(token, login.anchor(token))
            described = describe(library, token)
            able = known or proven(self.connection, described.capabilities)
            self.description = replace(described, capabilities=able)
            with self.connection.session() as session:
                self.service: ServiceKeys = service_keys(session, able, make=make)
        self._tested: int | None = None  # the self-test key, once it was found
        self._pin_file = settings.pin_file
        self._searching = threading.Lock()
        self._pairs: dict[ServiceKey, KeyRef] = {}
        self._residents = Residents(settings.resident_keys, self.connection.anchored)
        with self.connection.session() as session:
            self._proof = self.mac(session, b"well")

    def well(self) -> bool:
        """Does a fresh call with the row-mac key give what it gave at login? Then token and login are good."""
        try:
            with self.connection.session() as session:
                return hmac.compare_digest(self.mac(session, b"well"), self._proof)
        except PKCS11Error:
            return False

    def mac(self, session: Session, message: bytes) -> bytes:
        return sign_with(session, self.service.row_mac, message, {"mechanism": Mechanism.SHA256_HMAC})

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Around what makes or destroys token objects. In SoftHSM a search in another thread makes that fail."""
        with token_lock(self._pin_file), self._searching:
            yield

    # --- keys that wait outside ---

    @property
    def wrapping(self) -> keys.Wrapping:
        """The wrapping key. Raises Unsupported where the module cannot wrap."""
        if self.service.wrapping is None:
            raise Unsupported('this module cannot wrap keys: keep this one on the token (custody = "token")')
        return self.service.wrapping

    def generate(self, session: Session, key_id: str, kind: KeyKind, custody: Custody) -> KeyRef:
        if custody is Custody.WRAPPED:
            return keys.generate_wrapped(session, self.wrapping, key_id, kind)
        with self._writing():
            return keys.generate_stored(session, key_id, kind)

    def generate_seed(self, session: Session, seed_id: str) -> tuple[SecretRef, bytes]:
        if self.service.wrapping is not None:
            return keys.generate_seed(session, self.service.wrapping, seed_id)
        with self._writing():
            return keys.generate_seed(session, None, seed_id)

    @contextmanager
    def private(self, session: Session, key: KeyRef) -> Iterator[int]:
        """The handle of a private key, unwrapped or looked up on first use."""

        def load() -> Resident:
            if key.blob is None:
                with self._searching:
                    return Resident(keys.find_private(session, key.id), temporary=False)
            with self._refusing_blobs(KeyNotFound), self.connection.anchored:
                private = keys.unwrap_private(self.connection.anchor, self.wrapping, key, key.blob)
            return Resident(private, temporary=True)

        with self._residents.held(keys.name_of(key.id, key.blob), load) as handle:
            yield handle

    @contextmanager
    def secret(self, session: Session, secret: SecretRef) -> Iterator[int]:
        """The handle of an HMAC key, unwrapped or looked up on first use."""

        def load() -> Resident:
            if not secret.blob:
                with self._searching:
                    return Resident(keys.find_seed(session, secret.id), temporary=False)
            with self._refusing_blobs(KeyNotFound), self.connection.anchored:
                key = keys.unwrap_secret(self.connection.anchor, self.wrapping, secret)
            return Resident(key, temporary=True)

        with self._residents.held(keys.name_of(secret.id, secret.blob), load) as handle:
            yield handle

    @contextmanager
    def _refusing_blobs(self, kind: type[DeviceError]) -> Iterator[None]:
        """A refused blob arrives as any of many codes, CKR_GENERAL_ERROR among them."""
        try:
            yield
        except BLOB_REFUSED as error:
            if not self.well():
                raise
            raise kind("the blob is not of this device, was changed, or belongs to somebody else") from error

    def destroy(self, session: Session, key: KeyRef) -> None:
        self._residents.forget(keys.name_of(key.id, key.blob))
        if key.custody is Custody.TOKEN:
            with self._writing():
                self._pairs = {service: pair for service, pair in self._pairs.items() if pair.id != key.id}
                keys.destroy(session, key.id)

    # --- small secrets ---

    @property
    def _sealing(self) -> int:
        if self.service.sealing is None:
            raise Unsupported("this module cannot do AES-GCM: it cannot seal small secrets")
        return self.service.sealing

    def encrypt(self, session: Session, owner: str, secret: bytes) -> bytes:
        return keys.encrypt(session, self._sealing, owner, secret)

    def decrypt(self, session: Session, owner: str, blob: bytes) -> bytes:
        if len(blob) < keys.NONCE_SIZE + keys.TAG_SIZE:
            raise Tampered("too short for a sealed secret")
        with self._refusing_blobs(Tampered):
            return keys.decrypt(session, self._sealing, owner, blob)

    # --- the device's own signatures ---

    def sign_checkpoint(self, session: Session, message: bytes) -> bytes:
        key = self.checkpoint
        if key.public.algorithm == "ed25519":
            return sign_with(session, key.handle, message, {"mechanism": Mechanism.EDDSA})
        digest = hashlib.sha256(message).digest()
        return der_of(sign_with(session, key.handle, digest, {"mechanism": Mechanism.ECDSA}))

    @property
    def checkpoint(self) -> Checkpoint:
        if self.service.checkpoint is None:
            raise Unsupported("this module makes neither Ed25519 nor P-256 signatures: it cannot sign checkpoints")
        return self.service.checkpoint

    def service_pair(self, session: Session, service: ServiceKey, kind: KeyKind) -> KeyRef:
        """Found, or made under the lock that keeps two processes from making it twice."""
        if service not in self._pairs:
            with self._writing():
                make_pair(session, service, kind)
                self._pairs[service] = found_pair(session, service, kind)
        if self._pairs[service].kind is not kind:
            raise Unsupported(f"the {service} key is a {self._pairs[service].kind} key, not {kind}")
        return self._pairs[service]

    def self_test(self, session: Session) -> None:
        """Find, sign, verify. Raises DeviceUnavailable when the signature is wrong: then nothing may be signed."""
        with self._searching:
            self._tested = keys.find_private(session, self.service.self_test.id).handle
        self.signs(session)

    def signs(self, session: Session) -> None:
        """The same with the key that was found before. A search looks at each key that is resident, too: with 16,000
        of them it costs SoftHSM 40 ms, and this is asked every second."""
        if self._tested is None:
            self.self_test(session)
            return
        key, handle, digest = self.service.self_test, self._tested, os.urandom(32)
        algorithm = Algorithm.RSA_SHA256 if key.kind.is_rsa else Algorithm.ECDSA_SHA256
        data, how = to_operate_on(key.kind, algorithm, digest)
        try:
            value = signature_value(algorithm, sign_with(session, handle, data, how))
        except PKCS11Error:
            self._tested = None  # to be found again
            raise
        if not holds(key.public_key, algorithm, digest, value):
            raise DeviceUnavailable("the device signs wrongly: its self-test signature does not verify")


def sign_with(session: Session, handle: int, data: bytes, how: dict[str, Any]) -> bytes:
    """One C_Sign with a key that another session may have loaded."""
    return cast(bytes, keys.Borrowed(session, handle).sign(data, buffer_size=LONGEST_SIGNATURE, **how))


def describe(library: Library, token: Token) -> Description:
    """Ask the token what it is and what it says that it can do."""
    mechanisms = token.slot.get_mechanisms()
    version = ".".join(str(part) for part in library.library_version)
    return Description(
        module=library.so,
        library=f"{library.manufacturer_id} {library.library_description} {version}",
        slot=token.slot.slot_id,
        token=token.label,
        serial=token.serial.decode("utf-8", "replace"),
        mechanisms=tuple(sorted(mechanism_name(each) for each in mechanisms)),
        capabilities=capabilities(mechanisms),
    )


def mechanism_name(mechanism: int) -> str:
    return mechanism.name if isinstance(mechanism, Mechanism) else f"0x{mechanism:08x}"


def capabilities(mechanisms: Set[Mechanism]) -> Capabilities:
    return Capabilities(
        wrap=next((each.name for each in keys.WRAPPINGS if each in mechanisms), None),
        seal=Mechanism.AES_GCM in mechanisms,
        pss=Mechanism.RSA_PKCS_PSS in mechanisms,
        eddsa={Mechanism.EDDSA, Mechanism.EC_EDWARDS_KEY_PAIR_GEN} <= mechanisms,
        ecdsa={Mechanism.ECDSA, Mechanism.EC_KEY_PAIR_GEN} <= mechanisms,
        rsa={Mechanism.RSA_PKCS, Mechanism.RSA_PKCS_KEY_PAIR_GEN} <= mechanisms,
    )
