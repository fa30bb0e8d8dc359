"""An in-memory twin of the PKCS#11 device, for tests that ask about everything but the device.

Same semantics, kept honest by the contract suite in `tests/hsm/test_contract.py`. It can also go wrong on demand:

    device = MemoryDevice()
    device.fail_next(DeviceUnavailable("away"))      # the next call raises, before anything is done
    device.fail_next(error, after_signing=True)      # the reply is lost: the signature was made
    device.flip_next_signature()                     # one bit of the next signature value is wrong
    with device.hanging(): ...                       # calls wait until the block ends
"""

from __future__ import annotations

import copy
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from hsm.algorithms import Algorithm, KeyKind
from hsm.device import (
    SEED_SIZE,
    Capabilities,
    CheckpointKey,
    Custody,
    Description,
    Device,
    KeyRef,
    SecretRef,
    ServiceKey,
    check_new_id,
    check_signable,
    one_by_one,
    signing_purpose,
)
from hsm.errors import DeviceError, KeyNotFound, Tampered, Unsupported
from hsm.verification import hash_of, rsa_padding

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
T = TypeVar("T")


class MemoryDevice:
    """A Device whose keys live in this object."""

    def __init__(self) -> None:
        self.signatures: list[tuple[str, Algorithm, bytes]] = []  # (key id, algorithm, digest): every one made
        self.calls: list[str] = []
        self._wrapping = os.urandom(32)
        self._sealing = AESGCM(os.urandom(32))
        self._row_mac = os.urandom(32)
        self._checkpoint = ed25519.Ed25519PrivateKey.generate()
        self._token: dict[str, Private] = {}
        self._service: dict[ServiceKey, KeyRef] = {}
        self._resident: dict[tuple[str, bytes], Private] = {}
        self._lock = threading.RLock()
        self._free = threading.Event()
        self._free.set()
        self._failure: tuple[DeviceError, bool, str | None] | None = None
        self._flip = False
        self.hopeless = False

    def copy(self) -> MemoryDevice:
        """A device with the same keys and secrets, and a history of its own."""
        other = copy.copy(self)
        other.signatures, other.calls = list(self.signatures), list(self.calls)
        other._token, other._service, other._resident = dict(self._token), dict(self._service), dict(self._resident)
        other._lock, other._free = threading.RLock(), threading.Event()
        other._free.set()
        return other

    # --- going wrong ---

    def fail_next(self, error: DeviceError, *, after_signing: bool = False, call: str | None = None) -> None:
        """The next call (of this name) raises; `after_signing` lets it do its work first: the reply is lost."""
        self._failure = (error, after_signing, call)

    def flip_next_signature(self) -> None:
        self._flip = True

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Calls made meanwhile do not return before the block ends."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    # --- Device ---

    def side_by_side(self, calls: Sequence[Callable[[Device], T]]) -> Iterator[T | Exception]:
        return one_by_one(self, calls)

    def describe(self) -> Description:
        able = Capabilities(wrap="AES_KEY_WRAP_PAD", seal=True, pss=True, eddsa=True, ecdsa=True, rsa=True)
        return Description("memory", "memory 0.0", 0, "memory", "0", (), able)

    def generate_key(self, key_id: str, kind: KeyKind, custody: Custody) -> KeyRef:
        check_new_id(key_id)
        with self._call("generate_key"):
            return self._generated(key_id, kind, custody)

    def sign(self, key: KeyRef, algorithm: Algorithm, digest: bytes) -> bytes:
        check_signable(key.kind, algorithm, digest)
        with self._call("sign"):
            private = self._private(key)
            if isinstance(private, rsa.RSAPrivateKey):
                value = private.sign(digest, rsa_padding(algorithm), Prehashed(hash_of(algorithm)))
            else:
                value = private.sign(digest, ec.ECDSA(Prehashed(hash_of(algorithm))))
            self.signatures.append((key.id, algorithm, digest))
            return self._maybe_flipped(value)

    def generate_seed(self, seed_id: str) -> tuple[SecretRef, bytes]:
        check_new_id(seed_id)
        with self._call("generate_seed"):
            seed = secrets.token_bytes(SEED_SIZE)
            return SecretRef(seed_id, keywrap.aes_key_wrap_with_padding(self._wrapping, seed)), seed

    def hmac_sha1(self, secret: SecretRef, message: bytes) -> bytes:
        with self._call("hmac_sha1"):
            mac = hmac.HMAC(self._unwrapped(secret.blob), SHA1())
            mac.update(message)
            return mac.finalize()

    def mac(self, message: bytes) -> bytes:
        with self._call("mac"):
            mac = hmac.HMAC(self._row_mac, hashes.SHA256())
            mac.update(message)
            return mac.finalize()

    def sign_checkpoint(self, message: bytes) -> bytes:
        with self._call("sign_checkpoint"):
            return self._maybe_flipped(self._checkpoint.sign(message))

    def checkpoint_key(self) -> CheckpointKey:
        with self._call("checkpoint_key"):
            return CheckpointKey("ed25519", _spki(self._checkpoint.public_key()))

    def service_key(self, purpose: str, kind: KeyKind) -> KeyRef:
        service = signing_purpose(purpose)
        with self._call("service_key"):
            if service not in self._service:
                self._service[service] = self._generated(service.key_id, kind, Custody.TOKEN)
            found = self._service[service]
            if found.kind is not kind:
                raise Unsupported(f"the {purpose} key is a {found.kind} key, not {kind}")
            return found

    def random(self, n: int) -> bytes:
        if n < 1:
            raise ValueError("ask for at least one byte")
        with self._call("random"):
            return secrets.token_bytes(n)

    def encrypt(self, owner: str, secret: bytes) -> bytes:
        with self._call("encrypt"):
            nonce = os.urandom(12)
            return nonce + self._sealing.encrypt(nonce, secret, owner.encode())

    def decrypt(self, owner: str, blob: bytes) -> bytes:
        with self._call("decrypt"):
            try:
                return self._sealing.decrypt(blob[:12], blob[12:], owner.encode())
            except (InvalidTag, ValueError) as error:
                raise Tampered("the sealed secret is not this owner's, was changed, or is another device's") from error

    def destroy(self, key: KeyRef) -> None:
        with self._call("destroy"):
            if key.custody is Custody.TOKEN:
                self._token.pop(key.id, None)
            elif key.blob is not None:
                self._resident.pop((key.id, key.blob), None)

    def self_test(self) -> None:
        with self._call("self_test"):
            pass

    def recover(self) -> None:
        self.self_test()

    def close(self) -> None:
        self._resident.clear()

    # --- inside ---

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        self._free.wait()
        with self._lock:
            self.calls.append(name)
            failure = None
            if self._failure and self._failure[2] in (None, name):
                failure, self._failure = self._failure, None
            if failure and not failure[1]:
                raise failure[0]
            yield
            if failure:
                raise failure[0]

    def _generated(self, key_id: str, kind: KeyKind, custody: Custody) -> KeyRef:
        private = _fresh(kind)
        public = _spki(private.public_key())
        if custody is Custody.TOKEN:
            self._token[key_id] = private
            return KeyRef(key_id, kind, custody, public, None)
        blob = keywrap.aes_key_wrap_with_padding(self._wrapping, _pkcs8(private))
        return KeyRef(key_id, kind, custody, public, blob)

    def _private(self, key: KeyRef) -> Private:
        if key.blob is None:
            if key.id not in self._token:
                raise KeyNotFound(f"no key {key.id} on this token")
            return self._token[key.id]
        name = (key.id, key.blob)
        if name not in self._resident:
            self._resident[name] = self._unwrapped_key(key, key.blob)
        return self._resident[name]

    def _unwrapped_key(self, key: KeyRef, blob: bytes) -> Private:
        private = load_der_private_key(self._unwrapped(blob), None)
        expected = rsa.RSAPrivateKey if key.kind.is_rsa else ec.EllipticCurvePrivateKey
        if not isinstance(private, expected):
            raise KeyNotFound("the blob holds a key of another kind")
        return private

    def _unwrapped(self, blob: bytes) -> bytes:
        try:
            return keywrap.aes_key_unwrap_with_padding(self._wrapping, blob)
        except keywrap.InvalidUnwrap as error:
            raise KeyNotFound("the blob was not wrapped by this device, or was changed") from error

    def _maybe_flipped(self, value: bytes) -> bytes:
        flip, self._flip = self._flip, False
        return value[:-1] + bytes([value[-1] ^ 1]) if flip else value


def _fresh(kind: KeyKind) -> Private:
    if kind.is_rsa:
        return rsa.generate_private_key(65537, kind.bits)
    return ec.generate_private_key(ec.SECP256R1() if kind is KeyKind.P256 else ec.SECP384R1())


def _spki(public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pkcs8(private: Private) -> bytes:
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
