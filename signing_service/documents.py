"""Content-addressed files: a document, a tail and a signed document are each stored once, under their SHA-256.

What the database names by digest is on disk before the row commits: written beside its place, fsynced, renamed,
the directory fsynced. If we die in between, a draft or an unnamed file is left, which a sweep removes. A stored
file is never written again (mode 0440).

A draft has no name that anybody else can find. What policy refuses is dropped as a draft, so that nothing of it
remains: no file, no digest.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from signing_service.errors import NotFound, Unavailable

CHUNK = 1 << 20
DIGEST = re.compile(r"[0-9a-f]{64}")
MODE = 0o440


@dataclass(frozen=True)
class Stored:
    """A file that is durable under its digest. `size` in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Draft:
    """A complete file that is durable but has no name yet."""

    path: Path
    digest: str
    size: int


class Documents:
    """The store below `root`. Every method blocks on the disk: call it in a thread.

    Raises Unavailable (`storage`) when the disk is full or fails.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._drafts = root / "incoming"  # the same file system, so that a rename is atomic
        self._drafts.mkdir(parents=True, exist_ok=True, mode=0o750)

    def store(self, source: BinaryIO | Path) -> Stored:
        """Make a stream's content, or a file below this root (which is moved), durable under its digest."""
        if isinstance(source, Path):
            return self.keep(self._examined(source))
        draft = self.receive(source)
        try:
            return self.keep(draft)
        finally:
            self.drop(draft)

    def receive(self, source: BinaryIO) -> Draft:
        """A draft of the stream's content. Whoever asked for it either keeps or drops it."""
        path = self.draft_path()
        try:
            with _storage():
                return _copied(source, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def drop(self, draft: Draft) -> None:
        """Remove a draft that was not kept; nothing happens to one that was."""
        with _storage():
            draft.path.unlink(missing_ok=True)

    def draft_path(self, suffix: str = ".draft") -> Path:
        """A fresh path for somebody else (a pdf worker) to write to; hand the file to `store` or remove it."""
        handle, name = tempfile.mkstemp(suffix=suffix, dir=self._drafts)
        os.close(handle)
        path = Path(name)
        path.unlink()  # pdf workers insist on making their file themselves
        return path

    def keep(self, draft: Draft) -> Stored:
        """Give a draft its name. A file that is already there stays; it only becomes young again for the sweep."""
        target = self._place(draft.digest)
        with _storage():
            if not self.touch(draft.digest):
                _make_folder(target.parent, self.root)
                draft.path.chmod(MODE)
                draft.path.replace(target)
                _sync_folder(target.parent)
        draft.path.unlink(missing_ok=True)
        return Stored(draft.digest, draft.size)

    def touch(self, digest: str) -> bool:
        """Make a stored file young, so that a sweep that looks at ages leaves it; False if it is not there."""
        try:
            os.utime(self._place(digest))
        except FileNotFoundError:
            return False
        return True

    def path(self, digest: str) -> Path:
        """Where the file with this digest is. NotFound when it is not stored, or was swept."""
        place = self._place(digest)
        if not place.is_file():
            raise NotFound("The file is no longer kept.", code="file-gone")
        return place

    def exists(self, digest: str) -> bool:
        return self._place(digest).is_file()

    def remove(self, digest: str) -> None:
        """Remove the file; no error when it is not there. Callers know that no row needs it any more."""
        place = self._place(digest)
        with _storage():
            place.unlink(missing_ok=True)
            if place.parent.is_dir():
                _sync_folder(place.parent)

    def stored(self) -> Iterator[tuple[str, float]]:
        """Every stored file: digest and age in seconds (for the sweep)."""
        now = time.time()
        for place in self.root.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*"):
            if DIGEST.fullmatch(place.name):
                yield place.name, now - place.stat().st_mtime

    def drop_drafts(self, older_than: float) -> int:
        """Remove drafts that nobody can be working on any more; `older_than` in seconds. Returns how many."""
        border = time.time() - older_than
        old = [draft for draft in self._drafts.iterdir() if draft.stat().st_mtime < border]
        for draft in old:
            draft.unlink(missing_ok=True)
        return len(old)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    def _place(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise ValueError("not a SHA-256 digest in lower-case hexadecimal")
        return self.root / digest[:2] / digest[2:4] / digest

    def _examined(self, path: Path) -> Draft:
        with _storage(), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            return Draft(path, digest, os.fstat(file.fileno()).st_size)


def _copied(source: BinaryIO, path: Path) -> Draft:
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return Draft(path, digest.hexdigest(), size)


def _make_folder(folder: Path, root: Path) -> None:
    """Make it and fsync each parent that got a new name."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    _sync_folder(folder.parent)
    _sync_folder(root)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable("The document storage does not take the file. Try again shortly.", code="storage") from error
