"""A document on an official's phone: everything that belongs on the page before a code is typed, and the pages.

What is drawn are exactly the bytes that will be signed: the digest of what the renderer read is compared with the
request's own, and the same digest stands in the form that confirms. That a phone showed a document is on record
before it does: once when it is opened, once when the first picture of it goes out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from signing_service import tails
from signing_service.audit import Event, record
from signing_service.db.tables import client, seen
from signing_service.delivery import insert_absent
from signing_service.errors import NotFound, SigningError, WrongState
from signing_service.holdings import Holding, holding_of
from signing_service.pdf import Appearance, EarlierSignature, Picture, PictureOrder, Survey, Width
from signing_service.people import Official
from signing_service.signing_requests import SigningRequest, State, fact_of, row_of

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

WIDTHS = tuple(map(int, Width))  # pixels
REMEMBERED = 500           # surveys kept in memory; a digest never means another document


@dataclass(frozen=True)
class Paper:
    """What is known of the document itself. `trouble` says why its pages cannot be shown; then there are none."""

    pages: tuple[tuple[float, float], ...]  # width and height of each, in points
    earlier: tuple[EarlierSignature, ...]
    trouble: str | None = None


@dataclass(frozen=True)
class Showing:
    """Everything on the page of one signing request."""

    request: SigningRequest
    client: str
    agency: str
    holding: Holding
    stamp: Appearance | None
    paper: Paper
    obstacle: str | None  # why it cannot be confirmed here and now, as a word; None: it can

    @property
    def can_confirm(self) -> bool:
        return self.obstacle is None


_surveyed: OrderedDict[str, Paper] = OrderedDict()


async def show(rt: Runtime, official: Official, request_id: str) -> Showing:
    """One of the official's signing requests, on record as shown to this phone. NotFound for what is not theirs."""
    request, asks, material, is_new = await rt.db.run(_gathered, rt, official, request_id)
    paper = await _paper(rt, official, request)
    holding = holding_of(material.credential)
    if is_new:
        await rt.db.run(_record, rt, official, request_id, Event.SHOWN, {"matching_code": request.matching_code})
    return Showing(request, asks, material.agency, holding, tails.stamp_of(rt, material, rt.clock()), paper,
                   _obstacle(rt, request, holding, paper))


async def picture(rt: Runtime, official: Official, request_id: str, page: int, width: int) -> Picture:
    """A page, from 1, of exactly the bytes that will be signed; one of WIDTHS wide.

    Raises NotFound for what is not theirs or not there, WrongState (`digest-changed`) when the file is not the
    one that was submitted, and what the pool raises.
    """
    request, is_new = await rt.db.run(_for_picture, rt, official, request_id)
    if width not in WIDTHS or not 1 <= page <= request.pages:
        raise NotFound("There is no such page.")
    order = PictureOrder(document=rt.documents.path(request.document_digest), page=page, width=Width(width))
    drawn = await rt.pool.picture(order, official.phone_id)
    if drawn.digest != request.document_digest:
        raise WrongState("The stored document is not the one that was submitted.", code="digest-changed")
    if is_new:
        await rt.db.run(_record, rt, official, request_id, Event.LOOKED, {"page": page, "drawn": drawn.digest})
    return drawn


async def check_can_be_shown(rt: Runtime, official: Official, request: SigningRequest) -> None:
    """WrongState where the document's pages cannot be shown: nobody signs here what they could not have seen."""
    if (await _paper(rt, official, request)).trouble is not None:
        raise WrongState("The document cannot be shown, so it cannot be confirmed on a phone.", code="page-not-drawn")


def _gathered(rt: Runtime, official: Official, request_id: str) -> tuple[SigningRequest, str, tails.Material, bool]:
    with rt.db.read() as tx:
        request = SigningRequest.of_row(row_of(tx, official, request_id))
        asks = str(tx.execute(select(client.c.name).where(client.c.id == request.client_id)).scalar_one())
        return request, asks, tails.material(tx, request), _is_new(tx, official, request_id, Event.SHOWN)


def _for_picture(rt: Runtime, official: Official, request_id: str) -> tuple[SigningRequest, bool]:
    with rt.db.read() as tx:
        request = SigningRequest.of_row(row_of(tx, official, request_id))
        return request, _is_new(tx, official, request_id, Event.LOOKED)


def _obstacle(rt: Runtime, request: SigningRequest, holding: Holding, paper: Paper) -> str | None:
    if request.state is not State.PENDING:
        return "state"
    if request.expires_at <= rt.clock():
        return "expired"
    if not holding.credential.is_valid(rt.clock()):
        return "credential"
    return "drawing" if paper.trouble is not None else None


# ------------------------------------------------------------------------------------------------------- the paper


async def _paper(rt: Runtime, official: Official, request: SigningRequest) -> Paper:
    known = _surveyed.get(request.document_digest)
    if known is not None:
        _surveyed.move_to_end(request.document_digest)
        return known
    try:
        paper = await _surveyed_now(rt, official, request)
    except SigningError as error:  # busy, swept, or too costly: the words are shown, and nothing can be confirmed
        return Paper((), (), error.code)
    _surveyed[request.document_digest] = paper
    if len(_surveyed) > REMEMBERED:
        _surveyed.popitem(last=False)
    return paper


async def _surveyed_now(rt: Runtime, official: Official, request: SigningRequest) -> Paper:
    path = rt.documents.path(request.document_digest)
    survey: Survey = await rt.pool.survey(path, official.phone_id)
    if survey.digest != request.document_digest or len(survey.pages) != request.pages:
        raise WrongState("The stored document is not the one that was submitted.", code="digest-changed")
    earlier = (await rt.pool.look(path, client_id=official.phone_id)).signatures if request.earlier_signatures else ()
    return Paper(survey.pages, earlier)


# ------------------------------------------------------------------------------------------------------ on record


def _is_new(tx: Any, official: Official, request_id: str, event: Event) -> bool:
    return tx.execute(select(seen.c.at).where(
        seen.c.signing_request_id == request_id, seen.c.phone_id == official.phone_id,
        seen.c.event == event)).first() is None


def _record(rt: Runtime, official: Official, request_id: str, event: Event, data: dict[str, Any]) -> None:
    """Once for each phone: the row's key decides between two pages that open at the same moment."""
    now = rt.clock()
    with rt.db.write() as tx:
        row = row_of(tx, official, request_id)
        if insert_absent(tx, seen, {"signing_request_id": row.id, "phone_id": official.phone_id, "event": event.value,
                                    "at": now}):
            record(tx, now, fact_of(event, official.actor, row, {"phone": official.phone_id, **data}))
