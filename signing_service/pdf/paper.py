"""A document, open and hashed by us: what a drawing worker is handed, and what its answers are held against.

A worker may have been taken over by the document it draws. So the digest that proves what was drawn is taken here,
from the very file that the worker gets as a descriptor, and once for each state of it: a file that was touched,
written or replaced has another time or number, and is read again.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REMEMBERED: Final = 1_000  # files whose digest is known, of some 200 bytes each

_State = tuple[str, int, int, int, int, int]


@dataclass(frozen=True)
class Paper:
    """`descriptor` is open for reading; `digest` is the SHA-256 of what was read through it."""

    descriptor: int
    digest: str


class Papers:
    """Opens documents, and remembers digests. Every method blocks on the disk: call it in a thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[_State, str] = OrderedDict()

    def open(self, path: Path) -> Paper:
        """The document; whoever asked closes the descriptor. OSError when it is away or is no file."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hold us up
        try:
            return Paper(descriptor, self._digest(descriptor, path))
        except BaseException:
            os.close(descriptor)
            raise

    def _digest(self, descriptor: int, path: Path) -> str:
        before = _state(descriptor, path)
        known = self._known.get(before)
        if known is None:
            with open(descriptor, "rb", closefd=False) as file:
                known = hashlib.file_digest(file, "sha256").hexdigest()
            if _state(descriptor, path) == before:  # else somebody writes to it: nothing to remember
                self._remember(before, known)
        return known

    def _remember(self, state: _State, digest: str) -> None:
        self._known[state] = digest
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _state(descriptor: int, path: Path) -> _State:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(f"{path} is not a file")
    return str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@contextmanager
def closing(paper: Paper) -> Iterator[Paper]:
    try:
        yield paper
    finally:
        os.close(paper.descriptor)
