"""What operators do before anybody can sign. Two of them, so that nobody waits half a minute for a fresh code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

from signing_service import register
from signing_service.certificates import Purpose, check
from signing_service.cli.acts import refuse
from signing_service.cli.credential import import_command
from signing_service.cli.demo.phones import Phone
from signing_service.cli.demo.place import Place
from signing_service.cli.demo.steps import Steps
from signing_service.cli.development_ca import DevelopmentCa
from signing_service.credentials import State
from signing_service.db.engine import Database
from signing_service.errors import Unavailable
from signing_service.front.webhooks import webhook_secret
from signing_service.register import ClientSecret, NewAgency, NewClient
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once

CITY = NewAgency("H26", "Ủy ban nhân dân thành phố Hà Nội", "city")
WARD = NewAgency("H26.1", "Ủy ban nhân dân phường Ba Đình", "ward", "H26")
CHAIRMAN = "Nguyễn Văn An"
FIRST, SECOND = "Trần Thị Bình", "Lê Quang Dũng"  # operators
KEY_SECONDS = 60.0


@dataclass(frozen=True)
class Person:
    """Somebody with codes: their id at the server, and their phone."""

    id: str
    name: str
    phone: Phone


@dataclass(frozen=True)
class Town:
    """Everything that is needed to sign a document."""

    operator: Person
    signatory: Person
    credential_id: str
    client: ClientSecret
    webhook_secret: str


@dataclass
class Office:
    """The operators at work, showing what they do."""

    place: Place
    steps: Steps
    db: Database

    def set_up(self) -> Town:
        """From an empty server to one that signs. Three codes of each operator: as many as fit without a wait."""
        self.steps.chapter("Operators set the server up, every act under a code of their own")
        first = self._first_operator()
        client = self._register(first)
        second, signatory_id, stamps_id = self._enter(first)
        signatory, credential_id = self._give_key(first, signatory_id)
        self._certify(second, credential_id, stamps_id)
        with self.steps.step(f"{signatory.name} scans the seed with a phone and proves it with the first code"):
            self._prove(signatory)
        secret = webhook_secret((self.place.directory / "front.secret").read_bytes(), client.client_id)
        return Town(first, signatory, credential_id, client, secret)

    def _first_operator(self) -> Person:
        with self.steps.step("The first operator comes to be, once, on an empty database"):
            result = ask_once(self.place.admin_socket, m.Bootstrap(name=FIRST), m.Done).results[0]
            first = Person(result.id, FIRST, Phone(result.uri or ""))
            self._prove(first)
        return first

    def _register(self, operator: Person) -> ClientSecret:
        actor = f"operator:{operator.id}"
        with self.steps.step("Two agencies and a document system are registered") as said:
            for agency in (CITY, WARD):
                register.add_agency(self.db, actor, _now(), agency)
            client = register.add_client(
                self.db, actor, _now(), NewClient("Hệ thống quản lý văn bản", "submitter", (WARD.code,)))
            said.say(f"client {client.client_id}")
        return client

    def _enter(self, operator: Person) -> tuple[Person, str, str]:
        text = resources.files("policies").joinpath("default.toml").read_text(encoding="utf-8")
        with self.steps.step("One code, four acts: a policy, a second operator, the chairman, the timestamp authority"):
            results = self._act(
                operator, m.ActivatePolicy(name="default", text=text), m.AddOperator(name=SECOND),
                m.AddSignatory(name=CHAIRMAN, agency_code=WARD.code, office="chairman", reference="CB-00017"),
                m.AddCredential(kind="timestamp", agency_code=CITY.code, key_kind="p-256", custody="token"),
            )
            second = Person(results[1].id, SECOND, Phone(results[1].uri or ""))
            self._prove(second)
        return second, results[2].id, results[3].id

    def _give_key(self, operator: Person, signatory_id: str) -> tuple[Person, str]:
        with self.steps.step("The device makes the chairman's P-256 key and draws the seed of his codes"):
            added, seed = self._act(
                operator, m.AddCredential(kind="personal", agency_code=WARD.code, key_kind="p-256",
                                          signatory_id=signatory_id),
                m.EnrolCode(owner=signatory_id),
            )
        return Person(signatory_id, CHAIRMAN, Phone(seed.uri or "")), added.id

    def _certify(self, operator: Person, credential_id: str, stamps_id: str) -> None:
        ca = DevelopmentCa.open(self.place.directory / "ca")
        with self.steps.step("The keys are there; the device signs a certificate request for each"):
            self._await_keys(credential_id, stamps_id)
            requests = self._act(
                operator,
                m.RequestCertificate(credential_id=credential_id, subject=_subject(CHAIRMAN, WARD)),
                m.RequestCertificate(credential_id=stamps_id, subject=_subject("Dấu thời gian", CITY)),
            )
        with self.steps.step("A certificate authority for development issues; what it issued is checked and imported"):
            self._act(operator, self._import(ca, credential_id, requests[0].data or "", Purpose.DOCUMENTS),
                      self._import(ca, stamps_id, requests[1].data or "", Purpose.TIMESTAMPS))

    def _import(self, ca: DevelopmentCa, credential_id: str, csr: str, purpose: Purpose) -> m.ImportCertificate:
        issued = ca.issue(csr.encode(), _now(), timestamping=purpose is Purpose.TIMESTAMPS)
        key = register.credential_key(self.db, credential_id)[1]
        return import_command(credential_id, check(issued, (), key, _now(), purpose))

    def _await_keys(self, *credential_ids: str) -> None:
        until = time.monotonic() + KEY_SECONDS
        while any(row["state"] == State.MAKING_KEY for row in register.credentials(self.db)
                  if row["id"] in credential_ids):
            if time.monotonic() > until:
                raise Unavailable("The device did not make the keys in time.", code="key-making")
            time.sleep(0.1)

    def _prove(self, person: Person) -> None:
        message = m.CompleteEnrolment(owner=person.id, code=person.phone.code())
        ask_once(self.place.admin_socket, message, m.Done)

    def _act(self, operator: Person, *commands: m.Command) -> tuple[m.Result, ...]:
        message = m.Act(operator_id=operator.id, code=operator.phone.code(), commands=commands)
        results = ask_once(self.place.admin_socket, message, m.Done).results
        for result in results:
            if result.error is not None:
                refuse(result)
        return results


def _subject(name: str, agency: NewAgency) -> tuple[tuple[str, str], ...]:
    return (("CN", name), ("O", agency.name), ("C", "VN"))


def _now() -> datetime:
    return datetime.now(UTC)
