"""What a module lists it cannot always do. So what we lean on most is tried, once, before anything rests on it.

Session objects only; nothing is left on the token, and nothing is signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pkcs11 import KeyType, Mechanism, MechanismFlag, PKCS11Error, Session

from hsm import keys
from hsm.algorithms import KeyKind
from hsm.connection import Connection
from hsm.device import Capabilities
from hsm.errors import KeyNotFound, Unsupported
from hsm.returncodes import kind_of

PASSING = "passing"  # the label of what lives only as long as the trial


def proven(connection: Connection, listed: Capabilities) -> Capabilities:
    """What is listed, without what failed when it was tried.

    An outage is not taken for an inability: a failure that does not say "I cannot" must come twice, on a device that
    answers in between. Raises PKCS11Error when it does not.
    """
    wraps = listed.wrap is not None and _can(connection, lambda session: _wrap_and_unwrap(session, listed))
    seals = listed.seal and _can(connection, _encrypt)
    return replace(listed, wrap=listed.wrap if wraps else None, seal=seals)


def _can(connection: Connection, trial: Callable[[Session], None]) -> bool:
    for _ in range(2):
        try:
            with connection.session() as session:
                trial(session)
            return True
        except PKCS11Error as error:
            if kind_of(error) in (Unsupported, KeyNotFound):
                return False
            with connection.session() as session:
                session.generate_random(64)
    return False


def _wrap_and_unwrap(session: Session, able: Capabilities) -> None:
    """A key of the fast profile and a seed, there and back: some modules unwrap one kind of key and not another."""
    wrapping = keys.Wrapping(_aes(session, MechanismFlag.WRAP | MechanismFlag.UNWRAP), Mechanism[str(able.wrap)])
    kind = KeyKind.P256 if able.ecdsa else KeyKind.RSA_2048
    pair = keys.generate_wrapped(session, wrapping, PASSING, kind)
    seed, _ = keys.generate_seed(session, wrapping, PASSING)
    for there_and_back in (keys.unwrap_private(session, wrapping, pair, pair.blob or b""),
                           keys.unwrap_secret(session, wrapping, seed)):
        there_and_back.destroy()


def _encrypt(session: Session) -> None:
    key = _aes(session, MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT)
    keys.decrypt(session, key, PASSING, keys.encrypt(session, key, PASSING, b"secret"))


def _aes(session: Session, may: MechanismFlag) -> int:
    made: Any = session.generate_key(KeyType.AES, 256, label=PASSING, store=False, capabilities=may)
    return int(made.handle)
