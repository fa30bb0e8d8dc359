"""Mutations of DER that keep it DER: a tree of elements is taken apart, changed somewhere and put together again.

Lengths are made to fit, so that a change deep inside is met where it is and not refused at the door.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.fuzz.havoc import havoc

DEEPEST: Final = 24
TAGS: Final = (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0C, 0x13, 0x16, 0x17, 0x18, 0x1E, 0x30, 0x31, 0x80, 0x81,
               0x82, 0xA0, 0xA1, 0xA2, 0xA3, 0x24, 0x3F)
VALUES: Final = (  # contents that sit on an edge
    b"", b"\x00", b"\xff", b"\x80", b"\x7f" * 40, b"\x00" * 20, b"19700101000000Z", b"99991231235959Z",
    b"000000000000Z",
    b"20261131250000Z", b"20260101000000.999999Z", b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", b"\x55\x04\x03",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x01", b"\x80" * 12, b"\x2a" + b"\xff" * 30 + b"\x7f", b"\xd8\x00", b"\xc3\x28",
    b"\x07\xff", b"\x09\xff",
)
_PEM: Final = re.compile(rb"(-----BEGIN [A-Z0-9 ]+-----)(.*?)(-----END [A-Z0-9 ]+-----)", re.DOTALL)


@dataclass
class Element:
    """One element: its tag, and either its content or the elements within."""

    tag: int
    content: bytes = b""
    within: list[Element] | None = None


def parsed(data: bytes, depth: int = 0) -> list[Element] | None:
    """The elements one after the other, or None where this is not DER from end to end."""
    found, at = [], 0
    while at < len(data):
        head = _head(data, at)
        if head is None or head[1] > len(data):
            return None
        begin, end = head
        found.append(_element(data[at], data[begin:end], depth))
        at = end
    return found


def _head(data: bytes, at: int) -> tuple[int, int] | None:
    if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
        return None
    length, begin = data[at + 1], at + 2
    if length >= 0x80:
        more = length & 0x7F
        if not 1 <= more <= 4:
            return None
        length, begin = int.from_bytes(data[begin: begin + more], "big"), begin + more
    return begin, begin + length


def _element(tag: int, content: bytes, depth: int) -> Element:
    """What is constructed has elements within; so have octet and bit strings that happen to hold DER."""
    inner = content[1:] if tag == 0x03 else content
    may_hold = tag & 0x20 or (tag in (0x03, 0x04) and inner[:1] in (b"\x30", b"\x31"))
    within = parsed(inner, depth + 1) if may_hold and depth < DEEPEST and content else None
    return Element(tag, content, within or None)


def written(elements: list[Element]) -> bytes:
    return b"".join(_written(each) for each in elements)


def _written(element: Element) -> bytes:
    content = element.content
    if element.within is not None:
        content = (b"\0" if element.tag == 0x03 else b"") + written(element.within)
    return bytes([element.tag]) + _length(len(content)) + content


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(digits)]) + digits


def mutate(data: bytes, rng: Random) -> bytes:
    """One to four changes somewhere in the tree; bytes that are no DER, and one in ten that are, are only shaken."""
    tree = parsed(data)
    if not tree or rng.random() < 0.1:
        return havoc(data, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _change(tree, rng)
    return written(tree)


def mutate_pem(data: bytes, rng: Random) -> bytes:
    """The same for one of the PEM blocks in a text, or for DER as it stands."""
    blocks = list(_PEM.finditer(data))
    if not blocks or rng.random() < 0.1:
        return mutate(data, rng) if not blocks else havoc(data, rng)
    block = rng.choice(blocks)
    try:
        der = base64.b64decode(block[2])
    except ValueError:
        return havoc(data, rng)
    changed = b"\n" + base64.encodebytes(mutate(der, rng))
    if rng.random() < 0.1:  # twice, or alone
        return data + block[1] + changed + block[3] + b"\n"
    return data[: block.start()] + block[1] + changed + block[3] + data[block.end():]


def _lists(tree: list[Element]) -> list[list[Element]]:
    """Every list of siblings that has somebody in it."""
    found, waiting = [], [tree]
    while waiting:
        siblings = waiting.pop()
        if siblings:
            found.append(siblings)
        waiting += [each.within for each in siblings if each.within]
    return found


def _change(tree: list[Element], rng: Random) -> None:
    every = _lists(tree)
    if not every:
        return
    siblings = rng.choice(every)
    at = rng.randrange(len(siblings))
    element = siblings[at]
    if element.within and rng.random() < 0.5:
        siblings = element.within
        at = rng.randrange(len(siblings))
        element = siblings[at]
    match rng.randrange(10):
        case 0:
            element.tag = rng.choice(TAGS)
        case 1:
            siblings.insert(at, element)
        case 2:
            del siblings[at]
        case 3:
            siblings[at] = _copy(rng.choice(rng.choice(every)))  # from elsewhere in the tree
        case 4:
            siblings[at] = Element(rng.choice(TAGS), b"", [element])
        case 5:
            siblings.reverse()
        case 6:
            element.content, element.within = rng.choice(VALUES), None
        case _:
            element.content, element.within = havoc(_content(element), rng), None


def _copy(element: Element) -> Element:
    """What is put into itself would never end."""
    return Element(element.tag, _content(element))


def _content(element: Element) -> bytes:
    return element.content if element.within is None else written(element.within)
