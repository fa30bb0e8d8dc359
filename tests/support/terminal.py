"""An operator at a terminal: commands as they are typed, against a signer that really runs, on an in-memory device.

    office = Office.open(tmp_path)                 # a signer in a thread, an empty database
    terminal = office.terminal(monkeypatch, capsys)
    terminal.bootstraps("Trần Thị Bình")
    terminal("agency", "add", "H26", "Hà Nội", "--level", "city")

The signer's clock moves on by one step for every code, so that nobody waits for a fresh one.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyotp
import pytest

from signing_service.cli.main import run
from signing_service.db.engine import Database
from signing_service.signer.leases import beat
from signing_service.signer.process import Signer
from signing_service.signer.runtime import Runtime
from tests.support import databases
from tests.support.city import Clock, runtime
from tests.support.memory_device import MemoryDevice


@dataclass
class Office:
    """The server side: a signer on its sockets, and the settings that point at it."""

    rt: Runtime
    clock: Clock
    settings: dict[str, str]
    directory: Path

    def fresh_code(self, uri: str) -> str:
        self.clock.forward(30)
        beat(self.rt)
        code = pyotp.parse_uri(uri)
        assert isinstance(code, pyotp.TOTP)
        return code.at(self.clock.at)


@contextmanager
def opened(directory: Path, url: str | None = None, signer_url: str | None = None) -> Iterator[Office]:
    """A signer in a thread of its own until the end of the block; with SQLite unless migrated databases are named."""
    clock = Clock()
    if url is None:
        url = databases.sqlite(directory)
    rt = runtime(signer_url or url, directory, MemoryDevice(), clock)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="signer")
    thread.start()
    signer = _in(loop, _made(rt))
    _in(loop, signer.start())
    try:
        yield Office(rt, clock, _settings(url, directory), directory)
    finally:
        _in(loop, signer.stop())
        _in(loop, loop.shutdown_default_executor())  # a chore that was cancelled may still hold a connection
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        rt.db.close()


async def _made(rt: Runtime) -> Signer:
    return Signer(rt)


def _in(loop: asyncio.AbstractEventLoop, work: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(work, loop).result(30)


def _settings(url: str, directory: Path) -> dict[str, str]:
    (directory / "front.secret").write_bytes(b"s" * 32)
    return {
        "SIGNING_PROFILE": "development", "SIGNING_DATABASE_URL": url, "SIGNING_DOCUMENTS": f"{directory}/documents",
        "SIGNING_SIGN_SOCKET": f"{directory}/sign.sock", "SIGNING_ADMIN_SOCKET": f"{directory}/admin.sock",
        "SIGNING_FRONT_SECRET_FILE": f"{directory}/front.secret",
    }


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, and what stood on both outputs."""

    exit: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Terminal:
    """One shell with its environment. `uri` is the seed of whoever sits there."""

    office: Office
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    uri: str = ""
    operator: str = ""
    seeds: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.office.settings.items():
            self.monkeypatch.setenv(name, value)
        self.monkeypatch.delenv("SIGNING_OPERATOR", raising=False)
        self.monkeypatch.delenv("SIGNING_OPERATOR_CODE", raising=False)

    def __call__(self, *words: str, code: str | None = None, exits: int = 0) -> Answer:
        """Type a command; a fresh code of the operator's is at hand unless one is given."""
        typed = code if code is not None else self.office.fresh_code(self.uri) if self.uri else ""
        self.monkeypatch.setenv("SIGNING_OPERATOR_CODE", typed)
        self.capsys.readouterr()
        ended = run(words)
        shown = self.capsys.readouterr()
        answer = Answer(ended, shown.out, shown.err)
        assert ended == exits, answer
        return answer

    def asks(self, *words: str, **more: Any) -> Any:
        """The same with `--json`: the answer as data."""
        return self(*words, "--json", **more).json

    def bootstraps(self, name: str = "Trần Thị Bình") -> None:
        """Become the first operator."""
        made = self.asks("bootstrap", name)
        self.asks("code", "complete", made["id"], self.office.fresh_code(made["uri"]))
        self.sits_down(made["id"], made["uri"])

    def sits_down(self, operator: str, uri: str) -> None:
        self.operator, self.uri = operator, uri
        self.monkeypatch.setenv("SIGNING_OPERATOR", operator)

    def agencies(self) -> None:
        self.asks("agency", "add", "H26", "Thành phố Hà Nội", "--level", "city")
        self.asks("agency", "add", "H26.1", "Phường Ba Đình", "--level", "ward", "--parent", "H26")

    def signatory(self, name: str = "Nguyễn Văn An", reference: str = "CB-1") -> str:
        made = self.asks("signatory", "add", name, "--agency", "H26.1", "--office", "chairman",
                         "--reference", reference)
        found: str = made["id"]
        return found

    def entries(self, event: str) -> list[Any]:
        listed: list[Any] = self.asks("audit", "search", "--event", event)
        return listed

    def database(self) -> Database:
        return Database(self.office.settings["SIGNING_DATABASE_URL"], pool_size=1)
