"""What operators do before anybody can sign. Two of them, so that nobody waits half a minute for a fresh code."""

from __future__ import annotations

import secrets
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
from signing_service.cli.demo.screens import OfficialsPhone, set_password
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
CHAIRMAN, DEPUTY = "Nguyễn Văn An", "Phạm Thu Hà"
FIRST, SECOND, THIRD = "Trần Thị Bình", "Lê Quang Dũng", "Vũ Ngọc Mai"  # operators
AUDITOR = "Hoàng Minh Tuấn"
TICKET_HOURS = 24
PASSWORD_BYTES = 8  # sixteen characters: for a server that lives an afternoon on this machine
KEY_SECONDS = 60.0


@dataclass(frozen=True)
class Person:
    """Somebody with codes: their id at the server, and their phone."""

    id: str
    name: str
    phone: Phone


@dataclass(frozen=True)
class Guests:
    """For whoever tries the server by hand: a link for one phone, and two people who sign in at the console."""

    deputy_id: str
    deputy_ticket: str
    auditor: Person
    operator: Person
    password: str


@dataclass(frozen=True)
class Town:
    """Everything that is needed to sign a document."""

    operator: Person
    chairman_id: str
    phone: OfficialsPhone
    client: ClientSecret
    webhook_secret: str
    guests: Guests


@dataclass(frozen=True)
class _Entered:
    """Who and what is on the books before anybody has a key or a link."""

    second: Person
    third: Person
    chairman: str
    deputy: str
    auditor: str
    stamps: str


@dataclass(frozen=True)
class _Equipped:
    """Credentials in the making, and a ticket for each person who enrols."""

    credentials: dict[str, str]  # credential -> whose name it will carry
    tickets: dict[str, str]      # owner -> ticket


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
        entered = self._enter(first)
        equipped = self._equip(first, entered)
        self._certify(entered.second, equipped.credentials, entered.stamps)
        phone = self._enrol(equipped.tickets[entered.chairman])
        secret = webhook_secret((self.place.directory / "front.secret").read_bytes(), client.client_id)
        return Town(first, entered.chairman, phone, client, secret, self._welcome(entered, equipped.tickets))

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

    def _enter(self, operator: Person) -> _Entered:
        text = resources.files("policies").joinpath("default.toml").read_text(encoding="utf-8")
        with self.steps.step("One code, seven acts: a policy, operators, officials, an auditor, a timestamp authority"):
            _, second, third, chairman, deputy, auditor, stamps = self._act(
                operator, m.ActivatePolicy(name="default", text=text),
                m.AddOperator(name=SECOND), m.AddOperator(name=THIRD),
                m.AddSignatory(name=CHAIRMAN, agency_code=WARD.code, office="chairman", reference="CB-00017"),
                m.AddSignatory(name=DEPUTY, agency_code=WARD.code, office="deputy", reference="CB-00018"),
                m.AddAuditor(name=AUDITOR, agencies=("*",)),
                m.AddCredential(kind="timestamp", agency_code=CITY.code, key_kind="p-256", custody="token"),
            )
            operators = (Person(second.id, SECOND, Phone(second.uri or "")),
                         Person(third.id, THIRD, Phone(third.uri or "")))
            for each in operators:
                self._prove(each)
        return _Entered(*operators, chairman.id, deputy.id, auditor.id, stamps.id)

    def _equip(self, operator: Person, entered: _Entered) -> _Equipped:
        officials = {entered.chairman: CHAIRMAN, entered.deputy: DEPUTY}
        owners = [*officials, entered.auditor, entered.third.id]
        with self.steps.step("The device makes the officials' P-256 keys; each person gets a link that is good once"):
            results = self._act(
                operator, *(m.AddCredential(kind="personal", agency_code=WARD.code, key_kind="p-256",
                                            signatory_id=each) for each in officials),
                *(m.IssueTicket(owner=each, hours=TICKET_HOURS) for each in owners),
            )
        made, issued = results[:len(officials)], results[len(officials):]
        return _Equipped({result.id: name for result, name in zip(made, officials.values(), strict=True)},
                         {owner: result.data or "" for owner, result in zip(owners, issued, strict=True)})

    def _certify(self, operator: Person, credentials: dict[str, str], stamps: str) -> None:
        ca = DevelopmentCa.open(self.place.directory / "ca")
        subjects = {each: _subject(name, WARD) for each, name in credentials.items()}
        subjects[stamps] = _subject("Dấu thời gian", CITY)
        with self.steps.step("The keys are there; the device signs a certificate request for each"):
            self._await_keys(*subjects)
            requests = self._act(operator, *(m.RequestCertificate(credential_id=each, subject=subject)
                                             for each, subject in subjects.items()))
        with self.steps.step("A certificate authority for development issues; what it issued is checked and imported"):
            self._act(operator, *(
                self._import(ca, each, result.data or "",
                             Purpose.TIMESTAMPS if each == stamps else Purpose.DOCUMENTS)
                for each, result in zip(subjects, requests, strict=True)))

    def _enrol(self, ticket: str) -> OfficialsPhone:
        with self.steps.step(f"{CHAIRMAN} opens the link, scans the seed and proves it with the first code") as said:
            phone, stop_code = OfficialsPhone.enrol(self.place.url, ticket)
            said.say(f"from now on this phone confirms; its stop code, for the day it is lost: {stop_code}")
        return phone

    def _welcome(self, entered: _Entered, tickets: dict[str, str]) -> Guests:
        """An auditor and an operator with a password, so that somebody can sign in as them."""
        password = secrets.token_hex(PASSWORD_BYTES)
        with self.steps.step("An auditor and an operator set their passwords at the console"):
            codes = set_password(self.place.url, tickets[entered.auditor], password, None)
            set_password(self.place.url, tickets[entered.third.id], password, entered.third.phone)
        auditor = Person(entered.auditor, AUDITOR, codes)
        return Guests(entered.deputy, tickets[entered.deputy], auditor, entered.third, password)

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
