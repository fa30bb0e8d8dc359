"""The place for the signature in a tail: found, checked against /ByteRange, hashed around, filled.

A tail is stored under its digest, so it is what we once wrote; still nothing here believes it. There is exactly
one run of zeros long enough to be the place, and /ByteRange must name exactly everything around it
(ISO 32000-2 12.8.1).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import BinaryIO, Final

from hsm.algorithms import Digest
from signing_service.pdf.reading import feed
from signing_service.pdf.work import Refused

# The smallest container, without a chain, is over a kilobyte; no text of ours is that long a run of zeros.
_PLACE: Final = re.compile(rb"/Contents ?(<0{1024,}>)")


@dataclass(frozen=True)
class Place:
    """Offsets in the tail, including the angle brackets; `border` is the size of the document before it."""

    border: int
    start: int
    end: int

    @property
    def room(self) -> int:
        """Bytes of DER that fit."""
        return (self.end - self.start - 2) // 2


@dataclass(frozen=True)
class Digests:
    """Three digests of one pass: the document, the tail (hexadecimal SHA-256), and all that is signed."""

    document: str
    tail: str
    message: bytes


def place_in(tail: bytes, border: int) -> Place:
    """The one place in this tail of a document of `border` bytes; `Refused` if it is not exactly there."""
    found = list(_PLACE.finditer(tail))
    if len(found) != 1:
        raise Refused("wrong-tail", "The tail has no place for a signature, or several.")
    place = Place(border, *found[0].span(1))
    around = (border + place.start, border + place.end, len(tail) - place.end)
    if b"/ByteRange [0 %d %d %d]" % around not in tail:
        raise Refused("wrong-tail", "The tail does not belong to this document.")
    return place


def digests(document: BinaryIO, tail: bytes, place: Place, digest: Digest) -> Digests:
    """Hash the document once for both purposes, then the tail around its place."""
    whole = hashlib.sha256()
    message = hashlib.new(digest.value)
    feed(document, whole, *([] if digest is Digest.SHA256 else [message]))
    if digest is Digest.SHA256:
        message = whole  # the same bytes under the same function: no second pass over a large file
    signed = message_digest(message, tail, place)
    return Digests(whole.hexdigest(), hashlib.sha256(tail).hexdigest(), signed)


def message_digest(prefix: hashlib._Hash, tail: bytes, place: Place) -> bytes:
    """The digest of all that is signed. `prefix`: that of the document so far, which is left as it was."""
    message = prefix.copy()
    message.update(tail[: place.start])
    message.update(tail[place.end :])
    return message.digest()


def filled(tail: bytes, place: Place, container: bytes) -> bytes:
    """The tail with the container in its place, padded with zeros. Raises `Refused` when it does not fit."""
    if len(container) > place.room:
        raise Refused(
            "place-too-small", f"The signature needs {len(container)} bytes and {place.room} were kept for it."
        )
    content = container.hex().encode().ljust(place.end - place.start - 2, b"0")
    return tail[: place.start + 1] + content + tail[place.end - 1 :]
