"""Files under their digests."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest

from signing_service.documents import Documents
from signing_service.errors import NotFound, Unavailable

CONTENT = b"%PDF-1.7 a document"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    return Documents(tmp_path / "documents")


def files(documents: Documents) -> list[Path]:
    return sorted(path for path in documents.root.rglob("*") if path.is_file())


def test_a_stream_is_stored_under_its_digest_and_can_only_be_read(documents: Documents) -> None:
    stored = documents.store(io.BytesIO(CONTENT))
    assert (stored.digest, stored.size) == (DIGEST, len(CONTENT))
    place = documents.path(DIGEST)
    assert place == documents.root / DIGEST[:2] / DIGEST
    assert place.read_bytes() == CONTENT
    assert place.stat().st_mode & 0o777 == 0o440
    assert files(documents) == [place]


def test_a_file_that_a_worker_wrote_is_moved_to_its_place(documents: Documents) -> None:
    path = documents.draft_path(".tail")
    assert not path.exists()
    path.write_bytes(CONTENT)
    assert documents.store(path).digest == DIGEST
    assert files(documents) == [documents.path(DIGEST)]


def test_storing_the_same_bytes_again_keeps_the_one_file(documents: Documents) -> None:
    documents.store(io.BytesIO(CONTENT))
    before = documents.path(DIGEST).stat().st_ino
    documents.store(io.BytesIO(CONTENT))
    assert documents.path(DIGEST).stat().st_ino == before
    assert len(files(documents)) == 1


def test_storing_the_same_bytes_again_makes_the_file_young_for_the_sweep(documents: Documents) -> None:
    documents.store(io.BytesIO(CONTENT))
    os.utime(documents.path(DIGEST), (1, 1))
    documents.store(io.BytesIO(CONTENT))
    ((digest, age),) = documents.stored()
    assert digest == DIGEST
    assert age < 3600


def test_a_file_where_version_0_1_put_it_is_the_one_that_is_found_kept_and_removed(documents: Documents) -> None:
    earlier = documents.root / DIGEST[:2] / DIGEST[2:4] / DIGEST
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(CONTENT)
    os.utime(earlier, (1, 1))
    assert documents.path(DIGEST) == earlier
    assert [digest for digest, _ in documents.stored()] == [DIGEST]
    documents.store(io.BytesIO(CONTENT))
    assert files(documents) == [earlier]
    ((_, age),) = documents.stored()
    assert age < 3600
    documents.remove(DIGEST)
    assert files(documents) == []


def test_a_draft_has_no_name_until_it_is_kept_and_leaves_nothing_when_it_is_dropped(documents: Documents) -> None:
    draft = documents.receive(io.BytesIO(CONTENT))
    assert not documents.exists(DIGEST)
    assert DIGEST not in str(draft.path)
    documents.drop(draft)
    assert files(documents) == []
    documents.drop(draft)


def test_dropping_a_draft_that_was_kept_does_not_touch_the_file(documents: Documents) -> None:
    draft = documents.receive(io.BytesIO(CONTENT))
    documents.keep(draft)
    documents.drop(draft)
    assert documents.path(DIGEST).read_bytes() == CONTENT


def test_what_was_removed_is_not_found_and_removing_it_again_is_no_error(documents: Documents) -> None:
    documents.store(io.BytesIO(CONTENT))
    documents.remove(DIGEST)
    documents.remove(DIGEST)
    assert not documents.exists(DIGEST)
    with pytest.raises(NotFound):
        documents.path(DIGEST)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, f"{'0' * 64}\n"])
def test_what_is_no_digest_is_never_a_path(documents: Documents, digest: str) -> None:
    for verb in (documents.path, documents.exists, documents.remove):
        with pytest.raises(ValueError, match="not a SHA-256 digest"):
            verb(digest)


def test_a_stream_that_breaks_off_leaves_nothing(documents: Documents) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionError("gone")

    with pytest.raises(Unavailable):
        documents.store(Breaking())
    assert files(documents) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_unavailable_and_leaves_no_named_file(
    documents: Documents, monkeypatch: pytest.MonkeyPatch, step: str,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, full)
    with pytest.raises(Unavailable) as refused:
        documents.store(io.BytesIO(CONTENT))
    assert refused.value.code == "storage"
    assert files(documents) == []


def test_the_file_is_on_disk_before_it_has_its_name_and_its_name_before_store_returns(
    documents: Documents, monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{handle}"))
        steps.append("fsync folder" if target.is_dir() else "fsync file")
        fsync(handle)

    def watched_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    documents.store(io.BytesIO(b"another in the same folders? no: this only warms up"))
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    documents.store(io.BytesIO(CONTENT))
    assert steps[:2] == ["fsync file", "rename"]
    assert steps[2:] == ["fsync folder"] * 2  # its own, and the one in which that was made
    steps.clear()
    documents.remove(DIGEST)
    documents.store(io.BytesIO(CONTENT))
    assert steps == ["fsync folder", "fsync file", "rename", "fsync folder"]  # its folder is there


def test_files_that_are_stored_together_are_all_on_disk_before_one_has_its_name(
    documents: Documents, monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle: int) -> None:
        fsync(handle)
        steps.append("folder" if Path(os.readlink(f"/proc/self/fd/{handle}")).is_dir() else "file")

    def watched_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    paths = [documents.draft_path(".tail") for _ in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % (number % 10))  # two of each
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    stored = documents.store_all(paths)
    assert [each.digest for each in stored] == [hashlib.sha256(b"%d" % (n % 10)).hexdigest() for n in range(20)]
    assert steps[:40] == ["file"] * 20 + ["rename"] * 20
    assert set(steps[40:]) == {"folder"}
    assert steps.count("folder") == 11  # ten that files are in, and the root once
    assert len(files(documents)) == 10


def test_old_drafts_are_dropped_and_young_ones_stay(documents: Documents) -> None:
    old, young = (documents.receive(io.BytesIO(CONTENT)) for _ in range(2))
    os.utime(old.path, (1, 1))
    assert documents.drop_drafts(older_than=3600) == 1
    assert files(documents) == [young.path]
