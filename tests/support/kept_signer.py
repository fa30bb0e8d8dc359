"""A signer as a process, kept alive by the product's own supervisor, on whatever device; nothing else of the service.

    kept = KeptSigner(directory, device, settings)
    people = kept.officials(3)
    kept.start({"P11_KIT_SERVER_ADDRESS": ...})
    answer = kept.confirms(people[0])      # as a front would ask; what came, and after how many seconds
    ...
    kept.check()                           # every value verifies and has its intent; nothing stays open

As a program (`python -m tests.support.kept_signer`) it is that supervisor.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from hsm import Device, DeviceSettings
from signing_service.cli.supervisor import Child
from signing_service.db.migrate import upgrade
from signing_service.db.tables import intent
from signing_service.errors import SigningError
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.support.city import City, Clock, Person, runtime
from tests.support.memory import family

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds that a question may take at all: a failed test, then


@dataclass(frozen=True)
class Answer:
    """What became of one confirmation: `done`, `failed` with the line's code, or `refused` with the error's."""

    outcome: str
    code: str
    seconds: float

    @property
    def is_done(self) -> bool:
        return self.outcome == "done"


class KeptSigner:
    def __init__(self, directory: Path, device: Device, settings: DeviceSettings, deadline: float) -> None:
        """The city is prepared here, with a clock in the past, so that every code of the present is unspent."""
        self.directory, self._settings, self._deadline = directory, settings, deadline
        self._url = f"sqlite:///{directory / 'signing.db'}"
        upgrade(self._url)
        clock = Clock()
        clock.at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
        self.city = City(runtime(self._url, directory, device, clock), clock)
        self._custody = device.describe().capabilities.custody.value
        self._process: subprocess.Popen[bytes] | None = None

    def officials(self, number: int, key_kind: str = "p-256") -> Iterator[Person]:
        """So many people, each good for one confirmation. Made before the start."""
        return iter([self.city.official(f"Người thứ {n}", custody=self._custody, key_kind=key_kind)
                     for n in range(number)])

    def start(self, told: dict[str, str]) -> None:
        """Under a supervisor; returns when it answers, and its device with it."""
        self.city.wait_for_keys()
        device = {
            "SIGNING_PKCS11_MODULE": str(self._settings.module), "SIGNING_PKCS11_TOKEN": self._settings.token,
            "SIGNING_PKCS11_PIN_FILE": str(self._settings.pin_file), "SIGNING_DEVICE_DEADLINE": str(self._deadline),
        }
        if self._settings.softhsm_conf is not None:
            device["SIGNING_SOFTHSM_CONF"] = str(self._settings.softhsm_conf)
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SIGNING_PROFILE": "production",
            "SIGNING_SIGNER_DATABASE_URL": self._url, "SIGNING_SIGN_SOCKET": str(self.socket),
            "SIGNING_ADMIN_SOCKET": str(self.directory / "admin.sock"),
            "SIGNING_LEASE_SECONDS": "6", "SIGNING_INTENT_SECONDS": "5",
        }
        with (self.directory / "signer.log").open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "tests.support.kept_signer"], cwd=ROOT,
                                             env=environment | device | told, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE
        while not self.is_well():
            assert time.monotonic() < until, (self.directory / "signer.log").read_text()[-3000:]
            time.sleep(0.05)

    @property
    def socket(self) -> Path:
        return self.directory / "sign.sock"

    @property
    def lives(self) -> int:
        """How often the signer was started."""
        return (self.directory / "signer.log").read_text().count(" answers")

    def is_well(self) -> bool:
        try:
            report = ask_once(self.socket, m.Health(), m.HealthReport, deadline=PATIENCE)
        except SigningError:
            return False
        return all(each.ok for each in report.conditions if each.name == "device")

    def confirms(self, person: Person) -> Answer:
        """A document of their own, and their code of this moment."""
        now = datetime.now(UTC)
        request = self.city.submitted(person, os.urandom(16), created_at=now, expires_at=now + timedelta(hours=1))
        asked = self.city.confirmation(person, [request], person.code(now))
        began = time.monotonic()
        try:
            line = ask_once(self.socket, asked, m.Confirmed, deadline=PATIENCE).lines[0]
        except SigningError as error:
            return Answer("refused", error.code, time.monotonic() - began)
        return Answer(line.outcome, line.code or "", time.monotonic() - began)

    def signs_again(self, people: Iterator[Person], seconds: float) -> float:
        """Seconds until somebody's confirmation is signed. Who was refused keeps their code, and tries again."""
        began, person = time.monotonic(), next(people)
        while time.monotonic() - began < seconds:
            answer = self.confirms(person)
            if answer.is_done:
                return time.monotonic() - began
            if answer.outcome != "refused":
                person = next(people)
            time.sleep(0.1)
        log = (self.directory / "signer.log").read_text()
        raise AssertionError(f"no signature within {seconds:g} s; {log[-2000:]}")

    @contextmanager
    def health_watched(self) -> Iterator[list[float]]:
        """While the block lasts: how long each question for its health took to be answered, or refused."""
        took, over = list[float](), threading.Event()

        def ask() -> None:
            while not over.is_set():
                began = time.monotonic()
                self.is_well()
                took.append(time.monotonic() - began)
                over.wait(0.1)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield took
        finally:
            over.set()
            asking.join()

    def intents(self) -> dict[bytes, str | None]:
        """What was to be signed, and the outcome."""
        with self.city.rt.db.read() as tx:
            return {bytes(row.to_sign): row.outcome for row in tx.execute(select(intent.c.to_sign, intent.c.outcome))}

    def check(self) -> None:
        """Every intent has its outcome in time, every value its intent, and verifies."""
        until = time.monotonic() + PATIENCE
        while self._open():
            assert time.monotonic() < until, "an intent stays open"
            time.sleep(0.1)
        self.city.check()

    def _open(self) -> int:
        with self.city.rt.db.read() as tx:
            return int(tx.execute(select(func.count()).select_from(intent).where(
                intent.c.outcome.is_(None))).scalar_one())

    def stop(self) -> None:
        """The supervisor first, or it would start another one."""
        if self._process is None:
            return
        everybody = family(self._process.pid)
        self._process.kill()
        self._process.wait()
        for pid in everybody[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        self.stop()
        self.city.close()


if __name__ == "__main__":
    asyncio.run(Child("signer", ("signer",)).live(lambda _child: None))
