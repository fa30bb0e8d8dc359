"""Plain objects of a document, in one pass: what is usual is read here, whatever is not is left to pyHanko.

pyHanko reads an object byte by byte, five to ten microseconds a number, and the widths of one font are hundreds of
numbers. Here an array or a dictionary is taken apart by one regular expression and becomes exactly what pyHanko makes
of it. What this grammar does not know (comments, escapes in names, a key that stands twice, deep nesting, signs in
the wrong place, the end of the file) is not judged here: the cursor goes back, and pyHanko reads it, and says what is
wrong with it. `tests/pdf/test_objects.py` holds both readings equal.

Nothing looks back: quantifiers give nothing back, numbers have a largest length, and what was read in vain is bounded
by `_LARGEST` and by `_DEEPEST`: a byte is met at most so many times before pyHanko meets it.
"""

from __future__ import annotations

import binascii
import decimal
import functools
import io
import re
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import (
    ArrayObject,
    BooleanObject,
    ContentOpReading,
    Dereferenceable,
    DictionaryObject,
    FloatObject,
    IndirectObject,
    NameObject,
    NullObject,
    NumberObject,
    PdfObject,
    StreamObject,
)
from pyhanko.pdf_utils.misc import PdfError

_LARGEST: Final = 64 << 10      # bytes of one object: an array of five thousand references
_WINDOW: Final = 8 << 10        # of it where a document is not in memory
_DEEPEST: Final = 8

# ISO 32000-2 7.2.3 and 7.3. Each token ends where another certainly begins.
_END: Final = rb"(?=[\0\t\n\f\r ()<>\[\]{}/%])"
_ESCAPE: Final = rb"\\(?:[() /%<>\[\]#_&$\\nrtbf]|[0-3][0-7][0-7]|[0-7]{1,2}+(?!\d))"    # as pyHanko knows them
_TOKEN: Final = re.compile(
    rb"[\0\t\n\f\r ]*+(?:"
    rb"/(?P<name>[!-\"$&'*-.0-;=?-Z\\^-z|~]*+)" + _END +
    rb"|(?P<number>\d{1,8}+)[\t\n\f\r ](?P<reference>\d{1,5}+)[\t\n\f\r ]R" + _END +
    rb"|(?P<integer>[+-]?+\d{1,18}+)" + _END +
    rb"|(?P<real>[+-]?+(?:\d{1,18}+\.\d{0,18}+|\.\d{1,18}+))" + _END +
    rb"|(?P<open>\[|<<)"
    rb"|(?P<close>\]|>>)"
    rb"|\((?P<text>(?:[^()\\]++|" + _ESCAPE + rb")*+)\)"
    rb"|(?P<string>\()"
    rb"|<(?P<hex>[\0\t\n\f\r 0-9A-Fa-f]*+)>"
    rb"|(?P<word>true|false|null)" + _END +
    rb")"
)
_NUMBERS: Final = re.compile(
    rb"[\t\n\f\r ]*+("
    rb"(?:[+-]?+(?:\d{1,18}+(?:\.\d{0,18}+)?+|\.\d{1,18}+)(?:[\t\n\f\r ]++|(?=\])))++"
    rb")\]"
)
_ESCAPES: Final = re.compile(_ESCAPE)
_ESCAPED: Final = {
    **{b"\\%c" % each: b"%c" % each for each in b"() /%<>[]#_&$\\"},
    **{b"\\%0*o" % (width, code): b"%c" % code for width in (1, 2, 3) for code in range(min(8 ** width, 256))},
    b"\\n": b"\n", b"\\r": b"\r", b"\\t": b"\t", b"\\b": b"\b", b"\\f": b"\f",
}
_NO_STREAM: Final = re.compile(rb"[\0\t\n\f\r ]*+[^\0\t\n\f\r s%]")     # it would follow a dictionary
_WHITESPACE: Final = b"\0\t\n\f\r "

_stock: Final[Callable[..., PdfObject]] = generic.read_object   # as it comes, before `install`

Items = dict[Any, PdfObject]     # by their names


class NotPlain(Exception):
    """Something else than what is usual: for pyHanko to read."""


class Plain:
    """One object, in the bytes `window[:end]`, and what it belongs to."""

    def __init__(self, window: bytes, end: int, owner: Dereferenceable) -> None:
        self._window = window
        self._end = end
        self._owner = owner
        self._document = owner.get_pdf_handler()    # type: ignore[no-untyped-call]  # not annotated

    def array(self, at: int, depth: int) -> tuple[ArrayObject, int]:
        """The array whose `[` stands before `at`, and where it ends. Raises `NotPlain`."""
        found = ArrayObject()
        numbers = _NUMBERS.match(self._window, at, self._end)
        if numbers is not None:
            at = numbers.end()
            found.extend(_real(each) if "." in each else _integer(each) for each in numbers[1].decode().split())
        else:
            items, at = self._items(at, b"]", depth)
            found.extend(items)
        for item in list.__iter__(found):
            item.container_ref = self._owner
        return found, at

    def dictionary(self, at: int, depth: int) -> tuple[Items, int]:
        """What stands in the dictionary whose `<<` stands before `at`, and where it ends. Raises `NotPlain`."""
        items, at = self._items(at, b">>", depth)
        keys, values = items[::2], items[1::2]
        if len(keys) != len(values) or any(type(key) is not NameObject for key in keys):
            raise NotPlain
        found: Items = dict(zip(keys, values, strict=True))
        if len(found) != len(keys):
            raise NotPlain
        for value in values:
            value.container_ref = self._owner
        return found, at

    def may_be_stream(self, at: int) -> bool:
        """May the dictionary that ends there be the beginning of a stream?"""
        return _NO_STREAM.match(self._window, at, self._end) is None

    def _items(self, at: int, closing: bytes, depth: int) -> tuple[list[PdfObject], int]:
        window, end, next_token = self._window, self._end, _TOKEN.match
        items: list[PdfObject] = []
        while (token := next_token(window, at, end)) is not None:
            at = token.end()
            match token.lastgroup:
                case "name":
                    items.append(NameObject("/" + token["name"].decode()))
                case "integer":
                    items.append(_integer(token["integer"]))
                case "reference":
                    items.append(self._reference(token))
                case "real":
                    items.append(_real(token["real"].decode()))
                case "close":
                    if token["close"] != closing:
                        raise NotPlain
                    return items, at
                case "open":
                    item, at = self._inner(token["open"], at, depth + 1)
                    items.append(item)
                case "text":
                    items.append(generic.pdf_string(_unescaped(token["text"])))
                case "hex":
                    items.append(_hexadecimal(token["hex"]))
                case "string":
                    item, at = self._string(at - 1)
                    items.append(item)
                case _:
                    items.append(_word(token["word"]))
        raise NotPlain

    def _inner(self, opening: bytes, at: int, depth: int) -> tuple[PdfObject, int]:
        if depth > _DEEPEST:
            raise NotPlain
        if opening == b"[":
            return self.array(at, depth)
        items, at = self.dictionary(at, depth)
        if self.may_be_stream(at):
            raise NotPlain
        return _dictionary(items), at

    def _reference(self, token: re.Match[bytes]) -> IndirectObject:
        number = int(token["number"])
        if not number:
            raise NotPlain
        return IndirectObject(number, int(token["reference"]), self._document)  # type: ignore[no-untyped-call]

    def _string(self, at: int) -> tuple[PdfObject, int]:
        """One with escapes or brackets in it: pyHanko knows them, and sees no more than may be read in vain."""
        stream = io.BytesIO(self._window[at:self._end])
        try:
            found = generic.read_string_from_stream(stream)
        except (PdfError, ValueError) as error:
            raise NotPlain from error
        return found, at + stream.tell()


def _unescaped(text: bytes) -> bytes:
    return _ESCAPES.sub(_unescape, text) if b"\\" in text else text


def _unescape(escape: re.Match[bytes]) -> bytes:
    return _ESCAPED[escape[0]]


def _hexadecimal(digits: bytes) -> PdfObject:
    digits = digits.translate(None, _WHITESPACE)
    return generic.pdf_string(binascii.unhexlify(digits + b"0" * (len(digits) % 2)))


_integer: Final = functools.partial(int.__new__, NumberObject)
_real: Final = functools.partial(decimal.Decimal.__new__, FloatObject)


def _word(word: bytes) -> PdfObject:
    return NullObject() if word == b"null" else BooleanObject(word == b"true")  # type: ignore[no-untyped-call]


def _dictionary(items: Items, found: DictionaryObject | None = None) -> DictionaryObject:
    found = DictionaryObject() if found is None else found  # type: ignore[no-untyped-call]  # not annotated
    dict.update(found, items)   # whose keys are names already
    return found


def plainly(stream: BinaryIO, owner: Dereferenceable, opening: bytes) -> PdfObject:
    """The array or dictionary whose first two bytes are under the cursor, which is left behind it.

    Raises `NotPlain`; then the cursor may be anywhere.
    """
    start = stream.tell()
    if type(stream) is io.BytesIO:
        window, base, at = stream.getvalue(), 0, start      # not a copy
        end = min(len(window), start + _LARGEST)
    else:
        window, base, at = stream.read(_WINDOW), start, 0
        end = len(window)
    plain = Plain(window, end, owner)
    if opening != b"<<":
        found, at = plain.array(at + 1, 1)
        stream.seek(base + at)
        return found
    items, at = plain.dictionary(at + 2, 1)
    stream.seek(base + at)
    if not plain.may_be_stream(at):
        return _dictionary(items)
    # What follows may be a stream: its length may lie elsewhere, and where it ends is for pyHanko to find.
    content = generic._maybe_read_stream_payload(stream, items, owner.get_pdf_handler())  # type: ignore[no-untyped-call]
    return _dictionary(items, None if content is None else StreamObject(encoded_data=content))


def read_object(
    stream: BinaryIO, container_ref: Dereferenceable, as_metadata_stream: bool = False,
    in_content_stream: ContentOpReading = ContentOpReading.NO,
) -> PdfObject:
    """The object under the stream's cursor, which is left behind it, as pyHanko reads it."""
    start = stream.tell()
    opening = stream.read(2)
    stream.seek(start)
    is_whole = in_content_stream is ContentOpReading.NO and not as_metadata_stream
    if is_whole and (opening == b"<<" or opening[:1] == b"["):
        try:
            found = plainly(stream, container_ref, opening)
        except NotPlain:
            stream.seek(start)
        else:
            found.container_ref = container_ref
            return found
    return _stock(stream, container_ref, as_metadata_stream, in_content_stream)


def install() -> None:
    """Have pyHanko read objects this way, in this process."""
    generic.read_object = read_object
