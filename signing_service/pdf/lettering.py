"""Letters of a TrueType font for one stamp: shaped by HarfBuzz, embedded as the few glyphs that are used.

An ordinary subsetter decompiles a font into objects and compiles it again, 20 ms for every stamp. TrueType keeps
each glyph as a run of bytes, so that a subset is those runs joined under a new index: glyphs keep their numbers, and
what is not used has length nought. Which glyphs a stamp needs hardly changes with the minute (its digits are always
there), so the embedded file is kept for the next document of the same person.

Only fonts with `glyf` outlines and text in which each glyph is one character are set here; for anything else `of`
or `set_line` answers None, and pyHanko sets the stamp.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import uharfbuzz
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]  # it ships no types

from signing_service.pdf.fonts import embeddable

_ALWAYS: Final = "0123456789/:;+-. "    # of the time and of a document's number
_CONTEXT: Final = 10                    # points: the size that stamps are laid out in
_REPLACED: Final = frozenset({"head", "hhea", "hmtx", "maxp", "loca", "glyf"})

# Composite glyphs (OpenType, glyf): what follows each component's number.
_WORDS, _SCALE, _MORE, _TWO_SCALES, _MATRIX = 0x1, 0x8, 0x20, 0x40, 0x80


@dataclass(frozen=True)
class Line:
    """A line, shaped: what shows it (TJ), how wide it is in thousandths of its size, and the glyphs it uses."""

    shows: bytes
    width: int
    glyphs: frozenset[int]


@dataclass(frozen=True)
class Embedded:
    """The font as a document carries it: the compressed streams, and what its dictionaries say."""

    name: bytes
    file: bytes
    file_size: int
    to_unicode: bytes
    widths: bytes
    descriptor: bytes


class Lettering:
    """One font, ready to set stamps in. Kept for a worker's life."""

    def __init__(self, font: TTFont, content: bytes) -> None:
        self._font = uharfbuzz.Font(uharfbuzz.Face(content))
        self._tables = {tag: font.reader[tag] for tag in _REPLACED}
        self._offsets: list[int] = list(font["loca"].locations)
        self._metrics: list[tuple[int, int]] = [font["hmtx"][name] for name in font.getGlyphOrder()]
        self._letters = {font.getGlyphID(name): chr(code) for code, name in font.getBestCmap().items()}
        self._always = frozenset(gid for gid, letter in self._letters.items() if letter in _ALWAYS)
        self._name = "".join(c for c in font["name"].getDebugName(6) or "Font" if c.isalnum() and c.isascii())
        self._descriptor = _descriptor(font)
        self._made: dict[frozenset[int], Embedded] = {}

    def set_line(self, text: str) -> Line | None:
        """Shape a line of text in NFC; None where its glyphs are more than its characters one by one."""
        buffer = uharfbuzz.Buffer()
        buffer.add_str(text)
        buffer.guess_segment_properties()
        uharfbuzz.shape(self._font, buffer)
        each = list(zip(buffer.glyph_infos, buffer.glyph_positions, strict=True))
        if [self._letters.get(info.codepoint) for info, _ in each] != list(text):
            return None
        if any(position.y_offset or position.x_offset for _, position in each):
            return None
        glyphs = [(info.codepoint, position.x_advance) for info, position in each]
        return Line(self._shown(glyphs), sum(width for _, width in glyphs), frozenset(gid for gid, _ in glyphs))

    def _shown(self, glyphs: Iterable[tuple[int, int]]) -> bytes:
        """ISO 32000-2 9.4.3: a number in TJ moves back, where kerning is closer than the glyph is wide."""
        pieces = [""]
        for gid, advance in glyphs:
            pieces[-1] += f"{gid:04x}"
            if kern := self._metrics[gid][0] - advance:
                pieces += [str(kern), ""]
        joined = " ".join(each if at % 2 else f"<{each}>" for at, each in enumerate(pieces))
        return f"[{joined}] TJ".encode()

    def embedded(self, used: frozenset[int]) -> Embedded:
        """The font with these glyphs, and the digits."""
        glyphs = used | self._always
        if glyphs not in self._made:
            if len(self._made) >= 256:
                self._made.clear()
            self._made[glyphs] = self._embedded(sorted(glyphs))
        return self._made[glyphs]

    def _embedded(self, glyphs: list[int]) -> Embedded:
        file = self._subset(glyphs)
        prefix = "".join(chr(65 + each % 26) for each in hashlib.sha256(repr(glyphs).encode()).digest()[:6])
        return Embedded(
            name=f"{prefix}+{self._name}".encode(), file=zlib.compress(file), file_size=len(file),
            to_unicode=zlib.compress(_to_unicode([(gid, self._letters[gid]) for gid in glyphs])),
            widths=" ".join(f"{gid} [{self._metrics[gid][0]}]" for gid in glyphs).encode(),
            descriptor=self._descriptor,
        )

    def _subset(self, glyphs: Iterable[int]) -> bytes:
        kept = self._with_components({0, *glyphs})
        count = max(kept) + 1
        offsets, outlines = [0], bytearray()
        for gid in range(count):
            if gid in kept:
                outlines += self._outline(gid)
                outlines += bytes(-len(outlines) % 4)
            offsets.append(len(outlines))
        metrics = (self._metrics[gid] if gid in kept else (0, 0) for gid in range(count))
        head, hhea, maxp = self._tables["head"], self._tables["hhea"], self._tables["maxp"]
        return _file({
            "glyf": bytes(outlines),
            "head": head[:8] + bytes(4) + head[12:50] + struct.pack(">h", 1) + head[52:],   # loca in four bytes each
            "hhea": hhea[:34] + struct.pack(">H", count),
            "hmtx": b"".join(struct.pack(">Hh", *each) for each in metrics),
            "loca": struct.pack(f">{len(offsets)}I", *offsets),
            "maxp": maxp[:4] + struct.pack(">H", count) + maxp[6:],
        })

    def _outline(self, gid: int) -> bytes:
        outlines: bytes = self._tables["glyf"]
        return outlines[self._offsets[gid]:self._offsets[gid + 1]]

    def _with_components(self, glyphs: set[int]) -> set[int]:
        waiting, kept = list(glyphs), set(glyphs)
        while waiting:
            new = set(_components(self._outline(waiting.pop()))) - kept
            kept |= new
            waiting += new
        return kept


@lru_cache(maxsize=4)
def of(font: Path) -> Lettering | None:
    """The lettering of a font file, or None for outlines of another kind."""
    content = embeddable(font)
    with TTFont(io.BytesIO(content)) as opened:
        return Lettering(opened, content) if "glyf" in opened else None


def _components(outline: bytes) -> Iterable[int]:
    """The glyphs that a composite one is made of."""
    if not outline or struct.unpack_from(">h", outline)[0] >= 0:
        return
    at, flags = 10, _MORE
    while flags & _MORE:
        flags, gid = struct.unpack_from(">HH", outline, at)
        yield gid
        at += 4 + (4 if flags & _WORDS else 2)
        at += 8 if flags & _MATRIX else 4 if flags & _TWO_SCALES else 2 if flags & _SCALE else 0


def _file(tables: dict[str, bytes]) -> bytes:
    """A TrueType file: the directory, then the tables on borders of four bytes (OpenType, otff)."""
    entries, body, start = [], bytearray(), 12 + 16 * len(tables)
    for tag, content in sorted(tables.items()):
        entries.append(struct.pack(">4sIII", tag.encode(), _sum(content), start + len(body), len(content)))
        body += content + bytes(-len(content) % 4)
    power = len(tables).bit_length() - 1
    header = struct.pack(">IHHHH", 0x10000, len(tables), 16 << power, power, 16 * len(tables) - (16 << power))
    whole = bytearray(header + b"".join(entries) + body)
    head = start + next(at for at in _starts(tables) if at[0] == "head")[1]
    struct.pack_into(">I", whole, head + 8, (0xB1B0AFBA - _sum(bytes(whole))) & 0xFFFFFFFF)
    return bytes(whole)


def _starts(tables: dict[str, bytes]) -> Iterable[tuple[str, int]]:
    at = 0
    for tag, content in sorted(tables.items()):
        yield tag, at
        at += len(content) + -len(content) % 4


def _sum(content: bytes) -> int:
    padded = content + bytes(-len(content) % 4)
    words: tuple[int, ...] = struct.unpack(f">{len(padded) // 4}I", padded)
    return sum(words) & 0xFFFFFFFF


def _descriptor(font: TTFont) -> bytes:
    """ISO 32000-2 9.8: what a reader would need to imitate the font."""
    head, hhea, os2 = font["head"], font["hhea"], font["OS/2"]
    box = f"{head.xMin} {head.yMin} {head.xMax} {head.yMax}"
    height = getattr(os2, "sCapHeight", 0) or hhea.ascent
    return (
        f"/Ascent {hhea.ascent} /Descent {hhea.descent} /FontBBox [ {box} ] /Flags 6 /StemV 95 "
        f"/ItalicAngle {round(font['post'].italicAngle)} /CapHeight {height}"
    ).encode()


def _to_unicode(letters: list[tuple[int, str]]) -> bytes:
    """ISO 32000-2 9.10.3, a hundred at a time as it asks."""
    lines = [f"<{gid:04x}> <{letter.encode('utf-16-be').hex()}>" for gid, letter in letters]
    blocks = [lines[at:at + 100] for at in range(0, len(lines), 100)]
    mapped = "\n".join("\n".join((f"{len(each)} beginbfchar", *each, "endbfchar")) for each in blocks)
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS2) /Supplement 0 >> def\n"
        "/CMapName /Adobe-Identity-UCS2 def\n/CMapType 2 def\n"
        f"1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n{mapped}\n"
        "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend"
    ).encode()
