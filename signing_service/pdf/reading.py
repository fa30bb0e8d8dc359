"""Open a document for reading: the cheap refusals first, then pyHanko's reader under its decoding limits.

Reading is lenient (`strict=False`): word processors write hybrid cross-references and small mistakes every day,
and what is signed are bytes, not an interpretation. Whatever the reader made of them is checked again on the
result.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.decode_limits import DecodeLimits, DocumentDecodeBudget, StreamDecodeLimits
from pyhanko.pdf_utils.misc import PdfDecodeLimitError, PdfError
from pyhanko.pdf_utils.reader import PdfFileReader

from signing_service.pdf import ascii85, hexadecimal, objects, tables
from signing_service.pdf.work import Refused

for _quick in (ascii85, hexadecimal, objects, tables):
    _quick.install()

_MIB: Final = 1 << 20
_CHUNK: Final = 1 << 20
_IN_MEMORY: Final = 8 * _MIB    # read at once, up to this size: pyHanko goes to and fro in a file, byte by byte
_END_WINDOW: Final = 2048  # readers look for %%EOF in the last kilobyte; a little more tells "truncated" apart

# A worker has a gigabyte: one stream may become 64 MiB, all that is decoded for one job 256 MiB.
DECODING: Final = DecodeLimits(
    per_stream=StreamDecodeLimits(max_output_size=64 * _MIB),
    document_budget=DocumentDecodeBudget(base_allowance=256 * _MIB, max_ratio=1),
)


class Joined(io.RawIOBase):
    """A document and its tail as one file, without copying either: hundreds of megabytes stay where they are."""

    def __init__(self, document: BinaryIO, tail: bytes) -> None:
        super().__init__()
        self._document = document
        self._tail = tail
        self._border = document.seek(0, os.SEEK_END)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = (0, self._at, self._border + len(self._tail))[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # the buffer protocol
        wanted = len(buffer)
        if self._at < self._border:
            self._document.seek(self._at)
            piece = self._document.read(min(wanted, self._border - self._at))
        else:
            piece = self._tail[self._at - self._border:][:wanted]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def joined(document: BinaryIO, tail: bytes) -> io.BufferedReader:
    """A buffered view of document + tail that starts at its beginning."""
    return io.BufferedReader(Joined(document, tail))


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A document to read, in memory unless it is large."""
    with path.open("rb") as file:
        small = os.fstat(file.fileno()).st_size <= _IN_MEMORY
        yield io.BytesIO(file.read()) if small else file


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what pyHanko raises about a document into a refusal."""
    try:
        yield
    except PdfDecodeLimitError as error:
        raise Refused("document-too-costly", "The document unpacks to far more than its size.") from error
    except RecursionError as error:
        raise Refused("broken", "The document's structure runs in a circle or too deep.") from error
    except PdfError as error:
        raise Refused("broken", f"The document's structure is broken: {error}") from error


def reader_of(stream: BinaryIO | io.BufferedReader) -> PdfFileReader:
    """A reader over a stream that is a whole, unencrypted PDF, or a refusal that names the remedy."""
    _check_frame(stream)
    with refusing():
        reader = PdfFileReader(stream, strict=False, decode_limits=DECODING)
        if "/Encrypt" in reader.trailer:
            raise Refused(
                "encrypted", "The document is encrypted. Save it without a password or protection and submit it again."
            )
        return reader


def _check_frame(stream: BinaryIO | io.BufferedReader) -> None:
    stream.seek(0)
    if not stream.read(8).startswith(b"%PDF-"):
        raise Refused("not-a-pdf", "The file does not begin like a PDF (%PDF-).")
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _END_WINDOW))
    end = stream.read(_END_WINDOW)
    if b"%%EOF" not in end or b"startxref" not in end:
        raise Refused("truncated", "The document ends too early (no %%EOF): it was cut off on its way here.")
    digits = end.rpartition(b"startxref")[2].split()
    if not digits or not digits[0].isdigit() or len(digits[0]) > 12 or int(digits[0]) >= size:
        raise Refused("truncated", "The document's table of contents (startxref) lies outside the file.")


def resolved(thing: object) -> object:
    """What a reference points at, however many references away; anything else is itself. Null is None."""
    if isinstance(thing, generic.IndirectObject):
        thing = thing.get_object()  # type: ignore[no-untyped-call]  # pyHanko leaves it untyped
    return None if isinstance(thing, generic.NullObject) else thing


def entry(owner: generic.DictionaryObject | None, key: str) -> object:
    """The value behind a key, or None. (pyHanko's `get` is dict's own and gives back the bare reference.)"""
    return None if owner is None else resolved(dict.get(owner, key))


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def feed(source: BinaryIO, *sinks: hashlib._Hash) -> int:
    """Read `source` from its beginning into every digest at once; returns its size."""
    source.seek(0)
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        for sink in sinks:
            sink.update(chunk)
    return size
