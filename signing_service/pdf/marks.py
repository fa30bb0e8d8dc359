"""The mark of a state secret on the first page: MẬT, TỐI MẬT or TUYỆT MẬT on a line of its own (Decree 30/2020,
annex I, III.2).

Best effort, and it says so: it reads the text that a page shows directly, in the fonts of that page, and gives up
(None) on anything large or unusual. It cannot read a scan. What it finds is certain enough to refuse; what it does
not find proves nothing, and the declared degree of secrecy counts besides.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from pyhanko.pdf_utils import generic

from signing_service.pdf.reading import entry, resolved

_MARKS: Final = {"MẬT": "MẬT", "TỐIMẬT": "TỐI MẬT", "TUYỆTMẬT": "TUYỆT MẬT"}
_LARGEST: Final = 512 << 10  # bytes of page content or of a font's map; a page of text has a few thousand
_MOST_STREAMS: Final = 16
_BELOW: Final = 5000.0  # the next line, at a height that no page has, because the leading is not followed here

# ISO 32000-2 9.4: strings that are shown, the font they are shown in, and what moves to another line. Nothing here
# looks back for long: the quantifiers give nothing back, and a number is only begun at its beginning.
_TOKEN: Final = re.compile(
    rb"(?P<hex><[0-9A-Fa-f\s]*>)"
    rb"|(?P<text>\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*+\))*+\))"
    rb"|/(?P<font>[^\s/<>\[\]()]+)\s+[-.\d]+\s+Tf\b"
    rb"|(?<![-.\d])(?P<height>[-.\d]++)\s++(?P<to>Tm|Td|TD)\b"
    rb"|(?P<below>T\*|['\"])"
    rb"|(?P<elsewhere>\bcm\b)"
    rb"|(?P<begin>\bBT\b)",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(rb"\\([0-7]{1,3}|\r\n|.)", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"\n": b"", b"\r\n": b""}

_MAP_BLOCK: Final = re.compile(rb"begin(bfchar|bfrange)(.*?)end\1", re.DOTALL)
_MAP_CHARACTER: Final = re.compile(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>")
_MAP_RANGE: Final = re.compile(
    rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>\s*(?:<([0-9A-Fa-f]+)>|\[((?:\s*<[0-9A-Fa-f]+>)+)\s*\])"
)

_Decode = Callable[[bytes], str]


def secret_mark(page: generic.DictionaryObject) -> str | None:
    """The mark that stands alone on a line of this page, spelt as in the decree; None if none was found."""
    fonts = _fonts(page)
    for line in _lines(_content(page), fonts).values():
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


def _lines(content: bytes, fonts: dict[bytes, _Decode]) -> dict[tuple[int, int], str]:
    """What stands at one height is one line, however many pieces it was shown in."""
    lines: dict[tuple[int, int], str] = defaultdict(str)
    decode: _Decode = _latin
    frame, height = 0, 0.0
    for token in _TOKEN.finditer(content):
        match token.lastgroup:
            case "font":
                decode = fonts.get(token["font"], _latin)
            case "hex" | "text":
                lines[frame, round(height)] += decode(_shown(token))
            case "to":
                height = _number(token["height"]) + (0.0 if token["to"] == b"Tm" else height)
            case "begin":
                height = 0.0
            case "below":
                height -= _BELOW
            case _:
                frame += 1  # moved by what is not followed here: another line, to be safe
    return lines


def _number(written: bytes) -> float:
    try:
        return max(-1e9, min(1e9, float(written)))
    except ValueError:
        return 0.0


def _shown(token: re.Match[bytes]) -> bytes:
    if token["text"] is not None:
        return _unescaped(token["text"][1:-1])
    digits = token["hex"][1:-1].translate(None, b" \t\r\n\f\v")
    return bytes.fromhex(digits.decode() + "0" * (len(digits) % 2))


def _unescaped(text: bytes) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        code: bytes = match[1]
        return bytes((int(code, 8) & 0xFF,)) if code[:1] in b"01234567" else _ESCAPED.get(code, code)

    return _ESCAPE.sub(one, text)


def _latin(code: bytes) -> str:
    return code.decode("cp1252", "replace")


def _fonts(page: generic.DictionaryObject) -> dict[bytes, _Decode]:
    resources = _inherited(page, "/Resources")
    fonts = entry(resources, "/Font") if isinstance(resources, generic.DictionaryObject) else None
    if not isinstance(fonts, generic.DictionaryObject):
        return {}
    return {str(name)[1:].encode(): _decoder(entry(fonts, name)) for name in list(fonts)[:64]}


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
    letters = dict(_letters(mapped.data))
    if width == 1:
        return lambda code: "".join(letters.get(each) or _latin(bytes((each,))) for each in code)
    return lambda code: "".join(
        letters.get(int.from_bytes(code[at : at + 2], "big"), "") for at in range(0, len(code), 2)
    )


def _letters(cmap: bytes) -> Iterator[tuple[int, str]]:
    for kind, block in _MAP_BLOCK.findall(cmap):
        if kind == b"bfchar":
            yield from ((int(code, 16), _utf16(text)) for code, text in _MAP_CHARACTER.findall(block))
            continue
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
