"""The mark of a state secret on the first page: MẬT, TỐI MẬT or TUYỆT MẬT on a line of its own (Decree 30/2020,
annex I, III.2).

Best effort, and it says so: it reads the text that a page shows directly, in the fonts of that page, and gives up
(None) on anything large or unusual. It cannot read a scan. What it finds is certain enough to refuse; what it does
not find proves nothing, and the declared degree of secrecy counts besides.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Final

from pyhanko.pdf_utils import generic

from signing_service.pdf.reading import entry, resolved

_MARKS: Final = {"MẬT": "MẬT", "TỐIMẬT": "TỐI MẬT", "TUYỆTMẬT": "TUYỆT MẬT"}
_LARGEST: Final = 512 << 10  # bytes of page content or of a font's map; a page of text has a few thousand
_MOST_STREAMS: Final = 16
_BELOW: Final = 5000.0  # the next line, at a height that no page has, because the leading is not followed here

# ISO 32000-2 9.4: strings that are shown, the font they are shown in, and what moves to another line. Each begins with
# one of eight bytes, so that the numbers between them, which are most of a page, are skipped. Nothing here looks back
# for long: the quantifiers give nothing back.
_TOKEN: Final = re.compile(
    rb"[<(/TcB'\"](?:"
    rb"(?<=<)(?P<hex>[0-9A-Fa-f\s]*+)>"
    rb"|(?<=\()(?P<text>(?:[^()\\]++|\\.|\((?:[^()\\]++|\\.)*+\))*+)\)"
    rb"|(?<=/)(?P<font>[^\s/<>\[\]()]++)\s++[-.\d]++\s++Tf\b"
    rb"|(?<=T)(?P<to>[mdD])\b"
    rb"|(?P<below>(?<=T)\*|(?<=['\"]))"
    rb"|(?<=\bc)(?P<elsewhere>m\b)"
    rb"|(?<=\bB)(?P<begin>T\b)"
    rb")",
    re.DOTALL,
)
_BEFORE: Final = 48     # bytes in which the number before an operator stands, nearly always
_NUMERIC: Final = b"-.0123456789"
_ESCAPE: Final = re.compile(rb"\\([0-7]{1,3}|\r\n|.)", re.DOTALL)
_ESCAPED: Final = {
    **{bytes((code,)): bytes((code,)) for code in range(256)},
    **{b"%0*o" % (width, code): bytes((code & 0xFF,)) for width in (1, 2, 3) for code in range(8 ** width)},
    b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"\n": b"", b"\r\n": b"",
}

_MAP_BLOCK: Final = re.compile(rb"begin(bfchar|bfrange)(.*?)end\1", re.DOTALL)
_MAP_CHARACTER: Final = re.compile(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>")
_MAP_RANGE: Final = re.compile(
    rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>\s*(?:<([0-9A-Fa-f]+)>|\[((?:\s*<[0-9A-Fa-f]+>)+)\s*\])"
)

_Decode = Callable[[bytes], str]


def secret_mark(page: generic.DictionaryObject) -> str | None:
    """The mark that stands alone on a line of this page, spelt as in the decree; None if none was found."""
    for line in _lines(_content(page), _decoders(page)).values():
        letters = "".join(unicodedata.normalize("NFC", line).split())
        if letters in _MARKS:
            return _MARKS[letters]
    return None


def _content(page: generic.DictionaryObject) -> bytes:
    found = entry(page, "/Contents")
    several = list(found) if isinstance(found, generic.ArrayObject) else [found]
    streams = [each for each in map(resolved, several[:_MOST_STREAMS]) if isinstance(each, generic.StreamObject)]
    content = b"\n".join(each.data for each in streams)
    return content if len(content) <= _LARGEST else b""


def _lines(content: bytes, decoder: Callable[[bytes], _Decode]) -> dict[tuple[int, int], str]:
    """What stands at one height is one line, however many pieces it was shown in."""
    lines: dict[tuple[int, int], str] = defaultdict(str)
    decode: _Decode = _latin
    frame, height = 0, 0.0
    for token in _TOKEN.finditer(content):
        match token.lastgroup:
            case "font":
                decode = decoder(token["font"])
            case "hex" | "text":
                lines[frame, round(height)] += decode(_shown(token))
            case "to":
                if (number := _number_before(content, token.start())) is not None:
                    height = number + (0.0 if token["to"] == b"m" else height)
            case "begin":
                height = 0.0
            case "below":
                height -= _BELOW
            case _:
                frame += 1  # moved by what is not followed here: another line, to be safe
    return lines


def _number_before(content: bytes, end: int) -> float | None:
    """The last operand of the operator that begins there, or None if there is no number before it."""
    width = _BEFORE
    while True:
        before = content[max(0, end - width) : end]
        operand = before.rstrip()
        number = operand[len(operand.rstrip(_NUMERIC)) :]
        if len(number) < len(operand) or width >= end:
            return _number(number) if number and len(operand) < len(before) else None
        width *= 2


def _number(written: bytes) -> float:
    try:
        return max(-1e9, min(1e9, float(written)))
    except ValueError:
        return 0.0


def _shown(token: re.Match[bytes]) -> bytes:
    if token["text"] is not None:
        return _unescaped(token["text"])
    digits = token["hex"].translate(None, b" \t\r\n\f\v")
    return bytes.fromhex(digits.decode() + "0" * (len(digits) % 2))


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(_escaped, text) if b"\\" in text else text


def _escaped(match: re.Match[bytes]) -> bytes:
    return _ESCAPED[match[1]]


def _latin(code: bytes) -> str:
    return code.decode("cp1252", "replace")


_LATIN: Final = tuple(_latin(bytes((code,))) for code in range(256))


def _decoders(page: generic.DictionaryObject) -> Callable[[bytes], _Decode]:
    """From a font's name to what its codes say; a font is read when something is shown in it."""
    resources = _inherited(page, "/Resources")
    fonts = entry(resources, "/Font") if isinstance(resources, generic.DictionaryObject) else None
    if not isinstance(fonts, generic.DictionaryObject):
        return lambda name: _latin
    names = {str(name)[1:].encode(): name for name in list(fonts)[:64]}

    @cache
    def decoder(name: bytes) -> _Decode:
        return _decoder(entry(fonts, names[name])) if name in names else _latin

    return decoder


def _inherited(page: generic.DictionaryObject, key: str) -> object:
    node: object = page
    for _ in range(16):
        if not isinstance(node, generic.DictionaryObject):
            break
        if (found := entry(node, key)) is not None:
            return found
        node = entry(node, "/Parent")
    return None


def _decoder(font: object) -> _Decode:
    if not isinstance(font, generic.DictionaryObject):
        return _latin
    mapped = entry(font, "/ToUnicode")
    width = 2 if entry(font, "/Subtype") == "/Type0" else 1
    if not isinstance(mapped, generic.StreamObject) or len(mapped.data) > _LARGEST:
        return _latin
    letters = _letters(mapped.data)
    if width == 1:
        one = [letters.get(code) or latin for code, latin in enumerate(_LATIN)]
        return lambda code: "".join(map(one.__getitem__, code))
    return lambda code: "".join(
        letters.get(int.from_bytes(code[at : at + 2], "big"), "") for at in range(0, len(code), 2)
    )


def _letters(cmap: bytes) -> dict[int, str]:
    letters: dict[int, str] = {}
    for kind, block in _MAP_BLOCK.findall(cmap):
        if kind == b"bfchar":
            letters.update(_characters(_MAP_CHARACTER.findall(block)))
        else:
            letters.update(_ranges(block))
    return letters


def _characters(pairs: list[tuple[bytes, bytes]]) -> Iterable[tuple[int, str]]:
    """All at once where each is one letter of four digits, as nearly everywhere."""
    if not pairs:
        return ()
    codes, texts = zip(*pairs, strict=True)
    numbers = _numbers(codes)
    if all(len(text) == 4 for text in texts):
        letters = _utf16(b"".join(texts))
        if len(letters) == len(texts):  # and so none was half of a pair
            return zip(numbers, letters, strict=True)
    return zip(numbers, map(_utf16, texts), strict=True)


def _numbers(codes: tuple[bytes, ...]) -> Iterable[int]:
    digits = set(map(len, codes))
    if digits == {2}:
        return bytes.fromhex(b"".join(codes).decode())
    if digits == {4}:
        return struct.unpack(f">{len(codes)}H", bytes.fromhex(b"".join(codes).decode()))
    return [int(code, 16) for code in codes]


def _ranges(block: bytes) -> Iterator[tuple[int, str]]:
    for first, last, start, listed in _MAP_RANGE.findall(block):
        low, high = int(first, 16), min(int(last, 16), int(first, 16) + 0xFF)
        each = re.findall(rb"<([0-9A-Fa-f]+)>", listed)
        for at in range(high - low + 1):
            if listed and at < len(each):
                yield low + at, _utf16(each[at])
            elif start:
                yield low + at, _utf16(b"%0*x" % (len(start), int(start, 16) + at))


def _utf16(hexadecimal: bytes) -> str:
    return bytes.fromhex(hexadecimal.decode().zfill(4)).decode("utf-16-be", "ignore")
