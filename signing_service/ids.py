"""Identifiers: UUID version 7 (RFC 9562 5.7) with a prefix that says what they name, and the matching code."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
import uuid
from collections.abc import Iterable


def draw(prefix: str) -> str:
    """A fresh id such as `sr_0193…`: ordered by when it was drawn, 62 bits of it random."""
    return f"{prefix}_{_drawn():032x}"


class _Ticks:
    """Milliseconds with a 12-bit counter (RFC 9562 6.2, method 1): rises with every call in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1_000_000 << 12)
            return self._last


_ticks = _Ticks()


def uuid7() -> uuid.UUID:
    """One process draws them in rising order, so that entries of one transaction are sequenced as written."""
    return uuid.UUID(int=_drawn())


def _drawn() -> int:
    tick = _ticks.next()
    time_and_version = (tick >> 12 & (1 << 48) - 1) << 16 | 0x7 << 12 | tick & 0xFFF
    return time_and_version << 64 | 0b10 << 62 | secrets.randbits(62)


def matching_code(lines: Iterable[tuple[str, str]]) -> str:
    """Six digits that both screens show, from (signing request id, document digest) pairs in any order.

    The ids are drawn by us after submission, so a client cannot search for two documents with one code.
    """
    text = "\n".join(f"{request_id} {digest}" for request_id, digest in sorted(lines))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 1_000_000
    return f"{number:06d}"
