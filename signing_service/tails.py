"""The tail of a document, and the line of a confirmation that names it.

A tail is what will be appended: the signature's place, its certificate and, where the terms say so, a stamp. It is
durable under its digest before the signer hears of it, so what the person confirms is what is signed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from hsm.algorithms import Algorithm
from policies.decision import Appearance as Shows
from signing_service import appearance, credentials, metrics
from signing_service.credentials import Credential
from signing_service.db.tables import signing_request
from signing_service.errors import Unavailable, WrongState
from signing_service.pdf import Appearance, Level, Prepared, PrepareOrder
from signing_service.people import find_agency, find_signatory
from signing_service.signing_requests import SigningRequest
from signing_service.wire.messages import Line

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime


@dataclass(frozen=True)
class Material:
    """What a tail is made from: the request, its credential, and the names its stamp shows."""

    request: SigningRequest
    credential: Credential
    signatory: str
    agency: str
    is_stamped: bool


def material(tx: Connection, request: SigningRequest) -> Material:
    row: Any = tx.execute(select(signing_request.c.decision).where(signing_request.c.id == request.id)).one()
    return Material(
        request=request, credential=credentials.find(tx, request.credential_id),
        signatory=find_signatory(tx, request.signatory_id).name, agency=find_agency(tx, request.agency_code).name,
        is_stamped=row.decision["terms"]["appearance"] == Shows.TEXT,
    )


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
    made_from = await rt.db.run(_material, rt, request)
    tail = await asyncio.to_thread(rt.documents.draft_path, ".tail")
    try:
        with metrics.stage("prepare"):
            prepared = await rt.pool.prepare(_order(rt, made_from, tail))
        stored = await asyncio.to_thread(rt.documents.store, tail)
    finally:
        tail.unlink(missing_ok=True)
    if (stored.digest, prepared.document_digest) != (prepared.tail_digest, request.document_digest):
        raise Unavailable("A file changed on its way to the disk.", code="storage")
    return _line(request, prepared)


def _material(rt: Runtime, request: SigningRequest) -> Material:
    with rt.db.read() as tx:
        return material(tx, request)


def _order(rt: Runtime, made_from: Material, tail: Path) -> PrepareOrder:
    request, holder = made_from.request, made_from.credential
    if holder.certificate is None:
        raise WrongState("The credential has no certificate.", code="credential-not-usable")
    now = rt.clock()
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
