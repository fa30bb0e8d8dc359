"""The form around a document, as it is posted: the first line is the media type, the rest is the body.

Read as the application reads it (limits, fields, problems); what passes is what a submission can be made of, and
what does not is a 4xx with a problem that names it.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import tempfile
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.types import Message, Scope

from signing_service.documents import Documents
from signing_service.front import problems
from signing_service.front.callers import Caller, Guarded, Role
from signing_service.front.forms import FORM_LIMITS, LONGEST_NAME, one_line
from signing_service.front.rest import Submitted
from tests.fuzz.havoc import havoc
from tests.fuzz.target import Target
from tests.support.world import FORM

PIECE: Final = 512  # bytes of a body that arrive together
VALUES: Final = (b"", b" ", b"KH", b"\xff", b"\xc3\xa1", b"\x00", b"\xe2\x80\xae", b"x" * 600, b"none",
                 b"tuyet-mat", b"1", b"B-T",
                 b"..\\..\\a.pdf", b'"; filename="b', b"\r\nX: y", b"\xed\xa0\x80")
LINES: Final = (b"--x", b"--x--", b"", b"Content-Type: text/plain", b"Content-Type: application/pdf; charset=utf-7",
                b"Content-Transfer-Encoding: base64", b"Content-Disposition: form-data",
                b'Content-Disposition: form-data; name="file"; filename="a.pdf"',
                b"Content-Disposition: form-data; name=file; filename*=UTF-8''%e2%80%ae.pdf",
                b'Content-Disposition: form-data; name="signatory"', b"X: " + b"y" * 9000)

router = APIRouter(route_class=Guarded)


@router.post("/form", name="dry_run", form_limits=FORM_LIMITS)
async def take(form: Submitted) -> dict[str, Any]:
    said = form.submission()
    assert 0 < len(said.filename) <= LONGEST_NAME
    for line in (said.subject, said.issuing_agency, said.signatory):
        assert line == one_line(line)
    await form.content()
    return {"external_id": said.external_id}


def run(data: bytes) -> str:
    media_type, _, body = data.partition(b"\n")
    status, content = LOOP.run_until_complete(_answer(media_type, body))
    assert not [path for path in DOCUMENTS.rglob("*") if path.is_file()]  # nothing that came is left behind
    told = json.loads(content)
    if status == 200:
        return "taken"
    assert 400 <= status < 500, told
    assert told["code"]
    return str(told["code"])


async def _answer(media_type: bytes, body: bytes) -> tuple[int, bytes]:
    pieces = [body[at: at + PIECE] for at in range(0, len(body), PIECE)] or [b""]
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, 1)]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http", "method": "POST", "path": "/form", "raw_path": b"/form", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", media_type), (b"content-length", b"%d" % len(body))], "state": {"caller": CALLER},
        "http_version": "1.1", "scheme": "http", "server": ("signing.test", 80), "client": ("127.0.0.1", 9), "app": app,
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def mutate(data: bytes, rng: Random) -> bytes:
    """By the line; values and headers from the lists; one in four is only shaken."""
    lines = data.split(b"\r\n")
    if rng.random() < 0.25:
        return havoc(data, rng)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, rng.choice(LINES))
            case 2:
                lines.insert(at, rng.choice(lines or [b""]))
            case 3:
                lines[at] = havoc(lines[at], rng)
            case _:
                lines[at] = rng.choice(VALUES)
        lines = lines or [b""]
    return b"\r\n".join(lines)


def seeds() -> list[bytes]:
    return [
        _form({**FORM, "signatory": "sg_1"}),
        _form({**FORM, "signatory": "CB-00017", "level": "", "urgency": "normal"}),
        b"application/x-www-form-urlencoded\nsubject=a&signatory=b", b"multipart/form-data\n--x", b"\n{}",
        _form(FORM, file=False), _form({**FORM, "signatory": "a", "stranger": "b"}),
    ]


def _form(fields: dict[str, str], *, file: bool = True) -> bytes:
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    if file:
        parts.append('Content-Disposition: form-data; name="file"; filename="kế hoạch.pdf"\r\n'
                     "Content-Type: application/pdf\r\n\r\n%PDF-1.7\n%%EOF\n".encode())
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    return b"multipart/form-data; boundary=x\n" + body


def _app(documents: Path) -> FastAPI:
    """As much of an application as a form meets."""
    made = FastAPI()
    made.include_router(router)
    problems.install(made)
    made.state.rt = SimpleNamespace(documents=Documents(documents), settings=SimpleNamespace(reserve_bytes=0))
    return made


LOOP: Final = asyncio.new_event_loop()
DOCUMENTS: Final = Path(tempfile.mkdtemp(prefix="forms-"))
atexit.register(shutil.rmtree, DOCUMENTS, ignore_errors=True)
CALLER: Final = Caller("cl_" + "0" * 32, "QLVB", Role.SUBMITTER, frozenset({"*"}))
app: Final = _app(DOCUMENTS)
TARGET: Final = Target(run, seeds, mutate, largest=16_384, short=150)
