"""The whole service as processes: signer, jobs and fronts, on a real token and a real database.

    service = Service(directory, url)        # a city with an operator, a client and a timestamp authority
    official = service.official()
    service.start()
    request = service.submits(official, PLAN)
    service.confirms(official, request)

The city is prepared in this process with a clock in the past, so that every code of the present is still unspent.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
from sqlalchemy import func, select, update

from hsm.algorithms import Algorithm
from hsm.verification import holds
from signing_service.db.engine import Database
from signing_service.db.migrate import upgrade
from signing_service.db.tables import client, entry, intent, key, signature, signing_request
from signing_service.errors import SigningError
from signing_service.signer.runtime import Runtime
from signing_service.wire.client import ask_once
from signing_service.wire.messages import Health, HealthReport
from tests.support import campaign, softhsm, spying
from tests.support.city import City, Clock, Person, runtime

ROOT = Path(__file__).parents[2]
PLAN = ROOT / "tests" / "documents" / "ke-hoach.pdf"
READY_SECONDS = campaign.rounds(90, 600)  # python starts slowly where two cores run everything else, too
STEP = 30
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing here speaks TLS: no client reads all the world's roots


def until(condition: Callable[[], Any], seconds: float = READY_SECONDS, what: str = "it") -> Any:
    """Wait for a fact. Fails, naming it, when it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


class Process(Protocol):
    """As much of `subprocess.Popen` as is needed; a process may have come about in another way (`hatchery`)."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...


@dataclass
class Running:
    """One process, and what it was started with."""

    process: Process
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


class Service:
    """A city whose service runs in processes of its own. Close it at the end."""

    def __init__(self, directory: Path, url: str, *, signer_url: str | None = None, fronts: int = 1,
                 spied: bool = spying.EVERYWHERE) -> None:
        """`spied`: every call to the device is written down, one log for each life of the signer (`spy_logs`)."""
        self.directory, self.url, self.signer_url = directory, url, signer_url or url
        self._spied, self._lives, self._spy_logs = spied, itertools.count(1), spying.place(directory)
        upgrade(self.signer_url)
        clock = Clock()
        clock.at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
        rt = runtime(self.signer_url, directory, softhsm.device(), clock)
        self.city = self.settled(rt, clock)
        self.secret = secrets.token_hex(32)
        with rt.db.write() as tx:
            tx.execute(update(client).values(secret_hash=hashlib.sha256(self.secret.encode()).hexdigest()))
        (directory / "front.secret").write_bytes(secrets.token_bytes(32))
        self.ports = [free_port() for _ in range(fronts)]
        self.running: dict[str, Running] = {}
        self.more: dict[str, dict[str, str]] = {}  # settings of one process alone, by its name
        self.db = Database(self.signer_url, pool_size=2)

    def settled(self, rt: Runtime, clock: Clock) -> City:
        """A city in an empty database."""
        city = City(rt, clock)
        city.timestamp_authority()
        return city

    def official(self, name: str = "Nguyễn Văn A", **more: Any) -> Person:
        """Someone new. Only before `start`, or the clock in the past would disturb the running signer."""
        return self.city.official(name, **more)

    def environment(self) -> dict[str, str]:
        device = softhsm.settings()
        return {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default",
            "SIGNING_PROFILE": "production", "SIGNING_DATABASE_URL": self.url,
            "SIGNING_SIGNER_DATABASE_URL": self.signer_url, "SIGNING_DOCUMENTS": str(self.directory / "documents"),
            "SIGNING_SIGN_SOCKET": str(self.directory / "sign.sock"),
            "SIGNING_ADMIN_SOCKET": str(self.directory / "admin.sock"),
            "SIGNING_FRONT_SECRET_FILE": str(self.directory / "front.secret"),
            "SIGNING_PKCS11_MODULE": str(device.module), "SIGNING_PKCS11_TOKEN": device.token,
            "SIGNING_PKCS11_PIN_FILE": str(device.pin_file), "SIGNING_SOFTHSM_CONF": str(device.softhsm_conf),
            "SIGNING_LEASE_SECONDS": "4", "SIGNING_INTENT_SECONDS": "3", "SIGNING_PDF_WORKERS": "2",
        } | (spying.environment(self._spy_logs / f"spy-{next(self._lives):04d}.log") if self._spied else {})

    @property
    def spy_logs(self) -> list[Path]:
        """What the device was asked, in the order of the signer's lives. Complete once the signer has ended."""
        return sorted(self._spy_logs.glob("spy-*.log"))

    def start(self) -> None:
        """Everything; returns when it is ready."""
        for name in ("signer", "jobs", *(f"front{number}" for number in range(len(self.ports)))):
            self.run(name)
        self.await_ready()

    def run(self, name: str) -> Running:
        """Start one process, in such a way that it can be killed at a step (`arm`)."""
        environment = self.environment() | self.more.get(name, {})
        command = [name.rstrip("0123456789")]
        if command[0] == "front":
            environment["SIGNING_LISTEN_PORT"] = str(self.ports[int(name.removeprefix("front"))])
        started = [sys.executable, "-m", "tests.support.killing", str(self._armed(name)), *command]
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(started, cwd=ROOT, env=environment, stdout=output, stderr=output)
        self.running[name] = Running(process, log)
        return self.running[name]

    def arm(self, name: str, step: str) -> None:
        """The process kills itself the next time it comes to this step (`tests.support.killing.STEPS`)."""
        waiting = self._armed(name).with_suffix(".new")
        waiting.write_text(step)
        waiting.rename(self._armed(name))

    def _armed(self, name: str) -> Path:
        return self.directory / f"{name}.armed"

    def await_ready(self, front: int = 0) -> None:
        last = ""

        def is_ready() -> bool:
            nonlocal last
            for name, running in self.running.items():
                assert running.process.poll() is None, f"{name} ended: {running.log.read_text()[-3000:]}"
            try:
                ask_once(self.directory / "sign.sock", Health(), HealthReport, deadline=5)  # a front remembers a second
                answer = httpx.get(self.at("/readyz", front), timeout=5, verify=PLAIN)
            except (httpx.HTTPError, SigningError) as error:
                last = str(error)
                return False
            last = answer.text
            return answer.status_code == 200

        try:
            until(is_ready)
        except AssertionError as error:
            raise AssertionError(f"not ready: {last}") from error

    def at(self, path: str, front: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[front]}{path}"

    # ------------------------------------------------------------------------------------- what a client does

    def token(self, front: int = 0) -> str:
        answer = httpx.post(self.at("/oauth2/token", front), data={"grant_type": "client_credentials"},
                            auth=(self.city.client, self.secret), timeout=20, verify=PLAIN)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def http(self, front: int = 0) -> httpx.Client:
        return httpx.Client(base_url=self.at("", front), timeout=60, verify=PLAIN,
                            headers={"Authorization": f"Bearer {self.token(front)}"})

    def submission(self, official: Person, **more: str) -> dict[str, str]:
        return {"document_type": "KH", "number": "201", "symbol": "KH-UBND", "subject": "Kế hoạch ký số tập trung",
                "issuing_agency": "H26.1", "signatory": official.id} | more

    def submits(self, official: Person, document: Path | bytes = PLAN, front: int = 0, **more: str) -> str:
        content = document if isinstance(document, bytes) else document.read_bytes()
        with self.http(front) as http:
            answer = http.post("/api/v1/signing-requests", data=self.submission(official, **more),
                               files={"file": ("ke-hoach.pdf", content, "application/pdf")})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def confirms(self, official: Person, request: str, code: str | None = None, front: int = 0) -> httpx.Response:
        with self.http(front) as http:
            return http.post(f"/api/v1/signing-requests/{request}/confirm",
                             json={"code": code or official.code(datetime.now(UTC))})

    def gets(self, request: str, front: int = 0) -> dict[str, Any]:
        with self.http(front) as http:
            answer = http.get(f"/api/v1/signing-requests/{request}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def signed_document(self, request: str) -> bytes:
        with self.http() as http:
            answer = http.get(f"/api/v1/signing-requests/{request}/signed-document")
        assert answer.status_code == 200, answer.text
        return answer.content

    # ------------------------------------------------------------------------------------- what must be true

    def state(self, request: str) -> str:
        with self.db.read() as tx:
            return str(tx.execute(
                select(signing_request.c.state).where(signing_request.c.id == request)).scalar_one())

    def open_intents(self) -> int:
        with self.db.read() as tx:
            return int(tx.execute(
                select(func.count()).select_from(intent).where(intent.c.outcome.is_(None))).scalar_one())

    def check(self) -> None:
        """I1 to I4 and I6 over everything that is stored, and that the log holds together."""
        until(lambda: self.open_intents() == 0, 20, "every intent has an outcome")
        with self.db.read() as tx:
            rows = tx.execute(
                select(signature.c.value, intent, key.c.public_key, signing_request.c.state,
                       signing_request.c.signed_digest, signing_request.c.document_digest.label("shown"))
                .join(intent, intent.c.id == signature.c.intent_id).join(key, key.c.id == intent.c.key_id)
                .join(signing_request, signing_request.c.id == intent.c.signing_request_id)).all()
            done = set(tx.execute(select(intent.c.id).where(intent.c.outcome == "done")).scalars())
            recorded = [json.loads(body)["data"]["intent"] for body in tx.execute(
                select(entry.c.body).where(entry.c.event == "signature:intent")).scalars()]
            intents = set(tx.execute(select(intent.c.id)).scalars())
            signed = tx.execute(select(signing_request.c.id).where(signing_request.c.state == "signed")).all()
        assert {row.id for row in rows} == done
        assert sorted(recorded) == sorted(intents)
        assert len(signed) == len([row for row in rows if row.state == "signed"])
        for row in rows:
            assert holds(bytes(row.public_key), Algorithm(row.algorithm), row.to_sign, row.value)
            if row.state == "signed":
                shown, made = self.stored(row.shown), self.stored(row.signed_digest)
                assert made.startswith(shown)
                assert len(made) == len(shown) + len(self.stored(row.tail_digest))
                assert hashlib.sha256(made).hexdigest() == row.signed_digest

    def stored(self, digest: str) -> bytes:
        return next((self.directory / "documents").rglob(digest)).read_bytes()

    def entries_waiting(self) -> int:
        with self.db.read() as tx:
            return int(tx.execute(
                select(func.count()).select_from(entry).where(entry.c.leaf_index.is_(None))).scalar_one())

    def close(self) -> None:
        for running in self.running.values():
            running.process.terminate()
        for running in self.running.values():
            running.end()
        if spying.EVERYWHERE:
            spying.hold_against(self.spy_logs, self.db)
        self.db.close()
        self.city.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


