"""A small city for the signer's tests: an operator, an agency, a client, officials with codes and credentials.

    city = City(rt)                              # rt: a signer's Runtime on any device and database
    official = city.official("Nguyễn Văn A")
    request_id = city.submitted(official, b"document")
    outcome = city.confirms(official, [request_id])
    phone = city.enrols_phone(official)          # a ticket, opened, completed: the official has new codes with it
    outcome = city.confirms_on_phone(phone, [request_id])
    auditor = city.auditor("Lê Văn C")           # has a right seed; the front's half (the password) is the front's
    city.asks(m.Stop(phone.stop_code))           # any other message of sign.sock; a refusal is raised
    city.check()                                 # the invariants that must hold at any time

Time is the city's own: `city.clock.at` moves only when a test moves it, or when a fresh code is needed.
"""

from __future__ import annotations

import copy
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
from sqlalchemy import func, insert, select

from hsm.algorithms import Algorithm
from hsm.device import Device
from hsm.verification import holds
from signing_service.credentials import find
from signing_service.db.engine import Database
from signing_service.db.tables import (
    agency,
    client,
    entry,
    intent,
    key,
    operator,
    signature,
    signing_request,
)
from signing_service.errors import SigningError
from signing_service.ids import draw
from signing_service.signer.confirmations import Confirmations
from signing_service.signer.leases import beat
from signing_service.signer.operators import Desk
from signing_service.signer.process import front_acts
from signing_service.signer.runtime import Runtime, start
from signing_service.signer.settings import SignerSettings
from signing_service.wire import messages as m
from tests.support.ca import TestCa

DEFAULT = (Path(__file__).parents[2] / "policies" / "default.toml").read_text()
REFUSED = 'verdict = "deny"\nrefused_by = ["confirmation"]\n[example.facts]\nconfirm = "client"'
# The default policy, but codes may be typed in a client's screens: most stories are told by one.
POLICY = DEFAULT.replace('way = "phone"', 'way = "client"').replace(
    REFUSED, 'verdict = "permit"\n[example.facts]\nconfirm = "client"')


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Person:
    id: str
    secret: str
    credential: str = ""

    def code(self, now: datetime, drift: int = 0) -> str:
        return pyotp.TOTP(self.secret).at(now, counter_offset=drift)


@dataclass(frozen=True)
class Phone:
    """An official's phone. `person` has the codes that came with it: those from before are worth nothing any more."""

    id: str
    secret: str
    stop_code: str
    person: Person

    @property
    def proof(self) -> m.PhoneProof:
        return m.PhoneProof(self.id, self.secret)

    @property
    def cookie(self) -> str:
        """The value of `__Host-phone`."""
        return f"{self.id}.{self.secret}"

    def code(self, now: datetime, drift: int = 0) -> str:
        return self.person.code(now, drift)


def settings(url: str, directory: Path, **more: Any) -> SignerSettings:
    return SignerSettings(
        signer_database_url=url, sign_socket=directory / "sign.sock", admin_socket=directory / "admin.sock",
        pkcs11_module=Path("/nowhere"), pkcs11_token="test", pkcs11_pin_file=Path("/nowhere"), **more)


def runtime(
    url: str, directory: Path, device: Device, clock: Clock, *, db: Database | None = None, **more: Any,
) -> Runtime:
    rt = start(settings(url, directory, **more), device, db=db or Database(url, pool_size=6), now=clock,
               database_clock=lambda _tx: None)
    beat(rt)
    return rt


@lru_cache(maxsize=4096)
def _held(public_key: bytes, algorithm: str, to_sign: bytes, value: bytes) -> bool:
    """Asked after every step of a long story about the same values."""
    return holds(public_key, Algorithm(algorithm), to_sign, value)


def secret_of(uri: str) -> str:
    return parse_qs(urlsplit(uri).query)["secret"][0]


class City:
    """The story's setting. The operator's acts go through the same Desk that admin.sock uses."""

    def __init__(self, rt: Runtime, clock: Clock, *, policy_text: str = POLICY) -> None:
        self.rt, self.clock = rt, clock
        self.desk = Desk(rt)
        self.confirmations = Confirmations(rt, 2)
        self.browser = secrets.token_hex(32)  # the hash of the nonce that tickets are opened with
        self.ca = TestCa(clock.at)
        made = self.desk.bootstrap(m.Bootstrap("Operator")).results[0]
        assert made.uri is not None
        self.operator = Person(made.id, secret_of(made.uri))
        self.desk.complete(m.CompleteEnrolment(made.id, self.operator.code(clock.at)))
        with rt.db.write() as tx:
            tx.execute(insert(agency).values(code="H26.1", name="Phường Hoa Sen", level="commune",
                                             valid_from=clock.at - timedelta(days=900)))
            tx.execute(insert(client).values(
                id=draw("cl"), name="QLVB", role="submitter", agencies=["*"], secret_hash="0" * 64, state="active",
                created_at=clock.at))
            self.client: str = tx.execute(select(client.c.id)).scalar_one()
        self.acts(m.ActivatePolicy("default", policy_text))

    @classmethod
    def found(cls, rt: Runtime, clock: Clock) -> City:
        """The city that somebody else made in this database. Nobody knows its operator's codes any more."""
        city = cls.__new__(cls)
        city.rt, city.clock, city.desk, city.confirmations = rt, clock, Desk(rt), Confirmations(rt, 2)
        city.browser, city.ca = secrets.token_hex(32), TestCa(clock.at)
        with rt.db.read() as tx:
            city.operator = Person(tx.execute(select(operator.c.id)).scalar_one(), "")
            city.client = tx.execute(select(client.c.id).where(client.c.name == "QLVB")).scalar_one()
        return city

    def resumed(self, rt: Runtime, clock: Clock) -> City:
        """The same city with another signer, on a copy of its database."""
        other = copy.copy(self)
        other.rt, other.clock = rt, clock
        other.desk, other.confirmations = Desk(rt), Confirmations(rt, 2)
        return other

    def acts(self, *commands: m.Command) -> tuple[m.Result, ...]:
        """Carry out commands under a fresh code; any refusal fails the test."""
        results = self.tries(*commands)
        assert not [each.error for each in results if each.error], results
        return results

    def tries(self, *commands: m.Command) -> tuple[m.Result, ...]:
        self.next_code()
        return self.desk.act(m.Act(self.operator.id, self.operator.code(self.clock.at), commands)).results

    def next_code(self) -> None:
        self.later(30)

    def later(self, seconds: float) -> None:
        """Time goes by, and the signer lives."""
        self.clock.forward(seconds)
        beat(self.rt)

    def official(self, name: str = "Nguyễn Văn A", *, key_kind: str = "p-256", algorithm: str | None = None,
                 custody: str = "wrapped", kind: str = "personal") -> Person:
        """A signatory with a code and an active credential."""
        signatory_id = self.acts(m.AddSignatory(name, "H26.1", "chairman"))[0].id
        enrolled, added = self.acts(
            m.EnrolCode(signatory_id),
            m.AddCredential(kind, "H26.1", key_kind, algorithm, signatory_id, custody))
        assert enrolled.uri is not None
        person = Person(signatory_id, secret_of(enrolled.uri), added.id)
        self.desk.complete(m.CompleteEnrolment(signatory_id, person.code(self.clock.at)))
        self.certify(added.id, name)
        return person

    def asks(self, message: m.Message) -> Any:
        """The signer's answer to a message of sign.sock that is no confirmation; a refusal is raised."""
        return front_acts(self.rt, self.desk)[type(message)](message)

    def ticket(self, owner: str, **more: Any) -> str:
        """The token of a ticket that the operator issued."""
        token = self.acts(m.IssueTicket(owner, **more))[0].data
        assert token is not None
        return token

    def opens(self, token: str, secret: str = "", browser: str | None = None) -> m.TicketRedeemed:
        """Open a ticket, with the new phone's secret where it is an official's."""
        hashed = hashlib.sha256(secret.encode()).hexdigest() if secret else None
        answer = self.asks(m.RedeemTicket(token, browser or self.browser, hashed, "Test phone"))
        assert isinstance(answer, m.TicketRedeemed)
        return answer

    def enrols_phone(self, person: Person, *, keeps_others: bool = False) -> Phone:
        """The whole way: a ticket, opened on the phone, completed with the first code of the new seed."""
        secret = secrets.token_hex(32)
        opened = self.opens(self.ticket(person.id, keeps_others=keeps_others), secret)
        assert opened.uri is not None
        assert opened.phone_id is not None
        renewed = Person(person.id, secret_of(opened.uri), person.credential)
        self.next_code()
        ready = self.asks(m.CompletePhone(m.PhoneProof(opened.phone_id, secret), renewed.code(self.clock.at)))
        return Phone(opened.phone_id, secret, ready.stop_code, renewed)

    def auditor(self, name: str = "Lê Văn C", agencies: tuple[str, ...] = ("*",)) -> Person:
        """An auditor whose codes are good: their ticket was opened and completed."""
        auditor_id = self.acts(m.AddAuditor(name, agencies))[0].id
        token = self.ticket(auditor_id)
        opened = self.opens(token)
        assert opened.uri is not None
        person = Person(auditor_id, secret_of(opened.uri))
        self.next_code()
        self.asks(m.CompleteAccount(token, self.browser, person.code(self.clock.at)))
        return person

    def wait_for_keys(self) -> None:
        self.desk.close()
        self.desk = Desk(self.rt)

    def certify(self, credential_id: str, name: str, *, timestamping: bool = False) -> None:
        self.wait_for_keys()
        with self.rt.db.read() as tx:
            key_id = find(tx, credential_id).key_id
            public_key = bytes(tx.execute(select(key.c.public_key).where(key.c.id == key_id)).scalar_one())
        certificate = self.ca.issue(public_key, name, timestamping=timestamping)
        self.acts(self.import_of(credential_id, certificate, public_key))

    def import_of(self, credential_id: str, certificate: bytes, public_key: bytes) -> m.ImportCertificate:
        return m.ImportCertificate(
            credential_id, certificate, (self.ca.root,), public_key,
            (self.clock.at - timedelta(days=1)).isoformat(), (self.clock.at + timedelta(days=300)).isoformat())

    def timestamp_authority(self) -> str:
        credential_id = self.acts(m.AddCredential("timestamp", "H26.1", "p-256", custody="token"))[0].id
        self.certify(credential_id, "Test timestamp authority", timestamping=True)
        return credential_id

    def submitted(self, person: Person, document: bytes = b"%PDF-1.7 a document", **more: Any) -> str:
        """The row that a submission would leave, without its file: the signer never sees documents."""
        request_id = draw("sr")
        with self.rt.db.write() as tx:
            held = find(tx, person.credential)
            values = {
                "id": request_id, "client_id": self.client, "agency_code": "H26.1", "signatory_id": person.id,
                "credential_id": person.credential, "state": "pending", "document_type": "KH", "subject": "Kế hoạch",
                "secrecy": "none", "urgency": "normal", "filename": "a.pdf",
                "document_digest": hashlib.sha256(document).hexdigest(), "document_size": len(document), "pages": 1,
                "earlier_signatures": 0, "warnings": [], "level": "B-B", "algorithm": held.algorithm.value,
                "policy_hash": "0" * 64, "decision": {}, "created_at": self.clock.at,
                "expires_at": self.clock.at + timedelta(hours=1),
            }
            tx.execute(insert(signing_request).values(values | more))
        return request_id

    def line(self, request_id: str, **more: Any) -> m.Line:
        with self.rt.db.read() as tx:
            row = tx.execute(select(signing_request).where(signing_request.c.id == request_id)).one()
        size = Algorithm(row.algorithm).digest.size
        values = {
            "signing_request_id": request_id, "credential_id": row.credential_id,
            "document_digest": row.document_digest, "tail_digest": hashlib.sha256(request_id.encode()).hexdigest(),
            "to_sign": hashlib.sha512(request_id.encode()).digest()[:size], "algorithm": row.algorithm,
        }
        return m.Line(**values | more)

    def confirmation(self, person: Person, requests: list[str], code: str | None = None, **more: Any) -> m.Confirm:
        code = code or person.code(self.clock.at)
        return m.Confirm(self.client, person.id, code, "client", tuple(self.line(each, **more) for each in requests))

    def confirms(self, person: Person, requests: list[str], code: str | None = None) -> m.Confirmed:
        """One confirmation on its own; a refusal is raised."""
        if code is None:
            self.next_code()
        answer = self.confirmations([self.confirmation(person, requests, code)])[0]
        if isinstance(answer, SigningError):
            raise answer
        return answer

    def phone_confirmation(self, phone: Phone, requests: list[str], code: str | None = None, **more: Any) -> m.Confirm:
        code = code or phone.code(self.clock.at)
        lines = tuple(self.line(each, **more) for each in requests)
        return m.Confirm(None, phone.person.id, code, "phone", lines, phone.proof)

    def confirms_on_phone(self, phone: Phone, requests: list[str], code: str | None = None) -> m.Confirmed:
        """One confirmation on a phone; a refusal is raised."""
        if code is None:
            self.next_code()
        answer = self.confirmations([self.phone_confirmation(phone, requests, code)])[0]
        if isinstance(answer, SigningError):
            raise answer
        return answer

    def state_of(self, request_id: str) -> str:
        with self.rt.db.read() as tx:
            return str(tx.execute(
                select(signing_request.c.state).where(signing_request.c.id == request_id)).scalar_one())

    def events(self, *wanted: str) -> int:
        with self.rt.db.read() as tx:
            return int(tx.execute(select(func.count()).select_from(entry).where(
                entry.c.event.in_(wanted))).scalar_one())

    def check(self) -> None:
        """I1 and I2 over the whole database: every value has one intent written before it, and verifies."""
        with self.rt.db.read() as tx:
            rows = tx.execute(
                select(signature.c.value, intent, key.c.public_key).join(intent, intent.c.id == signature.c.intent_id)
                .join(key, key.c.id == intent.c.key_id)).all()
            assert all(row.outcome == "done" for row in rows)
            assert all(_held(bytes(row.public_key), row.algorithm, row.to_sign, row.value) for row in rows)
            values = tx.execute(select(func.count()).select_from(signature)).scalar_one()
            assert values == len(rows)
            done = tx.execute(select(func.count()).select_from(intent).where(intent.c.outcome == "done")).scalar_one()
            assert done == values
            intents = tx.execute(select(func.count()).select_from(intent)).scalar_one()
            recorded = tx.execute(select(func.count()).select_from(entry).where(
                entry.c.event == "signature:intent")).scalar_one()
            assert recorded == intents

    def close(self) -> None:
        self.desk.close()
        self.confirmations.close()
        self.rt.db.close()


