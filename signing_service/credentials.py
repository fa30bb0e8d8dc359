"""Credentials: a key, its certificate, and who may use it. Their states, and which move may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, select

from hsm.algorithms import Algorithm, KeyKind
from signing_service.db.compiled import Compiled
from signing_service.db.tables import credential
from signing_service.errors import Invalid, NotFound, WrongState


class State(StrEnum):
    """A credential's life. Expiry is no state: it follows from the certificate's dates at every use."""

    MAKING_KEY = "making-key"
    KEY_READY = "key-ready"
    KEY_FAILED = "key-failed"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    KEY_DESTROYED = "key-destroyed"


MOVES: dict[State, frozenset[State]] = {
    State.MAKING_KEY: frozenset({State.KEY_READY, State.KEY_FAILED}),
    State.KEY_READY: frozenset({State.ACTIVE, State.REVOKED}),
    State.KEY_FAILED: frozenset(),
    State.ACTIVE: frozenset({State.SUSPENDED, State.REVOKED}),
    State.SUSPENDED: frozenset({State.ACTIVE, State.REVOKED}),
    State.REVOKED: frozenset({State.KEY_DESTROYED}),
    State.KEY_DESTROYED: frozenset(),
}


def check_move(old: State, new: State) -> None:
    """Raise WrongState for a move that is not listed."""
    if new not in MOVES[old]:
        raise WrongState(f"A credential that is {old} cannot become {new}.", code="credential-state")


@dataclass(frozen=True)
class Credential:
    """A credential as everybody may see it. `certificate` and `chain` (issuer first) are DER."""

    id: str
    kind: str
    signatory_id: str | None
    agency_code: str
    key_id: str | None
    key_kind: KeyKind
    algorithm: Algorithm
    state: State
    certificate: bytes | None
    chain: tuple[bytes, ...]
    not_before: datetime | None
    not_after: datetime | None
    version: int

    def is_valid(self, now: datetime) -> bool:
        """Active, with a certificate that is valid at this moment."""
        return (
            self.state is State.ACTIVE and self.not_before is not None and self.not_after is not None
            and self.not_before <= now <= self.not_after
        )


def of_row(row: Any) -> Credential:
    return of_mapping(row._mapping)


def of_mapping(row: Mapping[Any, Any]) -> Credential:
    return Credential(
        id=row["id"], kind=row["kind"], signatory_id=row["signatory_id"], agency_code=row["agency_code"],
        key_id=row["key_id"], key_kind=KeyKind(row["key_kind"]), algorithm=Algorithm(row["algorithm"]),
        state=State(row["state"]), certificate=row["certificate"], chain=split_der(row["chain"] or b""),
        not_before=row["not_before"], not_after=row["not_after"], version=row["version"],
    )


_BY_ID = Compiled(select(credential).where(credential.c.id == bindparam("id")))
_PERSONAL = Compiled(select(credential).where(
    credential.c.signatory_id == bindparam("signatory"), credential.c.kind == "personal",
    credential.c.state == State.ACTIVE))


def find(tx: Connection, credential_id: str) -> Credential:
    row = _BY_ID.first(tx, {"id": credential_id})
    if row is None:
        raise NotFound(f"There is no credential {credential_id!r}.")
    return of_mapping(row._asdict())


def choose(tx: Connection, signatory_id: str, named: str | None) -> Credential:
    """The credential a client named, if it is this signatory's, else the signatory's one active personal one."""
    if named is not None:
        found = find(tx, named)
        if found.signatory_id != signatory_id:
            raise NotFound(f"The signatory has no credential {named!r}.")
        return found
    rows = _PERSONAL.all(tx, {"signatory": signatory_id})
    if not rows:
        raise WrongState("The signatory has no active personal credential.", code="no-active-credential")
    if len(rows) > 1:
        raise Invalid("The signatory has several active credentials: name one in `credential`.",
                      code="credential-ambiguous")
    return of_mapping(rows[0]._asdict())


def split_der(data: bytes) -> tuple[bytes, ...]:
    """Cut concatenated DER values apart. ValueError where the bytes are not that."""
    parts: list[bytes] = []
    while data:
        size = _der_size(data)
        parts.append(data[:size])
        data = data[size:]
    return tuple(parts)


def _der_size(data: bytes) -> int:
    """The whole length of the first DER value: X.690 8.1.3, definite form only."""
    if len(data) < 2:
        raise ValueError("truncated DER")
    if data[1] < 0x80:
        size = 2 + data[1]
    else:
        octets = data[1] & 0x7F
        size = 2 + octets + int.from_bytes(data[2:2 + octets], "big")
        if octets == 0:
            raise ValueError("indefinite length is not DER")
    if size > len(data):
        raise ValueError("truncated DER")
    return size
