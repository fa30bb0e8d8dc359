"""Logs: one event, one line, nothing secret."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from signing_service.front.logs import GONE, JsonFormatter, cleaned


def line(message: str, *arguments: object, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("test", logging.WARNING, __file__, 1, message, arguments, info)
    return JsonFormatter("front").format(record)


HOSTILE = {
    "a newline": "a\nb", "a carriage return": "a\rb", "a fake event": 'x"}\n{"level":"info","message":"signed"}',
    "an escape sequence": "\x1b[2J\x1b[31m", "a null": "a\0b", "a C1 control": "a\x9bb", "a line separator": "a\u2028b",
    "right to left": "invoice\u202efdp.exe", "an isolate": "a\u2066b", "a zero-width blank": "a\u200bb",
    "half a pair": "a\ud800b", "a byte order mark": "\ufeffa", "next line": "a\x85b", "a bell": "\x07",
    "delete": "\x7f",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_text_ends_a_line_or_turns_it_around(text: str) -> None:
    written = line("subject: %s", text)
    assert written.isprintable()
    assert len(written.splitlines()) == 1
    assert json.loads(written)["message"] == f"subject: {text}"  # nothing is lost, only written safely
    written.encode()


def test_vietnamese_stays_readable() -> None:
    assert "Kế hoạch chuyển đổi số" in line("Kế hoạch chuyển đổi số")


CANARY = "c4n4ry0f7h3s3cr37"
SECRET = {
    "a bearer token": f"Authorization: Bearer {CANARY}",
    "basic credentials": f"authorization: Basic {CANARY}",
    "a header in a dictionary": f"{{'authorization': 'Bearer {CANARY}'}}",
    "headers as bytes": f"(b'authorization', b'Bearer {CANARY}')",
    "a cookie": f"Cookie: session={CANARY}",
    "a token alone": "refused Bearer st_" + "0a" * 32,
    "an access token": "st_" + "0a" * 32,
    "a webhook secret": f"whsec_{CANARY}",
    "an otpauth address": f"otpauth://totp/A:B?secret={CANARY}&issuer=A",
    "a form": f"grant_type=client_credentials&client_secret={CANARY}&x=1",
    "JSON": f'{{"password": "{CANARY}", "a": 1}}',
    "a PIN": f"pin={CANARY}",
    "a one-time code": "code: 123456",
    "a one-time code as JSON": '{"code":"123456"}',
    "a one-time code in a message": "Confirm(client_id='cl_1', code='123456', channel='client')",
    "a database address": f"postgresql://front:{CANARY}@db/signing",
    "a statement's parameters":
        f"(psycopg.Error) x\n[SQL: INSERT]\n[parameters: {{'secret_hash': '{CANARY}'}}]\n(Background on",
    "a private key": f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n-----END EC PRIVATE KEY-----",
    "a private key cut off": f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
}


@pytest.mark.parametrize("text", SECRET.values(), ids=SECRET.keys())
def test_what_looks_like_a_secret_is_taken_out(text: str) -> None:
    for written in (line(text), line("%s", text), line("failed", error=ValueError(text))):
        assert CANARY not in written
        assert "123456" not in written
        assert "0a" * 16 not in written
        assert GONE in written


HARMLESS = ("code='not-found'", "code=signer-away", "status 503",
            "sr_0193f2a6c7d47aa08f3b6f6f1a2b3c4d is not finished yet",
            "POST https://client.example.vn/hook: 500", "a digest 2a1d3f6f0b5b5e1d8f3c52f7a86f7d5a9c51e0f6c8d94a0a")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_not_secret_stays(text: str) -> None:
    assert cleaned(text) == text


def test_an_exception_is_told_whole_on_the_same_line() -> None:
    def fails() -> None:
        raise KeyError("the place")

    try:
        fails()
    except KeyError as error:
        told = json.loads(line("it failed", error=error))
    assert told["message"] == "it failed"
    assert "in fails" in told["exception"]
    assert told["level"] == "warning"


def test_arguments_that_do_not_fit_do_not_lose_the_event() -> None:
    assert "two %s and %s" in line("two %s and %s", "one")


def test_a_text_without_end_is_cut() -> None:
    assert len(line("x" * 1_000_000)) < 10_000


PROGRAM = """
import logging, warnings
from signing_service.front.logs import configure
configure("jobs")
logging.getLogger("uvicorn.error").info("started")
logging.getLogger("httpx").info("quiet")
warnings.warn("old", stacklevel=1)
logging.getLogger("a").error("Bearer abcdefghijkl")
"""


def test_a_configured_process_writes_json_to_stderr_and_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    told: list[dict[str, Any]] = [json.loads(each) for each in done.stderr.splitlines()]
    assert [each["logger"] for each in told] == ["uvicorn.error", "py.warnings", "a"]
    assert {each["process"] for each in told} == {"jobs"}
    assert told[2]["message"] == GONE
    assert done.stdout == ""
