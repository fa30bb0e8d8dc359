"""ASCII85 (ISO 32000-2 7.4.3) in large pieces: pyHanko decodes five digits at a time, at two microseconds.

Many writers wrap each page's content in it. Four thousand groups become one long number here, with eight bytes of it
for each: what is multiplied and added then is all of them at once. What is not certainly right is left to pyHanko,
which says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pyhanko.pdf_utils import filters

_WHITESPACE: Final = b" \t\n\r\f\v"
_DIGITS: Final = bytes(range(0x21, 0x21 + 85))
_PIECE: Final = 5 << 12     # digits at once: memory for a few of them, however long the stream
_ZEROS: Final = b"\0\0\0\0"     # which are written as one z, between groups

_VALUES: Final = bytes(max(0, each - 0x21) for each in range(256))
_stock: Final[Callable[..., bytes]] = filters.ASCII85Decode.decode   # as it comes, before `install`


class Unusual(Exception):
    """For pyHanko to decode, or to refuse."""


def decoded(data: bytes) -> bytes:
    """What stands before the first `~>`. Raises `Unusual`."""
    body, end, _ = data.partition(b"~>")
    if not end:
        raise Unusual
    *whole, last = body.translate(None, _WHITESPACE).split(b"z")
    if any(len(each) % 5 for each in whole):
        raise Unusual
    return _ZEROS.join([*map(_groups, whole), _with_rest(last)])


def _with_rest(digits: bytes) -> bytes:
    """The last group may have two to four digits (and one byte less than digits)."""
    border = len(digits) - len(digits) % 5
    rest = digits[border:]
    if not rest:
        return _groups(digits)
    if len(rest) == 1:
        raise Unusual
    value = _groups(rest + b"!" * (5 - len(rest)), 85 ** (5 - len(rest)))
    return _groups(digits[:border]) + value[: len(rest) - 1]


def _groups(digits: bytes, more: int = 0) -> bytes:
    """Whole groups; `more` is added to the only one."""
    if digits.translate(None, _DIGITS):
        raise Unusual
    return b"".join(_piece(digits[at : at + _PIECE], more) for at in range(0, len(digits), _PIECE))


def _piece(digits: bytes, more: int) -> bytes:
    size = len(digits) // 5
    numbers = more
    for place in range(5):
        lane = bytearray(8 * size)
        lane[7::8] = digits[place::5].translate(_VALUES)
        numbers += int.from_bytes(lane, "big") * 85 ** (4 - place)
    found = numbers.to_bytes(8 * size, "big")
    if any(found[3::8]):    # five digits can say more than four bytes
        raise Unusual
    content = bytearray(4 * size)
    for place in range(4):
        content[place::4] = found[4 + place :: 8]
    return bytes(content)


def decode(self: filters.ASCII85Decode, data: bytes, decode_params: object = None) -> bytes:
    """A stream's content, as pyHanko decodes it."""
    try:
        return decoded(data)
    except Unusual:
        return _stock(self, data, decode_params)


def install() -> None:
    """Have pyHanko decode this way, in this process."""
    filters.ASCII85Decode.decode = decode   # type: ignore[method-assign]  # which is what this is about
