"""Access tokens: a client shows its secret, gets a token that lives for an hour, and shows that from then on.

Secrets and tokens are 256 random bits, so a plain SHA-256 of them may lie in the database: there is nothing to
guess. Neither is ever logged or put into an entry. Unknown, suspended and known clients cost the same work and
get the same answer.

A token that was recognised is not looked up again for a second (`BELIEVED`): a client that is suspended, or a token
that ends, is refused by every front at most so much later. What the client may have signed does not hang on this: at
submission the policy is asked about the client as the database has it, and before each signature the signer asks again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from signing_service import metrics
from signing_service.audit import Event, Fact, instant, record
from signing_service.db.tables import access_token, client
from signing_service.errors import Unauthenticated

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime
    from signing_service.front.tally import Tally

TOKEN = re.compile(r"st_[0-9a-f]{64}")
BELIEVED = timedelta(seconds=1)  # how late a suspension may be noticed here; docs/security.md promises it
MOST_BELIEVED = 1000             # tokens; beyond that everything is forgotten, which costs a query each
NOBODY = hashlib.sha256(b"no client has this secret").hexdigest()  # compared with when there is no client


@dataclass(frozen=True)
class Holder:
    """The active client that a token was issued to."""

    client_id: str
    name: str
    role: str
    agencies: frozenset[str]


class Recognised:
    """Who showed which token a moment ago, in the memory of one process. Keyed by the token's hash, never the token."""

    def __init__(self) -> None:
        self._holders: dict[str, tuple[Holder, datetime]] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def holder_of(self, token_hash: str, now: datetime) -> Holder | None:
        """None where the database must be asked. A clock that ran back is no reason to believe for longer."""
        holder, since = self._holders.get(token_hash, (None, now))
        return holder if timedelta(0) <= now - since < BELIEVED else None

    def remember(self, token_hash: str, holder: Holder, now: datetime) -> None:
        if len(self._holders) >= MOST_BELIEVED:
            self._holders.clear()
        self._holders[token_hash] = (holder, now)


def hash_of(secret: str) -> str:
    """What is kept of a secret or a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def issue(rt: Runtime, client_id: str, secret: str, refusals: Tally) -> str:
    """A fresh token for an active client that shows its secret. Raises Unauthenticated for everybody else, on record.

    `refusals` says how many of those are put on record: anybody can fail here as often as they like.
    """
    return await rt.db.run(_issue, rt, client_id, secret, refusals)


async def holder_of(rt: Runtime, token: str) -> Holder:
    """Whose token this is. Raises Unauthenticated for an unknown or expired one, or a suspended client.

    What was recognised less than `BELIEVED` ago is answered from memory.
    """
    if not TOKEN.fullmatch(token):
        raise _unknown_token()
    token_hash, now = hash_of(token), rt.clock()
    holder = rt.recognised.holder_of(token_hash, now)
    if holder is None:
        holder = await rt.db.run(_holder_of, rt, token_hash, now)
        rt.recognised.remember(token_hash, holder, now)
    return holder


def _issue(rt: Runtime, client_id: str, secret: str, refusals: Tally) -> str:
    now = rt.clock()
    with rt.db.read() as tx:  # a name with a zero byte is nobody's, and PostgreSQL does not even take the question
        row = tx.execute(select(client).where(client.c.id == client_id.replace("\x00", "?"))).first()
    is_right = hmac.compare_digest(hash_of(secret), row.secret_hash if row else NOBODY)
    if row is None or not is_right or row.state != "active":
        _record_refusal(rt, row, now, refusals)
        raise Unauthenticated("The client is unknown or its secret is wrong.", code="client")
    token = f"st_{secrets.token_hex(32)}"
    expires_at = now + timedelta(seconds=rt.settings.token_seconds)
    with rt.db.write() as tx:
        tx.execute(delete(access_token).where(access_token.c.client_id == row.id, access_token.c.expires_at <= now))
        tx.execute(insert(access_token).values(hash=hash_of(token), client_id=row.id, expires_at=expires_at))
        record(tx, now, Fact(Event.TOKEN_ISSUED, f"client:{row.id}", client_id=row.id,
                             data={"expires_at": instant(expires_at)}))
    return token


def _record_refusal(rt: Runtime, row: Any, now: datetime, refusals: Tally) -> None:
    name = row.id if row is not None else "unknown"
    if refusals.wait(name) > 0:
        metrics.UNRECORDED_TOKEN_REFUSALS.inc()
        return
    refusals.add(name)
    with rt.db.write() as tx:
        record(tx, now, Fact(Event.TOKEN_REFUSED, f"client:{name}", "refused",
                             client_id=row.id if row is not None else None))


def _holder_of(rt: Runtime, token_hash: str, now: datetime) -> Holder:
    with rt.db.read() as tx:
        row = tx.execute(
            select(client.c.id, client.c.name, client.c.role, client.c.agencies)
            .join(access_token, access_token.c.client_id == client.c.id)
            .where(access_token.c.hash == token_hash, access_token.c.expires_at > now, client.c.state == "active")
        ).first()
    if row is None:
        raise _unknown_token()
    return Holder(row.id, row.name, row.role, frozenset(row.agencies))


def _unknown_token() -> Unauthenticated:
    return Unauthenticated("The access token is unknown or has expired.", code="token")
