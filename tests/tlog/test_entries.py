"""Canonical JSON: one object, one text, one line; nothing in it acts on the reader's terminal."""

from __future__ import annotations

import hashlib
import json
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing_service.tlog.entries import EntryInvalid, EntryLine, canonical, entry_hash, parse

TEXTS = {
    "keys in order, no blanks": ({"b": 1, "a": [True, None]}, '{"a":[true,null],"b":1}'),
    "Vietnamese stays readable": ({"by": "Đỗ Thị Ánh"}, '{"by":"Đỗ Thị Ánh"}'),
    "text is not normalised": ({"a": "e\u0301", "b": "\u00e9"}, '{"a":"e\u0301","b":"\u00e9"}'),
    "keys sort by code point": ({"\U0001f600": 1, "\ufb01": 2}, '{"\ufb01":2,"\U0001f600":1}'),
    "a tuple is a list": ({"a": (1, 2)}, '{"a":[1,2]}'),
    "quotes and backslashes": ({"a": '"\\'}, '{"a":"\\"\\\\"}'),
    "the largest number": ({"a": 2**53 - 1, "b": -(2**53) + 1}, '{"a":9007199254740991,"b":-9007199254740991}'),
}  # fmt: skip


@pytest.mark.parametrize(("body", "text"), TEXTS.values(), ids=list(TEXTS))
def test_the_canonical_text_is(body: dict[str, Any], text: str) -> None:
    assert canonical(body) == text.encode()


INJECTIONS = {
    "a second line": "x\n{\"forged\":1}",
    "a carriage return that overwrites the line": "x\rforged",
    "an escape sequence": "\x1b[2J\x1b[1;1Hforged",
    "a C1 escape sequence": "\x9b2J",
    "a next line": "x\x85y",
    "a backspace": "granted\x08\x08denied",
    "a delete": "x\x7f",
    "a null": "x\x00y",
    "a line separator": "x\u2028y",
    "a paragraph separator": "x\u2029y",
    "a right-to-left override": "invoice\u202efdp.exe",
    "an embedding": "\u202ax\u202by\u202c",
    "an isolate": "\u2066x\u2067y\u2068z\u2069",
    "direction marks": "\u200ex\u200f",
    "an Arabic letter mark": "x\u061cy",
}
ACTING = [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]


@pytest.mark.parametrize("payload", INJECTIONS.values(), ids=list(INJECTIONS))
def test_what_acts_on_a_terminal_is_written_as_an_escape(payload: str) -> None:
    for body in ({"title": payload}, {payload: "title"}, {"deep": [{payload: [payload]}]}):
        text = canonical(body).decode()
        assert not [character for character in text if ord(character) in ACTING]
        assert len(text.splitlines()) == 1
        assert json.loads(text) == body


def test_every_acting_character_is_escaped_and_comes_back() -> None:
    for code in ACTING:
        text = canonical({"a": chr(code)}).decode()
        assert text.isascii()
        assert text.isprintable()
        assert json.loads(text) == {"a": chr(code)}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
@settings(deadline=None, max_examples=200)
def test_reading_and_writing_again_gives_the_same_bytes(body: dict[str, Any]) -> None:
    text = canonical(body)
    assert parse(text) == json.loads(text) == body
    assert canonical(parse(text)) == text


@given(st.dictionaries(st.text(), json_values, max_size=5))
@settings(deadline=None, max_examples=200)
def test_it_is_what_the_standard_library_writes_with_acting_characters_escaped(body: dict[str, Any]) -> None:
    written = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    escaped = "".join(f"\\u{ord(each):04x}" if ord(each) in ACTING else each for each in written)
    assert canonical(body) == escaped.encode()


class Number(IntEnum):
    """A number of somebody's own kind."""

    ONE = 1


class Own(str):
    """Text of somebody's own kind."""


def test_text_and_numbers_of_ones_own_kind_are_written_like_any_other() -> None:
    assert canonical({Own("b"): Own("x"), "a": [Own("\x7f"), Number.ONE]}) == \
        canonical({"b": "x", "a": ["\x7f", 1]})


@given(st.dictionaries(st.text(), json_values, max_size=5))
@settings(deadline=None, max_examples=100)
def test_the_order_of_keys_and_the_blanks_of_a_file_do_not_matter(body: dict[str, Any]) -> None:
    spaced = json.dumps(dict(reversed(body.items())), indent=3)
    assert canonical(parse(spaced)) == canonical(body)


def nested(levels: int) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for _ in range(levels):
        body = {"a": body}
    return body


NOT_ENTRIES = {
    "a fraction": {"a": 1.5},
    "a whole number as a float": {"a": 1.0},
    "not a number": {"a": float("nan")},
    "a number that readers of JSON round": {"a": 2**53},
    "bytes": {"a": b"x"},
    "a set": {"a": {1}},
    "a key that is a number": {1: "a"},
    "a key that is nothing": {None: "a"},
    "half a surrogate pair": {"a": "\ud800"},
    "half a surrogate pair in a key": {"\udc00": 1},
    "33 levels": nested(33),
    "a list": [1],
    "a string": "x",
}


@pytest.mark.parametrize("body", NOT_ENTRIES.values(), ids=list(NOT_ENTRIES))
def test_there_is_no_canonical_text_for(body: Any) -> None:
    with pytest.raises(EntryInvalid):
        canonical(body)


NOT_JSON = {
    "a key given twice": '{"a":1,"a":2}',
    "a key given twice inside": '{"x":{"a":1,"a":1}}',
    "a fraction": '{"a":1.5}',
    "an exponent": '{"a":1e3}',
    "not a number": '{"a":NaN}',
    "infinity": '{"a":-Infinity}',
    "two values": "{}{}",
    "half a value": '{"a":',
    "a raw control character": '{"a":"\x01"}',
    "a list": "[]",
    "nothing": "",
    "nesting without end": "[" * 200_000,
    "digits without end": '{"a":' + "9" * 10_000 + "}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "not UTF-8": b'{"a":"\xff"}',
    "a byte order mark": '\ufeff{"a":1}',
}


@pytest.mark.parametrize("text", NOT_JSON.values(), ids=list(NOT_JSON))
def test_this_is_not_read_as_an_entry(text: str | bytes) -> None:
    with pytest.raises(EntryInvalid):
        parse(text)


def test_a_leaf_is_the_hash_of_the_canonical_text() -> None:
    body = {"action": "code:rejected", "n": 3}
    assert entry_hash(body) == hashlib.sha256(b'\x00{"action":"code:rejected","n":3}').digest()


@pytest.mark.parametrize("index", [0, 70_000, None])
def test_a_line_round_trips(index: int | None) -> None:
    line = EntryLine.of(index, {"by": "Ánh\n", "deep": nested(31)})
    assert EntryLine.parse(line.text()) == line
    assert len(line.text().splitlines()) == 1


HASH = "00" * 32
NOT_LINES = {
    "a field is missing": f'{{"index":0,"leaf_hash":"{HASH}"}}',
    "a field is too many": f'{{"index":0,"leaf_hash":"{HASH}","body":{{}},"x":1}}',
    "a negative index": f'{{"index":-1,"leaf_hash":"{HASH}","body":{{}}}}',
    "true for an index": f'{{"index":true,"leaf_hash":"{HASH}","body":{{}}}}',
    "text for an index": f'{{"index":"0","leaf_hash":"{HASH}","body":{{}}}}',
    "a hash in capitals": f'{{"index":0,"leaf_hash":"{"AB" * 32}","body":{{}}}}',
    "a hash that is too short": f'{{"index":0,"leaf_hash":"{"ab" * 31}","body":{{}}}}',
    "a hash with a newline": f'{{"index":0,"leaf_hash":"{HASH}\\n","body":{{}}}}',
    "a body that is a list": f'{{"index":0,"leaf_hash":"{HASH}","body":[]}}',
}


@pytest.mark.parametrize("text", NOT_LINES.values(), ids=list(NOT_LINES))
def test_this_is_no_line_of_an_export_because(text: str) -> None:
    with pytest.raises(EntryInvalid):
        EntryLine.parse(text)
