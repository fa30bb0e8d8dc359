"""Logs: one JSON object on one line of stderr, with nothing in it that should not leave the process.

What is written is for operators, and it is text that others partly chose: control and direction characters are
escaped, so that one event is one line and reads in one direction. Secrets are kept out where they arise; the
patterns here are the second wall, for what a library puts into an exception.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

LONGEST = 8192  # characters of one text; a traceback beyond it says nothing more
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
GONE = "[removed]"

SECRETS = (
    re.compile(r"(?i)\b(?:bearer|basic)\s+[a-z0-9._~+/=-]{6,}"),
    re.compile(r"(?i)otpauth(?:-migration)?://\S+"),
    re.compile(r"\b(?:whsec_[A-Za-z0-9_-]+|[a-z]{2}_[0-9a-f]{64})"),  # secrets of clients, access tokens
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\[parameters: .*?\](?=\s*\(Background|\s*$|\n)", re.DOTALL),  # what SQLAlchemy puts into its errors
    re.compile(r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"),  # user:password in an address
)
NAMED_SECRET = re.compile(
    r"(?i)\b(authorization|proxy-authorization|cookie|set-cookie|client_secret|access_token|password|passwd|secret|seed|"
    r"sad|otp|pin|code)(['\"]?\s*[:=]\s*)(?:b?'[^']*'|b?\"[^\"]*\"|[^\s,;&}\])]+)"
)
CODE_WORDS = re.compile(r"^[a-z][a-z-]*$")  # `code='not-found'` is a word of ours, not a one-time code

QUIET = ("alembic", "httpx", "httpcore", "asyncio", "pyhanko", "pyhanko_certvalidator", "uvicorn.access", "multipart",
         "python_multipart", "fontTools", "PIL")


def cleaned(text: str) -> str:
    """The text without what looks like a secret."""
    for pattern in SECRETS:
        text = pattern.sub(GONE, text)
    return NAMED_SECRET.sub(_without_value, text)


def _without_value(found: re.Match[str]) -> str:
    value = found[0][len(found[1]) + len(found[2]):].strip("'\"b")
    if found[1].lower() == "code" and CODE_WORDS.match(value):
        return found[0]
    return f"{found[1]}{found[2]}{GONE}"


def one_line(value: Any) -> str:
    """JSON in which no character can end the line or turn the direction of reading."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class JsonFormatter(logging.Formatter):
    """A record as one line: time, level, process, logger, message and, if there is one, the exception."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "process": self._process, "logger": record.name,
            "message": cleaned(_message(record))[:LONGEST],
        }
        if record.exc_info:
            told["exception"] = cleaned(self.formatException(record.exc_info))[-LONGEST:]
        return one_line({name: value for name, value in told.items() if value})


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # the arguments do not fit the text: no reason to lose the event
        return f"{record.msg} {record.args}"


def configure(process: str = "", level: int = logging.INFO) -> None:
    """Every logger of this process writes JSON to stderr from here on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error"):  # uvicorn brings its own handlers unless it is told not to
        logging.getLogger(name).handlers.clear()
    logging.captureWarnings(capture=True)
