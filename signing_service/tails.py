"""The tail of a document, and the line of a confirmation that names it.

A tail is what will be appended: the signature's place, its certificate and, where the terms say so, a stamp. It is
durable under its digest before the signer hears of it, so what the person confirms is what is signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, select

from hsm.algorithms import Algorithm
from policies.decision import Appearance as Shows
from signing_service import appearance, credentials, metrics
from signing_service.credentials import Credential
from signing_service.db.compiled import Compiled
from signing_service.db.tables import signing_request
from signing_service.documents import Stored
from signing_service.errors import NotFound, SigningError, Unavailable, WrongState
from signing_service.pdf import Appearance, Level, Prepared, PrepareOrder
from signing_service.people import find_agency, find_signatory
from signing_service.signing_requests import SigningRequest
from signing_service.wire.messages import Line

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

_DECISION = Compiled(select(signing_request.c.decision).where(signing_request.c.id == bindparam("id")))


@dataclass(frozen=True)
class Material:
    """What a tail is made from: the request, its credential, and the names its stamp shows."""

    request: SigningRequest
    credential: Credential
    signatory: str
    agency: str
    is_stamped: bool


class Known:
    """What one transaction has read already: a batch names one person fifty times."""

    def __init__(self, tx: Connection) -> None:
        self.credential = cache(partial(credentials.find, tx))
        self.signatory = cache(partial(find_signatory, tx))
        self.agency = cache(partial(find_agency, tx))
        self._tx = tx

    def material(self, request: SigningRequest) -> Material:
        terms = self._terms(request)
        return Material(
            request=request, credential=self.credential(request.credential_id),
            signatory=self.signatory(request.signatory_id).name, agency=self.agency(request.agency_code).name,
            is_stamped=terms["appearance"] == Shows.TEXT,
        )

    def _terms(self, request: SigningRequest) -> dict[str, Any]:
        row = _DECISION.first(self._tx, {"id": request.id})
        if row is None:
            raise NotFound("There is no such signing request.")
        return dict(row.decision["terms"])


def material(tx: Connection, request: SigningRequest) -> Material:
    return Known(tx).material(request)


def stamp_of(rt: Runtime, material: Material, moment: datetime) -> Appearance | None:
    """What the signature will show and where, were it made at that moment; None where it shows nothing."""
    if not material.is_stamped:
        return None
    request = material.request
    return appearance.stamp(
        document_type=request.document_type, number=request.number, symbol=request.symbol,
        is_seal=material.credential.kind == "agency", signatory=material.signatory, agency=material.agency,
        earlier=request.earlier_signatures, moment=moment, zone=rt.settings.zone, font=rt.settings.stamp_font,
    )


async def line_of(rt: Runtime, request: SigningRequest) -> Line:
    """Make the tail, durable under its digest, and the line that names it. Raises WrongState, Invalid, Unavailable.

    If we die after this, a tail without a row is left, which a sweep removes; the next confirmation makes its own.
    """
    order = await rt.together.run(_orders, rt, request)
    try:
        with metrics.stage("prepare"):
            prepared = await rt.pool.prepare(order)
        stored = await rt.together.run(_stored, rt, order.tail)
    finally:
        order.tail.unlink(missing_ok=True)
    if (stored.digest, prepared.document_digest) != (prepared.tail_digest, request.document_digest):
        raise Unavailable("A file changed on its way to the disk.", code="storage")
    return _line(request, prepared)


def _orders(rt: Runtime, requests: Sequence[SigningRequest]) -> list[PrepareOrder | SigningError]:
    with rt.db.read() as tx:
        known = Known(tx)
        return [_order(rt, known, each) for each in requests]


def _stored(rt: Runtime, tails: Sequence[Path]) -> list[Stored | SigningError]:
    return [*rt.documents.store_all(tails)]


def _order(rt: Runtime, known: Known, request: SigningRequest) -> PrepareOrder | SigningError:
    try:
        return _order_of(rt, known.material(request))
    except SigningError as error:
        return error


def _order_of(rt: Runtime, made_from: Material) -> PrepareOrder:
    request, holder = made_from.request, made_from.credential
    if holder.certificate is None:
        raise WrongState("The credential has no certificate.", code="credential-not-usable")
    now, tail = rt.clock(), rt.documents.draft_path(".tail")
    return PrepareOrder(
        document=rt.documents.path(request.document_digest), tail=tail, certificate=holder.certificate,
        chain=holder.chain, algorithm=Algorithm(request.algorithm), level=Level(request.level), signing_time=now,
        appearance=stamp_of(rt, made_from, now),
    )


def _line(request: SigningRequest, prepared: Prepared) -> Line:
    return Line(
        signing_request_id=request.id, credential_id=request.credential_id,
        document_digest=prepared.document_digest, tail_digest=prepared.tail_digest, to_sign=prepared.to_sign,
        algorithm=request.algorithm,
    )
