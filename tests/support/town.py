"""A service that a browser can visit, in this process: a `World` behind a real uvicorn, with a clock the stories move.

    with Town.open(tmp_path) as town:
        town.url                               # http://127.0.0.1:…, as Chromium sees it
        an = town.official("Nguyễn Văn An")    # a signatory with a certificate, without a phone
        ticket = town.ticket(an)               # what an operator hands out: a path to open
        code = town.code(an.seed)              # one that was never used: time moves on by a step

The event loop has a thread of its own, because Playwright keeps the main thread's for itself.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyotp
import uvicorn
from starlette.types import ASGIApp

from signing_service import accounts, confirmation, phones, showing
from signing_service.confirmation import Shown
from signing_service.db.migrate import upgrade
from signing_service.errors import SigningError
from signing_service.front.patience import PatientProtocol
from signing_service.pdf import Pool
from signing_service.wire import messages as m
from tests.support.city import DEFAULT, secret_of
from tests.support.world import Stage, World, plan, told

T = TypeVar("T")
LONGEST = 60.0  # seconds for anything asked of the loop


class LiveStage(Stage):
    """A stage whose event loop runs all the time, in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="town")
        self._thread.start()
        self.pool = Pool(2, folders=(directory.parent,))
        self.run(self.pool.start())
        self.tls = ssl.create_default_context()
        self.empty_database = directory / "empty.db"
        upgrade(f"sqlite:///{self.empty_database}")

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(story, self.loop).result(LONGEST)

    def close(self) -> None:
        self.run(self.pool.close())
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass
class Townsman:
    """Somebody with codes. `seed` is what their authenticator app holds; empty until it scanned one."""

    id: str
    name: str
    credential: str = ""
    seed: str = ""


class Town:
    """A world at an address, and what operators and document systems do in it."""

    def __init__(self, world: World, url: str) -> None:
        self.world, self.url = world, url
        self.operator = Townsman(world.city.operator.id, "Operator", seed=world.city.operator.secret)
        self.office = world.client()
        self._submitted = 0

    @classmethod
    @contextmanager
    def open(cls, stage: LiveStage, directory: Path, **settings: Any) -> Iterator[Town]:
        with World.open(stage, directory, service_name="Ký số Hà Nội", help_contact="024 3825 3536",
                        **settings) as world:
            world.activates(DEFAULT)
            with _listening(stage, world.app) as url:
                yield cls(world, url)

    # ----------------------------------------------------------------------------------------------- people

    def official(self, name: str = "Nguyễn Văn An", office: str = "chairman") -> Townsman:
        """A signatory with an active credential, and nothing to confirm with yet."""
        city = self.world.city
        signatory_id = city.acts(m.AddSignatory(name, "H26.1", office))[0].id
        credential_id = city.acts(m.AddCredential("personal", "H26.1", "p-256", None, signatory_id))[0].id
        city.certify(credential_id, name)
        return Townsman(signatory_id, name, credential_id)

    def auditor(self, name: str = "Phạm Thị Dung", agencies: tuple[str, ...] = ("*",)) -> Townsman:
        """An auditor by an operator's act, without seed or password yet."""
        return Townsman(self.world.city.acts(m.AddAuditor(name, agencies))[0].id, name)

    def locks(self, person: Townsman) -> None:
        """Wrong codes on somebody's phone, until no more are taken."""
        rt, run, made = self.world.rt, self.world.stage.run, self.submits(person)
        official = run(phones.official_of(rt, self.phone(person)))
        for _ in range(5):
            with suppress(SigningError):
                run(confirmation.confirm_shown(
                    rt, official, [Shown(made["id"], made["document_digest"])], self.wrong_code(person)))

    def ticket(self, person: Townsman, *, hours: int = 72, keeps_others: bool = False) -> str:
        """The path that an operator hands out; good once."""
        token = self.world.city.acts(m.IssueTicket(person.id, hours, keeps_others))[0].data
        return f"/enrol/{token}"

    def phone(self, person: Townsman) -> str:
        """Enrol a phone for somebody without a screen; the cookie that it then carries."""
        rt, token, browser = self.world.rt, self.ticket(person).removeprefix("/enrol/"), "0" * 64
        made = self.world.stage.run(phones.redeem(rt, token, browser, "Android, Chrome", "127.0.0.1"))
        person.seed = secret_of(made.uri)
        self.world.stage.run(phones.complete(rt, made.cookie, self.code(person)))
        return made.cookie

    def session(self, person: Townsman, password: str) -> str:
        """Give an auditor or operator a password without a screen; the cookie of their first session."""
        rt, token, browser = self.world.rt, self.ticket(person).removeprefix("/enrol/"), "0" * 64
        made = self.world.stage.run(accounts.open_enrolment(rt, token, browser, "127.0.0.1"))
        person.seed = secret_of(made.uri) if made.uri else person.seed
        code = self.code(person)
        return self.world.stage.run(accounts.complete_enrolment(
            rt, token, browser, person.id, password, code, "127.0.0.1"))[1]

    def code(self, person: Townsman) -> str:
        """A code that was never used: time moves on by one step."""
        self.world.city.next_code()
        return pyotp.TOTP(person.seed).at(self.world.clock.at)

    def wrong_code(self, person: Townsman) -> str:
        """Six digits that are none of the codes acceptable about now."""
        app = pyotp.TOTP(person.seed)
        right = {app.at(self.world.clock.at, counter_offset=away) for away in range(-3, 4)}
        return next(guess for guess in (f"{digit}" * 6 for digit in range(10)) if guess not in right)

    # -------------------------------------------------------------------------------------------- documents

    def submits(self, person: Townsman, document: bytes | None = None, **fields: str) -> dict[str, Any]:
        """The document system submits a document, another one each time; the signing request as it sees it."""
        self._submitted += 1
        document = plan(f"document {self._submitted}") if document is None else document
        return told(self.office.tries_to_submit(person.id, document, **fields), 201)

    def signs(self, person: Townsman, *requests: dict[str, Any]) -> None:
        """Look at documents and confirm them, on a phone without a screen."""
        rt, run = self.world.rt, self.world.stage.run
        official = run(phones.official_of(rt, self.phone(person)))
        for each in requests:
            run(showing.show(rt, official, each["id"]))
            run(showing.picture(rt, official, each["id"], 1, showing.WIDTHS[0]))
        shown = [Shown(each["id"], each["document_digest"]) for each in requests]
        run(confirmation.confirm_shown(rt, official, shown, self.code(person)))

    def sees(self, made: dict[str, Any]) -> dict[str, Any]:
        return self.office.sees(made)

    def downloads(self, made: dict[str, Any]) -> bytes:
        answer = self.office.asks("GET", f"/api/v1/signing-requests/{made['id']}/signed-document")
        assert answer.status_code == 200, answer.text
        return answer.content


@contextmanager
def _listening(stage: LiveStage, app: ASGIApp) -> Iterator[str]:
    """The application as a front serves it (`cli/web.py`), on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(
            app, http=PatientProtocol, lifespan="off", log_config=None, access_log=False, server_header=False,
            ws="none", timeout_graceful_shutdown=5))
        serving = asyncio.run_coroutine_threadsafe(server.serve(sockets=[listener]), stage.loop)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            serving.result(LONGEST)
