"""What is wrong with the device, and what to do about it: in plain words, for an operator who is setting one up.

Looks, logs in once (a wrong PIN is tried once, not again) and makes a test signature. Leaves nothing on the token.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from pkcs11 import Mechanism, ObjectClass, PKCS11Error, Session, Token

from hsm import keys
from hsm.algorithms import Algorithm, KeyKind
from hsm.connection import Connection
from hsm.device import Capabilities, ServiceKey
from hsm.encodings import kind_of_public, signature_value, subject_public_key, to_operate_on
from hsm.errors import DeviceError
from hsm.link import capabilities, sign_with
from hsm.module import Library, Login, acquire, find_token, release, token_lock, tokens
from hsm.settings import DeviceSettings
from hsm.trials import proven
from hsm.verification import holds


@dataclass(frozen=True)
class Check:
    """One thing looked at. A check that is not ok says what to do; one that is may carry advice."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Need:
    """A mechanism, what it is for, and whether the server runs without it."""

    mechanism: Mechanism
    purpose: str
    needed: bool


NEEDS = (
    Need(Mechanism.GENERIC_SECRET_KEY_GEN, "the key that protects rows against being changed", True),
    Need(Mechanism.SHA256_HMAC, "protecting rows against being changed", True),
    Need(Mechanism.SHA_1_HMAC, "one-time codes (RFC 6238)", True),
    Need(Mechanism.AES_KEY_GEN, "the keys that wrap and seal", False),
    Need(Mechanism.AES_KEY_WRAP_PAD, "keys and seeds that rest outside the device, wrapped", False),
    Need(Mechanism.AES_GCM, "small secrets kept outside", False),
    Need(Mechanism.EC_KEY_PAIR_GEN, "making P-256 and P-384 keys", False),
    Need(Mechanism.ECDSA, "signing with P-256 and P-384", False),
    Need(Mechanism.RSA_PKCS_KEY_PAIR_GEN, "making RSA keys", False),
    Need(Mechanism.RSA_PKCS, "signing with RSA, PKCS #1 v1.5", False),
    Need(Mechanism.RSA_PKCS_PSS, "signing with RSA-PSS", False),
    Need(Mechanism.EDDSA, "checkpoints of the log with Ed25519 (without it: P-256)", False),
)


def examine(settings: DeviceSettings) -> list[Check]:
    """Look at everything in order; what cannot be looked at because of an earlier failure is left out.

    Never raises for a device that is broken, and never waits longer than 4 deadlines: a device that hangs is a
    finding too.
    """
    checks: list[Check] = []
    thread = threading.Thread(target=_examine, args=(settings, checks.append), name="doctor", daemon=True)
    thread.start()
    thread.join(4 * settings.deadline)
    found = list(checks)
    if thread.is_alive():
        found.append(_bad("answers", "the device does not answer", "restart the device or its daemon, then try again"))
    return found


def _examine(settings: DeviceSettings, say: Callable[[Check], None]) -> None:
    """Each step says what it found, and raises DeviceError when the next ones make no sense."""
    try:
        library = _module(settings, say)
    except DeviceError as error:
        say(_bad("module", str(error), "install the vendor's PKCS#11 module, or correct its path"))
        return
    try:
        _token(library, settings, say)
    except (DeviceError, PKCS11Error) as error:
        say(_bad("device", _said(error), "look into the device's own log"))
    finally:
        release(library)


def _module(settings: DeviceSettings, say: Callable[[Check], None]) -> Library:
    library = acquire(settings)
    version = ".".join(str(part) for part in library.library_version)
    say(_good("module", f"{settings.module}: {library.manufacturer_id}, version {version}"))
    return library


def _token(library: Library, settings: DeviceSettings, say: Callable[[Check], None]) -> None:
    try:
        token = find_token(library, settings.wanted)
    except (DeviceError, PKCS11Error) as error:
        say(_bad("token", _said(error), _token_remedy(library)))
        return
    say(_good("token", f"{token.label!r}, serial {token.serial.decode('utf-8', 'replace')}, slot {token.slot.slot_id}"))
    if not _pin_file(settings, say):
        return
    _mechanisms(token, say)
    _signature(settings, token, say)


def _token_remedy(library: Library) -> str:
    try:
        seen = [repr(token.label) for token in tokens(library)]
    except PKCS11Error:
        seen = []
    if not seen:
        return "no token is there: is the device switched on, and initialised? For SoftHSM: is SOFTHSM2_CONF right?"
    return f"set the token to one of these: {', '.join(seen)}"


def _pin_file(settings: DeviceSettings, say: Callable[[Check], None]) -> bool:
    try:
        mode = os.stat(settings.pin_file).st_mode
        readable = bool(settings.pin_file.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        say(_bad("PIN file", f"{settings.pin_file} cannot be read: {error}", "write the PIN into it, mode 600"))
        return False
    if not readable:
        say(_bad("PIN file", f"{settings.pin_file} is empty", "write the PIN into it, mode 600"))
        return False
    shared = bool(mode & (stat.S_IRGRP | stat.S_IROTH))
    advice = "others on this machine can read it: chmod 600" if shared else ""
    say(Check("PIN file", True, str(settings.pin_file), advice))
    return True


def _mechanisms(token: Token, say: Callable[[Check], None]) -> None:
    there: Set[Mechanism] = token.slot.get_mechanisms()
    for need in NEEDS:
        say(_mechanism(need, need.mechanism in there))
    ways = ({Mechanism.EC_KEY_PAIR_GEN, Mechanism.ECDSA}, {Mechanism.RSA_PKCS_KEY_PAIR_GEN, Mechanism.RSA_PKCS})
    if not any(way <= there for way in ways):
        say(_bad("signing", "the module makes neither ECDSA nor RSA signatures", "use another token or module"))


def _mechanism(need: Need, there: bool) -> Check:
    name = f"CKM_{need.mechanism.name}"
    if there:
        return _good(name, need.purpose)
    if need.needed:
        return _bad(name, f"missing; needed for {need.purpose}", "enable it on the token, or use another")
    return Check(name, True, f"missing; only needed for {need.purpose}")


def _signature(settings: DeviceSettings, token: Token, say: Callable[[Check], None]) -> None:
    try:
        with token_lock(settings.pin_file):
            session = Login(settings.pin_file).anchor(token)
    except DeviceError as error:
        remedy = "it was tried once and is not tried again: put the right PIN into the PIN file"
        say(_bad("PIN", str(error), remedy))
        return
    say(_good("PIN", "accepted"))
    there = token.slot.get_mechanisms()
    try:
        _custody(proven(Connection(token, session), capabilities(there)), say)
        say(_test_signature(session, there))
    except (DeviceError, PKCS11Error) as error:
        say(_bad("test signature", _said(error), "look into the device's own log"))


def _custody(able: Capabilities, say: Callable[[Check], None]) -> None:
    """What was tried, not what is listed."""
    if able.wrap:
        say(_good("custody", f"a key and a seed were wrapped and unwrapped ({able.wrap}): they may rest outside"))
    else:
        say(Check("custody", True, "keys cannot be wrapped and unwrapped here: they stay on the token, and so do seeds",
                  "name the custody \"token\" for every credential (credential add --custody token)"))
    if able.checkpoints:
        say(_good("checkpoints", "signed with Ed25519" if able.eddsa else "signed with P-256"))
    else:
        say(_bad("checkpoints", "neither Ed25519 nor P-256: nobody could sign the log, and the server does not start",
                 "use another token or module"))


def _test_signature(session: Session, there: Set[Mechanism]) -> Check:
    """With the self-test key; on a token that was never used, with a key that lives only in this session."""
    private, public, whose = _test_key(session, there)
    kind = kind_of_public(public)
    if kind is None:
        return _bad("test signature", "the self-test key is of a kind we do not know", "name another token")
    algorithm = Algorithm.RSA_SHA256 if kind.is_rsa else Algorithm.ECDSA_SHA256
    digest = os.urandom(32)
    data, how = to_operate_on(kind, algorithm, digest)
    value = signature_value(algorithm, sign_with(session, private, data, how))
    if not holds(subject_public_key(public, kind), algorithm, digest, value):
        return _bad("test signature", f"made with {whose}, does not verify", "do not use this device")
    return _good("test signature", f"made with {whose}, verifies")


def _test_key(session: Session, there: Set[Mechanism]) -> tuple[Any, Any, str]:
    name = ServiceKey.SELF_TEST.key_id
    if keys.find(session, name, ObjectClass.PRIVATE_KEY):
        public = keys.find_one(session, name, ObjectClass.PUBLIC_KEY)
        return keys.find_private(session, name).handle, public, "the self-test key"
    kind = KeyKind.P256 if Mechanism.EC_KEY_PAIR_GEN in there else KeyKind.RSA_2048
    public, private = keys.generate(session, name, kind, stored=False)
    return private.handle, public, "a passing key, because the token has no self-test key yet"


def _said(error: Exception) -> str:
    """Our errors are written for the operator; a module's say little more than their name."""
    return str(error) if isinstance(error, DeviceError) else f"the module said {type(error).__name__} {error}".strip()


def _good(name: str, detail: str) -> Check:
    return Check(name, True, detail)


def _bad(name: str, detail: str, remedy: str) -> Check:
    return Check(name, False, detail, remedy)
