"""Stories over small real things: a front with its pdf workers, a signer on an in-memory device, one database.

    world = World.open(stage, tmp_path)
    official = world.official("Nguyễn Văn A")
    office = world.client()                          # a document system with an access token
    made = office.submits(official)                  # the signing request as JSON
    signed = office.confirms(official, made)
    world.check()                                    # the invariants that must hold at any time

A `Stage` (an event loop and a pool of pdf workers) is slow to make and is shared; a world is made for each test.
Time is the city's own and moves only when a test moves it, or when a fresh code is needed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from sqlalchemy import func, select

from signing_service.db.migrate import upgrade
from signing_service.db.tables import entry, metadata, signing_request
from signing_service.front.app import create_app
from signing_service.front.outbound import AllowList, Outbound
from signing_service.front.runtime import Runtime, open_runtime
from signing_service.front.settings import FrontSettings
from signing_service.pdf import Pool, Verdict
from signing_service.pdf.work import JudgeOrder
from signing_service.register import NewClient, add_client
from signing_service.signer.process import Signer
from signing_service.wire.messages import ActivatePolicy
from tests.support.city import City, Clock, Person
from tests.support.city import runtime as signer_runtime
from tests.support.handset import Handset
from tests.support.memory_device import MemoryDevice
from tests.support.staff import Seat, auditor_of, operator_of

T = TypeVar("T")
PLAN = Path(__file__).parents[1] / "documents" / "ke-hoach.pdf"
FORM = {"document_type": "KH", "number": "201", "symbol": "KH-UBND", "subject": "Kế hoạch chuyển đổi số",
        "issuing_agency": "H26.1"}


class Stage:
    """What is slow to make and can be shared: an event loop, pdf workers, TLS roots, a migrated database to copy."""

    def __init__(self, directory: Path) -> None:
        self._runner = asyncio.Runner()
        self.pool = Pool(2, folders=(directory.parent,))  # every world's documents are below it
        self.run(self.pool.start())
        self.tls = ssl.create_default_context()
        self.empty_database = directory / "empty.db"
        upgrade(f"sqlite:///{self.empty_database}")

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(story)

    def close(self) -> None:
        self.run(self.pool.close())
        self._runner.close()


def plan(mark: str = "") -> bytes:
    """A real administrative document; a mark makes it another one (a comment after its end)."""
    return PLAN.read_bytes() + (f"% {mark}\n".encode() if mark else b"")


@dataclass(frozen=True)
class Client:
    """A document system: its credentials, its token, and what it does."""

    world: World
    id: str
    secret: str
    token: str

    def asks(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One HTTP request with this client's token."""
        headers = {"Authorization": f"Bearer {self.token}"} | more.pop("headers", {})
        return self.world.asks(method, path, headers=headers, **more)

    def tries_to_submit(
        self, person: Person | str, document: bytes | None = None, *, path: str = "", key: str | None = None,
        filename: str = "ke-hoach.pdf", **fields: str,
    ) -> httpx.Response:
        signatory = person if isinstance(person, str) else person.id
        return self.asks(
            "POST", f"/api/v1/signing-requests{path}", data=FORM | {"signatory": signatory, "level": "B-B"} | fields,
            files={"file": (filename, plan() if document is None else document, "application/pdf")},
            headers={"Idempotency-Key": key} if key else {},
        )

    def submits(self, person: Person, document: bytes | None = None, **fields: str) -> dict[str, Any]:
        return told(self.tries_to_submit(person, document, **fields), 201)

    def tries_to_confirm(self, made: dict[str, Any], code: str, **headers: str) -> httpx.Response:
        return self.asks("POST", f"/api/v1/signing-requests/{made['id']}/confirm", json={"code": code}, headers=headers)

    def confirms(self, person: Person, made: dict[str, Any]) -> dict[str, Any]:
        return told(self.tries_to_confirm(made, self.world.fresh_code(person)), 200)

    def sees(self, made: dict[str, Any]) -> dict[str, Any]:
        return told(self.asks("GET", f"/api/v1/signing-requests/{made['id']}"), 200)


def told(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The JSON of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


class World:
    """Both halves in one process, speaking through the same messages and the same database."""

    def __init__(self, stage: Stage, directory: Path, url: str | None) -> None:
        self.stage, self.directory = stage, directory
        self.clock = Clock()
        self.device = MemoryDevice()
        if url is None:
            shutil.copyfile(stage.empty_database, directory / "signing.db")
        self.url = url or f"sqlite:///{directory / 'signing.db'}"
        self.city = City(signer_runtime(self.url, directory, self.device, self.clock), self.clock)
        self._stack = AsyncExitStack()
        self._documents: dict[str, bytes] = {}

    @classmethod
    @contextmanager
    def open(cls, stage: Stage, directory: Path, *, url: str | None = None, **settings: Any) -> Iterator[World]:
        """A world on SQLite, or on the migrated database at `url`; the other settings are the front's."""
        world = cls(stage, directory, url)
        try:
            stage.run(world._start(settings))
            yield world
        finally:
            stage.run(world._stack.aclose())
            world.city.close()

    async def _start(self, more: dict[str, Any]) -> None:
        secret = self.directory / "front.secret"
        secret.write_bytes(os.urandom(32))
        settings = FrontSettings(
            database_url=self.url, documents=self.directory / "documents", sign_socket=self.directory / "sign.sock",
            admin_socket=self.directory / "admin.sock", front_secret_file=secret, **more)
        await self._start_signer()
        self._stack.push_async_callback(self._stop_signer)
        outbound = Outbound(AllowList(), tls=self.stage.tls)
        self.rt: Runtime = await self._stack.enter_async_context(
            open_runtime(settings, pool=self.stage.pool, clock=self.clock, outbound=outbound))
        self.app = create_app(self.rt)
        self._http = await self._stack.enter_async_context(httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://signing.test"))

    async def _start_signer(self) -> None:
        """Until it has looked at its device: before that it reports that it does not know."""
        self._signer = Signer(self.city.rt)
        await self._signer.start()
        while any(each.name == "device" and each.detail == "not looked at yet"  # noqa: ASYNC110  # it tells nobody
                  for each in self._signer.health.conditions()):
            await asyncio.sleep(0.002)

    async def _stop_signer(self) -> None:
        await self._signer.stop()

    @contextmanager
    def without_signer(self) -> Iterator[None]:
        """The signer is down while the block lasts."""
        self.stage.run(self._stop_signer())
        try:
            yield
        finally:
            self.stage.run(self._start_signer())

    # ------------------------------------------------------------------------------------------------- people

    def official(self, name: str = "Nguyễn Văn A", **more: Any) -> Person:
        """A signatory with a code and an active credential."""
        return self.city.official(name, **more)

    def client(self, role: str = "submitter", agencies: tuple[str, ...] = ("*",), name: str = "QLVB") -> Client:
        """A registered client with a fresh token."""
        made = add_client(self.rt.db, "operator:test", self.clock(), NewClient(name, role, agencies))
        answer = self.asks("POST", "/oauth2/token", data={"grant_type": "client_credentials"},
                           auth=httpx.BasicAuth(made.client_id, made.secret))
        return Client(self, made.client_id, made.secret, told(answer, 200)["access_token"])

    def auditor(self, agencies: tuple[str, ...] = ("*",), name: str = "Phạm Thị Dung") -> Seat:
        """An auditor who is signed in at the console."""
        return auditor_of(self, agencies, name)

    def operator_at_console(self) -> Seat:
        """The operator, signed in at the console."""
        return operator_of(self)

    def phone(self, person: Person, *, keeps_others: bool = False) -> Handset:
        """A phone that was enrolled for this person: what it carries, their codes among it, is in `.phone`."""
        return Handset(self, self.city.enrols_phone(person, keeps_others=keeps_others))

    def browser(self) -> Handset:
        """A browser that nobody knows."""
        return Handset(self)

    def fresh_code(self, person: Person) -> str:
        """A code that was never used: time moves on by one step."""
        self.city.next_code()
        return person.code(self.clock.at)

    def timestamp_authority(self) -> None:
        self.city.timestamp_authority()

    def activates(self, policy_text: str) -> None:
        """Another policy comes into force, by an operator's act."""
        self.city.acts(ActivatePolicy("test", policy_text))

    # ---------------------------------------------------------------------------------------------------- HTTP

    def asks(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.stage.run(self.ask(method, path, **more))

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self._http.request(method, path, **more)

    def at_once(self, *stories: Callable[[], Coroutine[Any, Any, T]]) -> list[T]:
        """Run several requests side by side."""
        async def everything() -> list[T]:
            return list(await asyncio.gather(*(story() for story in stories)))
        return self.stage.run(everything())

    # ------------------------------------------------------------------------------------------------ what is true

    def events(self, *wanted: str) -> int:
        return self.city.events(*wanted)

    def entries(self, event: str) -> list[dict[str, Any]]:
        """What the log says of an event, in the order in which it was written."""
        with self.rt.db.read() as tx:
            return [json.loads(body) for body in tx.execute(
                select(entry.c.body).where(entry.c.event == event).order_by(entry.c.id)).scalars()]

    def codes_tried(self, person: Person) -> int:
        """How often a code of this person was looked at, right or wrong."""
        with self.rt.db.read() as tx:
            return int(tx.execute(select(func.count()).select_from(entry).where(
                entry.c.signatory_id == person.id,
                entry.c.event.in_(("code:rejected", "signing-request:confirm")))).scalar_one())

    def state_of(self, made: dict[str, Any]) -> str:
        return self.city.state_of(made["id"])

    def count(self, table: str) -> int:
        with self.rt.db.read() as tx:
            return int(tx.execute(select(func.count()).select_from(metadata.tables[table])).scalar_one())

    def files(self) -> list[Path]:
        """Every file below the documents, drafts too."""
        return [path for path in self.rt.settings.documents.rglob("*") if path.is_file()]

    def everything_written(self) -> bytes:
        """All bytes of the database (and its log files) and of the documents."""
        database = [path for path in self.directory.glob("signing.db*") if path.is_file()]
        return b"\n".join(path.read_bytes() for path in [*database, *self.files()])

    def check(self) -> None:
        """I1 to I4 over all that is there: intents before values, prefixes kept, every signed document valid."""
        self.city.check()
        with self.rt.db.read() as tx:
            rows = tx.execute(select(signing_request).where(signing_request.c.state == "signed")).all()
            delivered = tx.execute(select(entry.c.signing_request_id).where(
                entry.c.event == "signing-request:signed")).scalars().all()
        assert sorted(delivered) == sorted(row.id for row in rows)
        for row in rows:
            self._check_signed(row)

    def _check_signed(self, row: Any) -> None:
        shown, signed = (self.rt.documents.path(each) for each in (row.document_digest, row.signed_digest))
        content = signed.read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.signed_digest
        assert content.startswith(shown.read_bytes())
        order = JudgeOrder(signed, (self.city.ca.root,), self.clock.at)
        judgements = self.stage.run(self.rt.pool.judge(order))
        assert len(judgements) == row.earlier_signatures + 1
        assert judgements[-1].verdict is Verdict.VALID, judgements[-1].problem
