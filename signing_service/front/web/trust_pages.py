"""The page on which the browser itself verifies the log, and the JSON it asks for.

Nothing here judges: a note, a text and a proof are handed over as they are stored, and `trust.js` computes.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cache

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from signing_service import verification
from signing_service.audit import instant
from signing_service.front.runtime import Runtime
from signing_service.front.web import words
from signing_service.front.web.audience import Screen
from signing_service.front.web.pages import page
from signing_service.front.web.visitors import Auditing
from signing_service.verification import Signed

router = APIRouter(route_class=Screen)

NO_STORE = {"Cache-Control": "no-store"}
PROOFS = "/console/proofs"
SAYS = "trust.say."


@cache
def says() -> tuple[str, ...]:
    """What the script may have to say: the page carries the sentences, in the visitor's language."""
    return tuple(key.removeprefix(SAYS) for key in words.catalogue() if key.startswith(SAYS))


def _runtime(request: Request) -> Runtime:
    rt: Runtime = request.app.state.rt
    return rt


@router.get("/console/trust", name="trust")
async def show(request: Request, entry: str = "", begin: str = "") -> Response:
    rt = _runtime(request)
    history = await rt.db.run(verification.checkpoints, rt.db, begin[:40] or None)
    return page(request, "trust/page.html", entry=entry[:40], history=history, is_newest=not begin,
                says=says())


@router.get(f"{PROOFS}/newest", name="proof_newest")
async def newest(request: Request) -> Response:
    rt = _runtime(request)
    found = await rt.db.run(verification.newest, rt.db)
    return _json(_told(found) | {"keys": list(await rt.db.run(verification.verifier_keys, rt.db))})


@router.get(f"{PROOFS}/checkpoints/{{checkpoint_id}}", name="proof_checkpoint")
async def checkpoint(request: Request, checkpoint_id: str) -> Response:
    rt = _runtime(request)
    return _json(_told(await rt.db.run(verification.get_checkpoint, rt.db, checkpoint_id)))


@router.get(f"{PROOFS}/checkpoints/{{checkpoint_id}}/note", name="proof_note")
async def download(request: Request, checkpoint_id: str) -> Response:
    rt = _runtime(request)
    found = await rt.db.run(verification.get_checkpoint, rt.db, checkpoint_id)
    return PlainTextResponse(found.note, headers=NO_STORE | {
        "Content-Disposition": f'attachment; filename="checkpoint-{found.size}.txt"'})


@router.get(f"{PROOFS}/consistency", name="proof_consistency")
async def consistency(request: Request, old: int, new: int) -> Response:
    rt = _runtime(request)
    return _json(asdict(await rt.db.run(verification.prove_consistency, rt.db, old, new)))


@router.get(f"{PROOFS}/inclusion", name="proof_inclusion")
async def inclusion(request: Request, staff: Auditing, entry: str, size: int) -> Response:
    rt = _runtime(request)
    found = await rt.db.run(verification.prove_entry, rt.db, staff, rt.clock(), entry, size)
    return _json(asdict(found.inclusion) | {"text": found.text})


def _told(found: Signed) -> dict[str, object]:
    return asdict(found) | {"at": instant(found.at)}


def _json(content: dict[str, object]) -> Response:
    return JSONResponse(content, headers=NO_STORE)
