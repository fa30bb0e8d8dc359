"""Hexadecimal strings in one piece. With `objects`, `tables` and `ascii85` all that is changed of pyHanko.

It reads a hexadecimal string digit by digit, a microsecond or two each. The place for a signature with a timestamp
has twenty thousand digits, so every look at a signed document cost 20 ms for them alone, and a string of millions
(a bomb) seconds. The same language is accepted, but for comments inside the string, which PDF does not have
(ISO 32000-2 7.3.4.3).
"""

from __future__ import annotations

import binascii
import io
from typing import BinaryIO, Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.misc import PdfStreamError

_WHITESPACE: Final = b" \t\n\r\f\0"
_PIECE: Final = 4096


def read_hexadecimal(stream: BinaryIO) -> generic.TextStringObject | generic.ByteStringObject:
    """The string that begins with the `<` under the stream's cursor, which is left behind the `>`."""
    stream.read(1)
    digits = b"".join(_pieces(stream)).translate(None, _WHITESPACE)
    try:
        content = binascii.unhexlify(digits + b"0" * (len(digits) % 2))
    except binascii.Error as error:
        raise PdfStreamError("Unexpected token in hex string") from error
    return generic.pdf_string(content)


def _pieces(stream: BinaryIO) -> list[bytes]:
    found: list[bytes] = []
    while piece := stream.read(_PIECE):
        end = piece.find(b">")
        if end >= 0:
            stream.seek(end + 1 - len(piece), io.SEEK_CUR)
            return [*found, piece[:end]]
        found.append(piece)
    raise PdfStreamError("Stream ended prematurely")


def install() -> None:
    """Have pyHanko read hexadecimal strings this way, in this process."""
    generic.read_hex_string_from_stream = read_hexadecimal
