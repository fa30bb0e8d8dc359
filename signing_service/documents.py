"""Content-addressed files: a document, a tail and a signed document are each stored once, under their SHA-256.

What the database names by digest is on disk before the row commits: written beside its place, fsynced, renamed,
the directory fsynced. If we die in between, a draft or an unnamed file is left, which a sweep removes. A stored
file is never written again (mode 0440). What is stored together is fsynced side by side: a disk that takes 5 ms for
one takes little more for fifty that are asked for at once.

A draft has no name that anybody else can find. What policy refuses is dropped as a draft, so that nothing of it
remains: no file, no digest.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from signing_service.errors import NotFound, Unavailable

CHUNK = 1 << 20
DIGEST = re.compile(r"[0-9a-f]{64}")
FILES = "[0-9a-f][0-9a-f]/**/*"  # below the root, and the folders among them
MODE = 0o440
SIDE_BY_SIDE = 8  # fsyncs at once: 50 files take 16 ms instead of 110


@dataclass(frozen=True)
class Stored:
    """A file that is durable under its digest. `size` in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Draft:
    """A complete file that has no name yet. It is durable when it was kept."""

    path: Path
    digest: str
    size: int


class Incoming(Protocol):
    """A file that somebody sends."""

    async def draft(self) -> Draft:
        """All of it, under no name. Whoever asks either keeps or drops it."""


class Arriving:
    """A draft while it comes in: hashed as it is written. Every method blocks on the disk."""

    def __init__(self, path: Path) -> None:
        self._path, self._digest, self._size = path, hashlib.sha256(), 0

    def write(self, pieces: Iterable[bytes]) -> None:
        """Append. Raises Unavailable (`storage`)."""
        with _storage(), self._path.open("ab") as file:
            for piece in pieces:
                self._digest.update(piece)
                self._size += len(piece)
                file.write(piece)

    def draft(self) -> Draft:
        """What was written, complete."""
        return Draft(self._path, self._digest.hexdigest(), self._size)

    @property
    def is_there(self) -> bool:
        """Not yet kept, and not dropped. This alone does not block."""
        return self._path.exists()

    def drop(self) -> None:
        with _storage():
            self._path.unlink(missing_ok=True)


class Documents:
    """The store below `root`. Every method blocks on the disk: call it in a thread, all but `draft_path`.

    Raises Unavailable (`storage`) when the disk is full or fails.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._drafts = root / "incoming"  # the same file system, so that a rename is atomic
        self._drafts.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._syncing = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="fsync")

    def store(self, source: BinaryIO | Path) -> Stored:
        """Make a stream's content, or a file below this root (which is moved), durable under its digest."""
        if isinstance(source, Path):
            return self.store_all([source])[0]
        draft = self.receive(source)
        try:
            return self.keep(draft)
        finally:
            self.drop(draft)

    def store_all(self, files: Sequence[Path]) -> list[Stored]:
        """Move files below this root under their digests, which are taken from what is there."""
        return self.keep_all([self.examine(each) for each in files])

    def examine(self, path: Path) -> Draft:
        """A file below this root that somebody else wrote, with its digest taken from what is there."""
        with _storage(), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Draft(path, digest, os.fstat(file.fileno()).st_size)

    def receive(self, source: BinaryIO) -> Draft:
        """A draft of the stream's content. Whoever asked for it either keeps or drops it."""
        arriving = self.arriving()
        try:
            with _storage():
                arriving.write(iter(lambda: source.read(CHUNK), b""))
            return arriving.draft()
        except BaseException:
            arriving.drop()
            raise

    def arriving(self) -> Arriving:
        """For content that comes piece by piece."""
        return Arriving(self.draft_path())

    def drop(self, draft: Draft) -> None:
        """Remove a draft that was not kept; nothing happens to one that was."""
        with _storage():
            draft.path.unlink(missing_ok=True)

    def draft_path(self, suffix: str = ".draft") -> Path:
        """A fresh path for somebody else (a pdf worker) to write to; hand the file to `store` or remove it."""
        return self._drafts / f"{secrets.token_hex(16)}{suffix}"

    def keep(self, draft: Draft) -> Stored:
        """Give a draft its name. A file that is already there stays; it only becomes young again for the sweep."""
        return self.keep_all([draft])[0]

    def keep_all(self, drafts: Sequence[Draft]) -> list[Stored]:
        """Give each its name, all of them durable when this returns; if we die before, any of them may have one."""
        with _storage():
            fresh = [draft for draft in drafts if not self.touch(draft.digest)]
            self._side_by_side(_sync_file, (draft.path for draft in fresh))
            changed = {folder for draft in fresh for folder in self._named(draft)}
            self._side_by_side(_sync_folder, changed)
            for draft in drafts:
                draft.path.unlink(missing_ok=True)
        return [Stored(draft.digest, draft.size) for draft in drafts]

    def _named(self, draft: Draft) -> list[Path]:
        """Move a durable draft to its place. The folders that have a new name in them."""
        target = self._place(draft.digest)
        made = [] if target.parent.is_dir() else [self.root]
        target.parent.mkdir(exist_ok=True, mode=0o750)
        draft.path.chmod(MODE)
        draft.path.replace(target)
        return [target.parent, *made]

    def _side_by_side(self, sync: Callable[[Path], None], paths: Iterable[Path]) -> None:
        """The first in this thread, the others beside it: to wait for a thread costs more than many an fsync."""
        waiting = list(paths)
        under_way = [self._syncing.submit(sync, path) for path in waiting[1:]]
        for path in waiting[:1]:
            sync(path)
        for done in under_way:
            done.result()

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
        for place in self.root.glob(FILES):
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
        """In one of 256 folders, which soon are all there: each that is new costs an fsync of the one above it. Version
        0.1 had 65,536; what it stored stays where it is.
        """
        if not DIGEST.fullmatch(digest):
            raise ValueError("not a SHA-256 digest in lower-case hexadecimal")
        place = self.root / digest[:2] / digest
        earlier = place.parent / digest[2:4] / digest
        return earlier if earlier.is_file() else place


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
