"""Just enough DER (X.690) to write what never changes once, and to read it again byte by byte.

An ASN.1 library builds a tree of objects for every value; a signature's container has two hundred of them, of which
three differ from document to document. Writing joins bytes. Reading is strict: definite lengths in their shortest
form, tags of one byte, nothing left over; what is not like that raises `Malformed`, and whoever reads decides
whether that is a refusal or a case for a library that is more patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

INTEGER: Final = 0x02
BITS: Final = 0x03
OCTETS: Final = 0x04
NULL: Final = bytes((0x05, 0x00))
OBJECT: Final = 0x06
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31
CONTEXT_0: Final = 0xA0     # constructed: EXPLICIT, or IMPLICIT in place of a SET or SEQUENCE
CONTEXT_1: Final = 0xA1
PRIMITIVE_0: Final = 0x80   # IMPLICIT in place of something primitive
PRIMITIVE_1: Final = 0x81


class Malformed(ValueError):
    """These bytes are not DER of the expected shape."""


@dataclass(frozen=True, slots=True)
class Element:
    """One value where it stands: `whole` with its header, `content` without."""

    tag: int
    whole: bytes
    content: bytes

    def children(self) -> list[Element]:
        """What a constructed value contains, with nothing left over."""
        return list(elements(self.content))

    def child(self) -> Element:
        """The only thing it contains."""
        return one(self.content)


def tlv(tag: int, *parts: bytes) -> bytes:
    """Tag, length, and the parts joined."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER, such as "1.2.840.113549.1.7.2"."""
    first, second, *rest = (int(each) for each in dotted.split("."))
    return tlv(OBJECT, b"".join(_base_128(each) for each in (40 * first + second, *rest)))


def _base_128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))


def integer(number: int) -> bytes:
    """A non-negative INTEGER."""
    return tlv(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def elements(data: bytes) -> Iterator[Element]:
    """The values that stand one after the other and make up all of `data`. Raises `Malformed`."""
    at = 0
    while at < len(data):
        each = first(data, at)
        at += len(each.whole)
        yield each


def one(data: bytes, tag: int | None = None) -> Element:
    """The one value that is all of `data`, and has this tag. Raises `Malformed`."""
    found = first(data)
    if len(found.whole) != len(data) or (tag is not None and found.tag != tag):
        raise Malformed("something else, or something more")
    return found


def first(data: bytes, at: int = 0) -> Element:
    """The value that begins at this offset, whatever follows it. Raises `Malformed`."""
    if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
        raise Malformed("too short, or a tag of several bytes")
    start, size = at + 2, data[at + 1]
    if size >= 0x80:
        start, size = _long(data, start, size & 0x7F)
    if start + size > len(data):
        raise Malformed("longer than what contains it")
    return Element(data[at], data[at:start + size], data[start:start + size])


def _long(data: bytes, at: int, count: int) -> tuple[int, int]:
    """X.690 10.1: the shortest form of a definite length."""
    size = int.from_bytes(data[at:at + count], "big")
    if not 1 <= count <= 4 or at + count > len(data) or size < 0x80 or size.bit_length() <= 8 * (count - 1):
        raise Malformed("a length that is not in its shortest form")
    return at + count, size


def number_of(element: Element) -> int:
    """What a non-negative INTEGER says. Raises `Malformed`."""
    content = element.content
    if element.tag != INTEGER or not content or content[0] >= 0x80 or (
        len(content) > 1 and content[0] == 0 and content[1] < 0x80
    ):
        raise Malformed("not a non-negative integer in its shortest form")
    return int.from_bytes(content, "big")
