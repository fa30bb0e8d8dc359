"""The frames between the pool and its workers: four bytes of length, then MessagePack.

Both ends decode into the types of `work` and refuse anything else. The pool does not trust a worker, which may
have been taken over by what it read: an answer has a largest size and a closed shape.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from signing_service.pdf.work import CompleteOrder, JudgeOrder, LookOrder, PageOrder, PrepareOrder, SurveyOrder

LARGEST_FRAME: Final = 4 << 20  # orders carry certificates and a token, answers a picture at most
HEADER: Final = 4

AnyOrder = LookOrder | PrepareOrder | CompleteOrder | JudgeOrder | SurveyOrder | PageOrder
_T = TypeVar("_T")


class Verb(StrEnum):
    """What a worker can do."""

    LOOK = "look"
    PREPARE = "prepare"
    COMPLETE = "complete"
    JUDGE = "judge"
    SURVEY = "survey"
    DRAW = "draw"


class Outcome(StrEnum):
    """How an order ended in the worker."""

    DONE = "done"
    REFUSED = "refused"     # `code` and `message` say why
    BROKEN = "broken"       # the library raised what it should not; `message` is for the log
    TOO_COSTLY = "too-costly"   # out of memory
    NO_FILES = "no-files"   # the disk, not the document: full, away, not permitted; `message` is for the log


class Surroundings(msgspec.Struct, frozen=True):
    """What a worker is told when it starts, as JSON in its one argument."""

    memory_bytes: int
    output_bytes: int
    folders: tuple[str, ...]    # of documents and drafts; none: no wall around files
    fonts: tuple[str, ...]      # beside those of the system


class Order(msgspec.Struct, frozen=True):
    verb: Verb
    cpu_seconds: int
    body: msgspec.Raw


class Answer(msgspec.Struct, frozen=True):
    outcome: Outcome
    body: msgspec.Raw = msgspec.Raw(b"\xc0")  # nil
    code: str = ""
    message: str = ""


class ProtocolError(Exception):
    """A frame that is not one, or is too large."""


def encoded(thing: object) -> bytes:
    return msgspec.msgpack.encode(thing, enc_hook=_path_to_text)


def decoded(raw: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    """Decode strictly into `kind`. Raises `ProtocolError`."""
    try:
        return msgspec.msgpack.decode(raw, type=kind, dec_hook=_text_to_path)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)) from error


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(HEADER, "big") + message


def length_of(header: bytes) -> int:
    """The size of the message that follows. Raises `ProtocolError` when it is not acceptable."""
    size = int.from_bytes(header, "big")
    if len(header) != HEADER or size > LARGEST_FRAME:
        raise ProtocolError(f"a frame of {size} bytes")
    return size


def _path_to_text(thing: Any) -> str:
    if isinstance(thing, Path):
        return str(thing.absolute())  # a worker has a working directory of its own
    raise TypeError(type(thing).__name__)


def _text_to_path(kind: type, thing: Any) -> Path:
    if issubclass(kind, Path) and isinstance(thing, str):
        return Path(thing)
    raise TypeError(kind.__name__)
