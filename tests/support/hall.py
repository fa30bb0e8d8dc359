"""Both halves in one process: a front's Runtime over a `City`'s signer, joined by the same messages as on the wire.

    async with hall(tmp_path) as it:
        request_id = await it.confirmed(level="B-T")     # a signature value exists; nothing is finished yet
        assert await delivery.finish(it.rt, request_id)
    tell(tmp_path, story)                                # the same for a test that is not a coroutine

PDF work is done by the real verbs, in this process instead of a worker: what is under test here is what stands
around them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select, update

from hsm.algorithms import Algorithm
from signing_service.credentials import find
from signing_service.db.tables import client, entry, signing_request
from signing_service.errors import Invalid, SigningError
from signing_service.front.callers import Caller, Role
from signing_service.front.outbound import AllowList, Outbound
from signing_service.front.runtime import Runtime, open_runtime
from signing_service.front.settings import FrontSettings
from signing_service.pdf import Completed, CompleteOrder, Judgement, JudgeOrder, Level, Look, PrepareOrder, Refused
from signing_service.pdf.complete import complete
from signing_service.pdf.judge import judge
from signing_service.pdf.look import look
from signing_service.pdf.prepare import prepare
from signing_service.pdf.work import Limits, Wall
from signing_service.signer import sequencer, timestamps
from signing_service.wire import messages as m
from tests.support import databases
from tests.support.city import City, Clock, Person, runtime
from tests.support.memory_device import MemoryDevice
from tests.support.outside import resolving

A = TypeVar("A", bound=m.Message)
DOCUMENT = Path(__file__).parents[1] / "documents" / "ke-hoach.pdf"


class LocalPool:
    """The verbs of a pool, here; `broken` is raised instead of completing."""

    def __init__(self) -> None:
        self.broken: Exception | None = None
        self.walls: frozenset[Wall] = frozenset()
        self.completed = 0

    async def look(self, path: Path, client_id: str = "") -> Look:
        return await self._do(look, path, Limits())

    async def complete(self, order: CompleteOrder) -> Completed:
        if self.broken is not None:
            raise self.broken
        self.completed += 1
        return await self._do(complete, order)

    async def judge(self, order: JudgeOrder, client_id: str = "") -> tuple[Judgement, ...]:
        return await self._do(judge, order)

    async def _do(self, verb: Any, *order: Any) -> Any:
        try:
            return await asyncio.to_thread(verb, *order)
        except Refused as refused:
            raise Invalid(refused.message, code=refused.code) from refused


class LocalSigner:
    """Answers as sign.sock does; `away` is raised instead."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.away: SigningError | None = None
        self.asked: list[m.Message] = []

    async def ask(self, message: m.Message, expected: type[A], *, deadline: float | None = None) -> A:
        self.asked.append(message)
        if self.away is not None:
            raise self.away
        answer = await asyncio.to_thread(self._answer, message)
        if isinstance(answer, SigningError):
            raise answer
        assert isinstance(answer, expected)
        return answer

    def _answer(self, message: m.Message) -> Any:
        if isinstance(message, m.IssueTimestamp):
            return timestamps.issue_all(self.city.rt, [message])[0]
        if isinstance(message, m.Confirm):
            return self.city.confirmations([message])[0]
        if not isinstance(message, m.Health):
            return self.city.asks(message)
        return m.HealthReport("si_" + "0" * 32, (m.Condition("device", True, "ok"),), "")


@dataclass
class Hall:
    """The front's runtime, the city, and the stand-ins between them."""

    rt: Runtime
    city: City
    signer: LocalSigner
    pool: LocalPool
    clock: Clock

    def caller(self, role: Role = Role.SUBMITTER) -> Caller:
        return Caller(self.city.client, "QLVB", role, frozenset({"*"}))

    async def official(self) -> Person:
        return await asyncio.to_thread(self.city.official)

    async def submitted(self, **more: Any) -> str:
        """A pending signing request of somebody new, or one in the state that is given."""
        official = await self.official()
        return await asyncio.to_thread(lambda: self.city.submitted(official, **more))

    async def confirmed(self, official: Person | None = None, **more: Any) -> str:
        """A signing request that was confirmed and signed by the device: it is in `finishing`."""
        return await asyncio.to_thread(self._confirmed, official or await self.official(), more)

    def _confirmed(self, official: Person, more: dict[str, Any]) -> str:
        request_id = self.city.submitted(official, DOCUMENT.read_bytes(), **more)
        line = self._prepared(request_id)
        self.city.next_code()
        message = m.Confirm(self.city.client, official.id, official.code(self.clock.at), "client", (line,))
        answer = self.city.confirmations([message])[0]
        if isinstance(answer, SigningError):
            raise answer
        assert answer.lines[0].outcome == "done", answer
        return request_id

    def _prepared(self, request_id: str) -> m.Line:
        row = self.row(request_id)
        with DOCUMENT.open("rb") as source:
            self.rt.documents.store(source)
        with self.rt.db.read() as tx:
            held = find(tx, row.credential_id)
        assert held.certificate is not None
        tail = self.rt.documents.draft_path()
        made = prepare(PrepareOrder(
            document=self.rt.documents.path(row.document_digest), tail=tail, certificate=held.certificate,
            chain=held.chain, algorithm=Algorithm(row.algorithm), level=Level(row.level), signing_time=self.clock.at))
        self.rt.documents.store(tail)
        with self.rt.db.write() as tx:
            tx.execute(update(signing_request).where(signing_request.c.id == request_id)
                       .values(tail_digest=made.tail_digest))
        return m.Line(request_id, row.credential_id, row.document_digest, made.tail_digest, made.to_sign, row.algorithm)

    def row(self, request_id: str) -> Any:
        with self.rt.db.read() as tx:
            return tx.execute(select(signing_request).where(signing_request.c.id == request_id)).one()

    def entries(self, event: str) -> list[Any]:
        with self.rt.db.read() as tx:
            return list(tx.execute(select(entry).where(entry.c.event == event).order_by(entry.c.id)).all())

    def listens(self, url: str) -> None:
        """The client has a webhook."""
        with self.rt.db.write() as tx:
            tx.execute(update(client).where(client.c.id == self.city.client).values(webhook_url=url))

    def sequence(self) -> None:
        while sequencer.sequence(self.city.rt):
            pass


@asynccontextmanager
async def hall(directory: Path, url: str | None = None, *, answers: str = "127.0.0.1", hosts: tuple[str, ...] = (),
               **settings: Any) -> AsyncIterator[Hall]:
    """A hall over SQLite, or over the migrated database at `url`.

    Every outside name resolves to `answers`; 127.0.0.0/8 may be called.
    """
    database = url or await asyncio.to_thread(databases.sqlite, directory)
    clock = Clock()
    city = await asyncio.to_thread(lambda: City(runtime(database, directory, MemoryDevice(), clock), clock))
    (directory / "front.secret").write_bytes(secrets.token_bytes(32))
    found = FrontSettings(
        profile="development", database_url=database, documents=directory / "documents",
        sign_socket=directory / "sign.sock", admin_socket=directory / "admin.sock",
        front_secret_file=directory / "front.secret", **settings)
    outbound = Outbound(AllowList.of(hosts, ("127.0.0.0/8",)), resolve=resolving(answers))
    signer, pool = LocalSigner(city), LocalPool()
    try:
        async with open_runtime(found, signer=signer, pool=pool, outbound=outbound, clock=clock) as rt:  # type: ignore[arg-type]  # stand-ins with the same methods
            yield Hall(rt, city, signer, pool, clock)
    finally:
        await outbound.close()
        await asyncio.to_thread(city.close)


def tell(directory: Path, story: Callable[[Hall], Awaitable[None]], url: str | None = None, **settings: Any) -> None:
    """Run a story in a hall of its own."""
    async def whole() -> None:
        async with hall(directory, url, **settings) as it:
            await story(it)

    asyncio.run(whole())
