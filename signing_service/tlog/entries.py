"""Entries as bytes: canonical JSON, and the lines of an export.

One object has one canonical text, so that anybody can compute its leaf hash again: keys sorted by code point,
no blanks, UTF-8, no floats. Text is kept as it came (no normalisation), but no control or direction character
is ever written raw, so that a line of the log is one line on every terminal and reads in one direction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from signing_service.errors import Invalid
from signing_service.tlog.tree import HASH_BYTES, leaf_hash

Json = Any  # what json.loads returns: checked value by value in `_check`

_DEEPEST = 32  # levels of nesting; entries have three
_LARGEST = 2**53 - 1  # RFC 7493 2.2: beyond it JSON readers disagree; larger numbers are written as strings
_PLAIN = (str, bool, type(None))
_write = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_write_plain = msgspec.json.Encoder(order="sorted").encode  # the same bytes in a fifth of the time
_HIDDEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # C0 is escaped by json itself


class EntryInvalid(Invalid):
    """This is not an entry: not canonical JSON, or not a line of an export."""

    code = "entry-invalid"


def canonical(body: Mapping[str, Json]) -> bytes:
    """The one text of an entry; `EntryInvalid` for floats, numbers beyond 2**53 - 1 and lone surrogates.

    Escaped as \\uXXXX: C0 (the five with a short escape use that, RFC 8259 7), DEL, C1, U+061C, U+200E-F,
    U+2028-E, U+2066-9. `canonical(json.loads(canonical(x))) == canonical(x)`.
    """
    if not isinstance(body, Mapping):
        raise EntryInvalid("an entry is a JSON object")
    try:
        text = _written(_check(body, 0))
        return text if text.isascii() and b"\x7f" not in text else _HIDDEN.sub(_escape, text.decode()).encode()
    except UnicodeEncodeError as error:
        raise EntryInvalid("an entry's text is valid Unicode: it holds half a surrogate pair") from error


def _written(body: Json) -> bytes:
    try:
        return _write_plain(body)
    except TypeError:  # kinds of text and numbers that are somebody's own
        return _write(body).encode()


def visible(text: str) -> str:
    """Text out of an entry, safe to print: what would act on a terminal becomes an escape."""
    return _HIDDEN.sub(_escape, _write(text))[1:-1]


def parse(text: str | bytes) -> dict[str, Json]:
    """Read one JSON object as strictly as `canonical` writes it; also refuses a key given twice."""
    try:
        decoded = text if isinstance(text, str) else text.decode()  # json.loads would guess UTF-16 as well
        value = json.loads(decoded, object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float)
    except EntryInvalid:
        raise
    except (ValueError, RecursionError) as error:
        raise EntryInvalid("this is not JSON") from error
    if not isinstance(value, dict):
        raise EntryInvalid("an entry is a JSON object")
    return value


def entry_hash(body: Mapping[str, Json]) -> bytes:
    """The leaf hash of an entry."""
    return leaf_hash(canonical(body))


@dataclass(frozen=True)
class EntryLine:
    """One line of an export; `index` is None while the entry waits for its place in the tree."""

    index: int | None
    leaf_hash: bytes
    body: Mapping[str, Json]

    @classmethod
    def of(cls, index: int | None, body: Mapping[str, Json]) -> EntryLine:
        return cls(index, entry_hash(body), body)

    @classmethod
    def parse(cls, text: str | bytes) -> EntryLine:
        """Read a line; `EntryInvalid` says what is wrong with it. The body is not yet checked against its hash."""
        fields = parse(text)
        if fields.keys() != {"index", "leaf_hash", "body"}:
            raise EntryInvalid("a line of an export has index, leaf_hash and body")
        index, hexed, body = fields["index"], fields["leaf_hash"], fields["body"]
        if index is not None and (type(index) is not int or index < 0):
            raise EntryInvalid("index is a number from 0, or null")
        if not isinstance(body, dict):
            raise EntryInvalid("body is a JSON object")
        return cls(index, parse_hash(hexed), body)

    def text(self) -> str:
        """The line, without its newline."""
        place = "null" if self.index is None else str(self.index)
        return f'{{"body":{canonical(self.body).decode()},"index":{place},"leaf_hash":"{self.leaf_hash.hex()}"}}'


def parse_hash(value: Json) -> bytes:
    """64 lower-case hex digits."""
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * HASH_BYTES}}}", value):
        raise EntryInvalid(f"a hash is written as {2 * HASH_BYTES} lower-case hex digits")
    return bytes.fromhex(value)


def _check(value: Json, depth: int) -> Json:
    """The same value in plain dicts and lists, or `EntryInvalid`; json.dumps would bend keys and floats."""
    if depth > _DEEPEST:
        raise EntryInvalid(f"an entry nests at most {_DEEPEST} levels")
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, int):
        if abs(value) > _LARGEST:
            raise EntryInvalid("a number beyond 2**53 - 1 is written as a string")
        return value
    if isinstance(value, (dict, Mapping)):  # asking an abstract class costs ten times as much
        if not all(isinstance(key, str) for key in value):
            raise EntryInvalid("the keys of an entry are strings")
        return {key: item if type(item) is str else _check(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_check(item, depth + 1) for item in value]
    raise EntryInvalid(f"an entry holds no {type(value).__name__}")


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise EntryInvalid("a key is given twice")
    return fields


def _no_float(text: str) -> Json:
    raise EntryInvalid("an entry holds no fractions")


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
