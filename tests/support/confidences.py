"""A day of confidences: a service is told every secret there is, things go right and wrong, and all of it is searched.

    with lived(directory, url, dumped) as day: ...        # over SQLite or PostgreSQL, in processes of their own
    leaks(content, day, place)                            # the names of the secrets that stand in there

What was told: codes (right and wrong ones), seeds in every spelling, the client's secret, access tokens, links to enrol
with, phones' secrets, sessions, stop codes, passwords, the PIN, the front's and the webhooks' secrets.
"""

from __future__ import annotations

import base64
import hashlib
import re
import resource
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from sqlalchemy import select, update

from signing_service.cli.demo.handset import Handset
from signing_service.cli.demo.screens import OfficialsPhone, set_password
from signing_service.db.migrate import upgrade
from signing_service.db.tables import client, entry, signature
from signing_service.front.web import visitors
from signing_service.front.webhooks import webhook_secret
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.support import memory, softhsm
from tests.support.city import Person, secret_of
from tests.support.service import PLAN, Running, Service, until

NEVER_A_SECRET = "cl_" + "0" * 32 + ":wrong-secret-that-somebody-tried"


@dataclass
class Day:
    """What the service was told in confidence, and everything it wrote down or said."""

    codes: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    values: dict[str, bytes] = field(default_factory=dict)          # signatures: at home in one table
    places: dict[str, bytes] = field(default_factory=dict)
    controls: dict[str, bytes] = field(default_factory=dict)        # what does stand in each place
    answers: list[bytes] = field(default_factory=list)
    cores: list[int] = field(default_factory=list)                  # how large each process's memory may be dumped

    def heard(self, answer: httpx.Response) -> httpx.Response:
        self.answers.append(repr(answer.headers).encode() + answer.content)
        return answer


class Notified(BaseHTTPRequestHandler):
    """A client's own web server."""

    heard: list[bytes] = []  # noqa: RUF012 - one of a kind, and shared on purpose

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.heard.append(str(self.headers).encode() + body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silence."""


class Told(Service):
    """A service that may call the web server on this machine."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "SIGNING_OUTBOUND_HOSTS": "127.0.0.1:*", "SIGNING_OUTBOUND_NETWORKS": "127.0.0.0/8",
            "TMPDIR": str(self.directory / "temporary"),
        } | self.more

    def run(self, name: str) -> Running:
        """In an environment that would let it leave its memory behind, if it did not forbid that itself."""
        (self.directory / "temporary").mkdir(exist_ok=True)
        before = resource.getrlimit(resource.RLIMIT_CORE)
        if before[1] == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, before[1]))
        try:
            return super().run(name)
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, before)

    more: dict[str, str] = {}  # noqa: RUF012 - set once, before the processes start


Dumped = Callable[[Service], tuple[bytes, bytes]]  # the database as text, and its files as they stand


@contextmanager
def lived(directory: Path, url: str, dumped: Dumped) -> Iterator[Day]:
    """A day in the life of a service over this database, and everything it wrote down or said."""
    upgrade(url)
    listener = HTTPServer(("127.0.0.1", 0), Notified)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    Notified.heard.clear()
    service = Told(directory, url)
    service.more = {"SIGNING_OUTBOUND_HOSTS": f"127.0.0.1:{listener.server_port}"}
    try:
        with service.city.rt.db.write() as tx:
            tx.execute(update(client).values(webhook_url=f"http://127.0.0.1:{listener.server_port}/hook"))
        officials = [service.official(name) for name in ("Nguyễn Văn A", "Trần Thị B", "Lê Văn C")]
        auditor = service.city.auditor("Phạm Thị Dung")
        service.start()
        day = Day()
        _live(service, day, officials, auditor)
        _collect(service, day, dumped)
        yield day
    finally:
        service.close()
        listener.shutdown()
        listener.server_close()


# ------------------------------------------------------------------------------------------------ the day


def _live(service: Told, day: Day, officials: list[Person], auditor: Person) -> None:
    a, b, c = officials
    whose = ((a, "A's seed"), (b, "B's seed"), (c, "C's seed"), (service.city.operator, "the operator's seed"))
    for person, name in whose:
        day.secrets |= memory.spellings(name, base64.b32decode(person.secret))
    own = (service.directory / "front.secret").read_bytes()
    day.secrets |= memory.spellings("the front's secret", own) | {
        "the PIN": softhsm.PIN.encode(), "the client's secret": service.secret.encode(),
        "a webhook's secret": webhook_secret(own, service.city.client).encode(),
        "a wrong secret": NEVER_A_SECRET.partition(":")[2].encode(),
    }
    _ask_for_tokens(service, day)
    signed = _sign(service, day, a)
    _go_wrong(service, day, b, signed)
    _come_to_the_screens(service, day, c, auditor)
    _enrol_anew(service, day, b)
    until(lambda: Notified.heard, 30, "a webhook")


def _ask_for_tokens(service: Told, day: Day) -> None:
    form = {"grant_type": "client_credentials"}
    token = day.heard(httpx.post(service.at("/oauth2/token"), data=form, auth=(service.city.client, service.secret)))
    day.answers.pop()  # this one answer carries the token, as it should
    day.secrets["an access token"] = token.json()["access_token"].encode()
    name, _, secret = NEVER_A_SECRET.partition(":")
    for auth in ((name, secret), (service.city.client, secret)):
        assert day.heard(httpx.post(service.at("/oauth2/token"), data=form, auth=auth)).status_code == 401


def _asks(service: Told, day: Day, method: str, path: str, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {day.secrets['an access token'].decode()}"} | more.pop("headers", {})
    return day.heard(httpx.request(method, service.at(path), headers=headers, timeout=60, **more))


def _submits(service: Told, day: Day, person: Person, content: bytes, key: str = "") -> httpx.Response:
    return _asks(service, day, "POST", "/api/v1/signing-requests", data=service.submission(person, level="B-T"),
                 files={"file": ("a.pdf", content, "application/pdf")}, headers={"Idempotency-Key": key} if key else {})


def _confirms(service: Told, day: Day, request: str, name: str, code: str, **more: Any) -> httpx.Response:
    day.codes[name] = code
    return _asks(service, day, "POST", f"/api/v1/signing-requests/{request}/confirm", json={"code": code}, **more)


def _wrong(person: Person, number: int) -> str:
    """A code that is none of the person's codes around now."""
    near = {pyotp.TOTP(person.secret).at(datetime.now(UTC), counter_offset=drift) for drift in range(-3, 20)}
    return next(code for code in (f"{716_053 + number * 31 + more:06d}" for more in range(40)) if code not in near)


def _sign(service: Told, day: Day, person: Person) -> str:
    made = _submits(service, day, person, PLAN.read_bytes(), key="the-first")
    assert made.status_code == 201, made.text
    request: str = made.json()["id"]
    for number in range(2):
        assert _confirms(service, day, request, f"wrong code {number}", _wrong(person, number)).status_code == 403
    done = _confirms(service, day, request, "right code", person.code(datetime.now(UTC)),
                     headers={"Idempotency-Key": "the-confirmation"})
    assert done.status_code == 200, done.text
    until(lambda: service.state(request) == "signed", 30, "signed")
    for path in ("", "/receipt"):
        _asks(service, day, "GET", f"/api/v1/signing-requests/{request}{path}")
    return request


def _go_wrong(service: Told, day: Day, person: Person, signed: str) -> None:
    """Everything that makes errors: words of exceptions are where secrets get out."""
    token = day.secrets["an access token"].decode()
    request = _submits(service, day, person, PLAN.read_bytes() + b"% another\n").json()["id"]
    confirm = f"/api/v1/signing-requests/{request}/confirm"
    day.codes |= {"spelled out": "583 917", "a number": "640275", "in an unknown field": "205831",
                  "in a broken body": "917364", "in an address": "362918", "sent while the signer is away": ""}
    for body in ({"code": day.codes["spelled out"]}, {"code": int(day.codes["a number"])},
                 {"code": "", "otp": day.codes["in an unknown field"]}):
        assert _asks(service, day, "POST", confirm, json=body).status_code == 400
    broken = f'{{"code": "{day.codes["in a broken body"]}"'
    assert _asks(service, day, "POST", confirm, content=broken.encode()).status_code == 400
    assert _asks(service, day, "GET", f"/api/v1/nowhere?code={day.codes['in an address']}").status_code == 404
    day.heard(httpx.get(service.at(f"/api/v1/signing-requests?access_token={token}")))
    day.heard(httpx.get(service.at("/api/v1/signing-requests"), headers={"Authorization": f"Basic {token}"}))
    day.heard(httpx.get(service.at("/api/v1/signing-requests"), headers={"Authorization": f"Bearer {token} {token}"}))
    assert _submits(service, day, person, b"no document").status_code == 400
    service.running["signer"].end()
    assert _confirms(service, day, request, "sent while the signer is away",
                     person.code(datetime.now(UTC), drift=-1)).status_code == 503
    service.run("signer")
    service.await_ready()


def _come_to_the_screens(service: Told, day: Day, person: Person, auditor: Person) -> None:
    """A phone is enrolled by a link, an auditor gets a password, and both go wrong on the way."""
    operator = service.city.operator
    day.codes["the operator's code before"] = operator.code(datetime.now(UTC), drift=-1)
    act = m.Act(operator.id, day.codes["the operator's code before"],
                (m.IssueTicket(person.id), m.IssueTicket(auditor.id)))
    tickets = [each.data or "" for each in ask_once(service.city.rt.settings.admin_socket, act, m.Done).results]
    phone, stop_code = OfficialsPhone.enrol(service.at(""), tickets[0])
    password, wrong = "mật khẩu của một kiểm toán viên", "mật khẩu mà ai đó đã thử"
    codes = set_password(service.at(""), tickets[1], password, None)
    handset = Handset(service.at(""))
    for said in (password, wrong):  # right with a wrong code, and wrong
        day.codes[f"a code with {said}"] = codes.wrong_code()
        day.answers.append(handset.send(handset.open("/console/sign-in"), "/console/sign-in", name="Phạm Thị Dung",
                                        password=said, code=codes.wrong_code()).text.encode())
    day.codes["a code that signed in"] = Person("", secret_of(codes.uri)).code(datetime.now(UTC), drift=1)
    handset.send(handset.open("/console/sign-in"), "/console/sign-in", name="Phạm Thị Dung", password=password,
                 code=day.codes["a code that signed in"])
    cookies, sessions = phone.handset.cookies, dict(handset.cookies)
    day.answers.append(phone.handset.open("/me").text.encode())
    for typed in (stop_code[:-1] + ("A" if stop_code[-1] != "A" else "B"), stop_code):
        stopped = phone.handset.send(phone.handset.open("/stop"), "/stop", **{"stop-code": typed})
        day.answers.append(stopped.text.encode())
        day.secrets[f"a stop code, {typed == stop_code}"] = typed.encode()
    for browser in (handset, phone.handset):
        browser.close()
    day.secrets |= {"a phone's secret": cookies[visitors.PHONE].partition(".")[2].encode(),
                    "a session": sessions[visitors.SESSION].encode(),
                    "a password": password.encode(), "a wrong password": wrong.encode()}
    day.secrets |= {f"ticket {at}": ticket.encode() for at, ticket in enumerate(tickets)}
    for name, uri in (("a phone's seed", phone.codes.uri), ("an auditor's seed", codes.uri)):
        day.secrets |= memory.spellings(name, base64.b32decode(secret_of(uri)))


def _enrol_anew(service: Told, day: Day, person: Person) -> None:
    """A new seed at the operator's terminal: the admin socket, a wrong first code, the right one."""
    operator, socket = service.city.operator, service.city.rt.settings.admin_socket
    now = datetime.now(UTC)
    day.codes["the operator's code"] = operator.code(now)
    act = m.Act(operator.id, day.codes["the operator's code"], (m.EnrolCode(person.id),))
    uri = ask_once(socket, act, m.Done).results[0].uri
    assert uri is not None
    new = Person(person.id, secret_of(uri))
    day.secrets |= memory.spellings("the new seed", base64.b32decode(new.secret))
    day.codes["a wrong first code"] = _wrong(new, 7)
    with pytest.raises(Exception, match="not accepted"):
        ask_once(socket, m.CompleteEnrolment(person.id, day.codes["a wrong first code"]), m.Done)
    day.codes["the first code"] = new.code(now)
    ask_once(socket, m.CompleteEnrolment(person.id, day.codes["the first code"]), m.Done)


# --------------------------------------------------------------------------------- everything that was written


def _collect(service: Told, day: Day, dumped: Dumped) -> None:
    with service.db.read() as tx:
        bodies = tx.execute(select(entry.c.body)).scalars().all()
        values = tx.execute(select(signature.c.value)).scalars().all()
    day.values = {name: value for at, each in enumerate(values)
                  for name, value in memory.spellings(f"signature {at}", bytes(each)).items()}
    metrics = httpx.get(service.at("/metrics"), timeout=20).content
    everyone = [pid for running in service.running.values() for pid in memory.family(running.process.pid)]
    lines, around, limits = (b"\n".join(Path(f"/proc/{pid}/{name}").read_bytes() for pid in everyone)
                             for name in ("cmdline", "environ", "limits"))
    day.cores = [int(line.split()[4]) for line in limits.decode().splitlines() if line.startswith("Max core file size")]
    service.city.rt.db.close()
    dump, files = dumped(service)
    day.places = {
        "the logs": b"".join(path.read_bytes() for path in sorted(service.directory.glob("*.log"))),
        "the database, as text": dump,
        "the database, its files": files,
        "the entries": "\n".join(bodies).encode(),
        "the metrics": metrics,
        "the answers": b"\n".join(day.answers),
        "the webhooks": b"\n".join(Notified.heard),
        "the command lines": lines,
        "the environments": around,
        "what else it left on the disk": b"\n".join(_left(service.directory)),
    }
    token_hash = hashlib.sha256(day.secrets["an access token"]).hexdigest().encode()
    day.controls = {
        "the logs": b'"process": "signer"', "the database, as text": token_hash,
        "the database, its files": token_hash, "the entries": b"signature:intent", "the metrics": b"signing_",
        "the answers": b"matching_code", "the webhooks": b"signing-request.signed", "the command lines": b"front",
        "the environments": b"SIGNING_PKCS11_PIN_FILE", "what else it left on the disk": b"%PDF-",
    }


def _left(directory: Path) -> Iterator[bytes]:
    """Documents, drafts and whatever is temporary: all but logs, database and the file that is the front's secret."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.suffix != ".log" and not path.name.startswith(("signing.db", "front.secret")):
            yield str(path).encode() + b"\n" + path.read_bytes()


HOME_OF_VALUES = ("the database, as text", "the database, its files", "what else it left on the disk")


def leaks(content: bytes, day: Day, place: str) -> set[str]:
    """The names of all secrets that stand in there. A code counts where it is not part of a longer number or digest,
    nor the fraction of a second.
    """
    wanted: Mapping[str, bytes] = day.secrets | ({} if place in HOME_OF_VALUES else day.values)
    found = {name for name, value in wanted.items() if value in content}
    for name, code in day.codes.items():
        if re.search(rb"(?<![0-9a-fA-F.])" + re.escape(code.encode()) + rb"(?![0-9a-fA-F])", content):
            found.add(name)
    return found


