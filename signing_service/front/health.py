"""Is this front alive, is it ready, and what does it count?

`/healthz` touches nothing: it answers while everything else is away, so that a supervisor does not restart a front
because a database is down. `/readyz` asks every dependency, side by side, each with a time limit of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from sqlalchemy import text
from starlette.responses import JSONResponse, Response

from signing_service import facts, metrics, stock
from signing_service.errors import SigningError, TooMany, Unavailable
from signing_service.front.callers import Guarded
from signing_service.front.rest import Held
from signing_service.front.runtime import Runtime
from signing_service.front.threshold import ALIVE
from signing_service.wire.messages import Health, HealthReport

log = logging.getLogger(__name__)

SECONDS = 2.0            # for one dependency; who asks has a limit of some five seconds
REMEMBERED = 1.0         # seconds; anybody may ask, so asking often must not cost often
LEAST_FREE = 256 << 20   # bytes on the disk of the documents: a reserve, for the log may share it
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

def _page() -> bytes:
    """The smallest document there is to look at: a worker that reads it is a worker that reads."""
    objects = (b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
               b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources<<>>>>")
    made, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return made + b"xref\n0 4\n0000000000 65535 f \n%strailer\n<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        table, len(made))


PAGE = _page()
router = APIRouter(route_class=Guarded, tags=["operation"])


@dataclass(frozen=True)
class Answer:
    """One dependency: does it do its work, and if not, why."""

    ok: bool
    detail: str = "ok"


@dataclass
class Readiness:
    """The last round of questions, kept for a moment; whoever comes during one waits for its answer."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    asked_at: float = -REMEMBERED
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, rt: Runtime) -> Mapping[str, Answer]:
        async with self.turn:
            if time.monotonic() - self.asked_at >= REMEMBERED:
                self.answers = await ask_all(rt)
                self.asked_at = time.monotonic()
            return self.answers


@router.get("/healthz", summary="This process answers", response_class=JSONResponse)
async def live() -> JSONResponse:
    """Mostly answered at the threshold already, with the same words."""
    return JSONResponse(ALIVE)


@router.get("/readyz", summary="Everything that signing needs answers", response_class=JSONResponse,
            responses={503: {"description": "Something does not; the answer says what."}})
async def ready(request: Request, rt: Held) -> JSONResponse:
    answers = await known(request, rt)
    is_ready = all(answer.ok for answer in answers.values())
    return JSONResponse({
        "status": "ok" if is_ready else "unavailable",
        "dependencies": {name: {"ok": answer.ok, "detail": answer.detail} for name, answer in answers.items()},
    }, 200 if is_ready else 503)


async def known(request: Request, rt: Runtime) -> Mapping[str, Answer]:
    """How every dependency stands, at most `REMEMBERED` seconds old."""
    kept = request.app.state
    if not hasattr(kept, "readiness"):
        kept.readiness = Readiness()
    answers: Mapping[str, Answer] = await kept.readiness.of(rt)
    return answers


@router.get("/metrics", summary="Prometheus text", response_class=Response,
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
async def show_metrics(rt: Held) -> Response:
    """Our own numbers and the signer's. What cannot be asked now is left out; what is there is shown."""
    with contextlib.suppress(SigningError, TimeoutError):
        async with asyncio.timeout(SECONDS):
            await rt.db.run(_take_stock, rt)
    others = await _signers_metrics(rt)
    try:
        shown = metrics.exposition(*others)
    except ValueError:
        log.warning("the signer's metrics are not Prometheus text")
        shown = metrics.exposition()
    return Response(shown, media_type=METRICS_TYPE)


def _take_stock(rt: Runtime) -> None:
    with rt.db.read() as tx:
        stock.show(tx, rt.clock())


async def _signers_metrics(rt: Runtime) -> list[str]:
    try:
        async with asyncio.timeout(SECONDS):
            report = await rt.signer.ask(Health(), HealthReport, deadline=SECONDS)
    except (SigningError, TimeoutError):
        return []
    return [report.metrics] if report.metrics else []


# --------------------------------------------------------------------------------------------------- dependencies


async def ask_all(rt: Runtime) -> dict[str, Answer]:
    """Every dependency, side by side: the slowest one decides how long it takes, and no longer than its limit."""
    rounds = await asyncio.gather(*(_limited(name, question, rt) for name, question in QUESTIONS.items()))
    answers = {name: answer for each in rounds for name, answer in each.items()}
    for name in QUESTIONS:  # the signer counts its own
        metrics.READY.labels(name).set(1 if answers[name].ok else 0)
    return answers


Question = Callable[[Runtime], Awaitable[dict[str, Answer]]]


async def _limited(name: str, question: Question, rt: Runtime) -> dict[str, Answer]:
    try:
        async with asyncio.timeout(SECONDS):
            return {name: Answer(ok=True)} | await question(rt)
    except TimeoutError:
        return {name: Answer(ok=False, detail=f"no answer within {SECONDS:g} s")}
    except SigningError as error:
        return {name: Answer(ok=False, detail=error.message)}
    except Exception:  # whatever it is, the other answers are worth having
        log.exception("%s could not be asked", name)
        return {name: Answer(ok=False, detail="the question failed; see the log")}


async def _database(rt: Runtime) -> dict[str, Answer]:
    def ask() -> None:
        with rt.db.read() as tx:
            tx.execute(text("SELECT 1"))

    await rt.db.run(ask)
    return {}


async def _policy(rt: Runtime) -> dict[str, Answer]:
    def ask() -> None:
        with rt.db.read() as tx:
            facts.active_policy(tx)

    await rt.db.run(ask)
    return {}


async def _signer(rt: Runtime) -> dict[str, Answer]:
    """The signer itself, and what it knows of its own dependencies: `signer` is the process, the rest its words."""
    report = await rt.signer.ask(Health(), HealthReport, deadline=SECONDS)
    return {f"signer {each.name}": Answer(each.ok, each.detail) for each in report.conditions}


async def _documents(rt: Runtime) -> dict[str, Answer]:
    """A file can be written there, and there is room for more."""
    def write() -> int:
        path = rt.documents.draft_path(".health")
        try:
            path.write_bytes(PAGE)
        except OSError as error:
            raise Unavailable("The document storage cannot be written.", code="storage") from error
        finally:
            path.unlink(missing_ok=True)
        return rt.documents.free_bytes()

    free = await asyncio.to_thread(write)
    if free < LEAST_FREE:
        return {"documents": Answer(ok=False, detail=f"only {free >> 20} MiB are free")}
    return {}


async def _pdf(rt: Runtime) -> dict[str, Answer]:
    """A worker reads a page. A queue that is full is a queue that works. Shows the walls around the weakest worker."""
    path = await asyncio.to_thread(rt.documents.draft_path, ".health")
    try:
        await asyncio.to_thread(path.write_bytes, PAGE)
        await rt.pool.look(path, client_id="health")
    except OSError as error:
        raise Unavailable("The document storage cannot be written.", code="storage") from error
    except (TooMany, Unavailable) as error:
        if error.code not in ("busy", "too-many"):
            raise
        return {"pdf": Answer(ok=True, detail="busy")}
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return {"pdf": Answer(ok=True, detail=f"sandbox: {', '.join(sorted(rt.pool.walls)) or 'none'}")}


QUESTIONS: Mapping[str, Question] = {
    "database": _database, "policy": _policy, "signer": _signer, "documents": _documents, "pdf": _pdf,
}
