"""Where a file comes from: what the log knows of it and of every revision in it, and what its signatures are worth."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sqlalchemy import select

from signing_service.db.engine import Database
from signing_service.db.tables import entry
from signing_service.errors import Invalid
from signing_service.filters import about
from signing_service.inspection import LONGEST_PAGE, Entry, Known, note_reading, scope
from signing_service.pdf import Judgement, JudgeOrder

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

MOST_REVISIONS = 100   # as many as a document may have (pdf.Limits)
PIECE = 1 << 20
END_MARK = b"%%EOF"


@dataclass(frozen=True)
class FoundDocument:
    """What is known of a file. `digests`: of its revisions, the whole file last. `problem`: why nothing was judged."""

    digests: tuple[str, ...]
    entries: tuple[Entry, ...]
    judgements: tuple[Judgement, ...]
    problem: str | None


async def find_document(
    rt: Runtime, reader: Known, file: Path, roots: tuple[bytes, ...], client_id: str,
) -> FoundDocument:
    """What the log knows of a file that somebody holds, and what its signatures are worth against `roots` (DER).

    The file itself and every earlier revision in it are looked up: a signed document begins with the submitted one.
    """
    digests = await asyncio.to_thread(revision_digests, file)
    asked = {"sha256": digests[-1], "revisions": len(digests)}
    await rt.db.run(note_reading, rt.db, reader, rt.clock(), "document", asked)
    entries = await rt.db.run(about_digests, rt.db, reader, digests)
    try:
        judged = await rt.pool.judge(JudgeOrder(file, roots, rt.clock()), client_id)
        return FoundDocument(digests, entries, judged, None)
    except Invalid as error:  # no PDF any more, perhaps: what the log says of its bytes is still worth knowing
        return FoundDocument(digests, entries, (), error.message)


def known_digests(entries: Sequence[Entry]) -> frozenset[str]:
    """The digests of documents that these entries speak of, as submitted and as signed."""
    said = [(each.body.get("document_digest"), each.body.get("data")) for each in entries]
    found = {digest for digest, _ in said} | {data.get("signed_digest") for _, data in said if isinstance(data, dict)}
    return frozenset(each for each in found if isinstance(each, str))


def revision_digests(file: Path) -> tuple[str, ...]:
    """SHA-256 of every beginning of the file that ends where a revision ends (%%EOF), and of the whole file, last."""
    whole = hashlib.sha256()
    with file.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        ends = sorted({end for end in _revision_ends(source, size) if end < size})[-MOST_REVISIONS:]
        source.seek(0)
        found, at = [], 0
        for end in [*ends, size]:
            while at < end:
                piece = source.read(min(PIECE, end - at))
                if not piece:
                    raise Invalid("The file changed while it was read.", code="file-changed")
                whole.update(piece)
                at += len(piece)
            found.append(whole.hexdigest())
    return tuple(dict.fromkeys(found))


def _revision_ends(source: BinaryIO, size: int) -> Iterator[int]:
    """Writers end a revision with or without a line's end behind its %%EOF, so each of these is tried."""
    if not size:
        return
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as view:
        at = view.rfind(END_MARK)
        for _ in range(MOST_REVISIONS):
            if at < 0:
                return
            end = at + len(END_MARK)
            yield end
            yield from (end + len(ending) for ending in (b"\r", b"\n", b"\r\n") if view[end:end + 2].startswith(ending))
            at = view.rfind(END_MARK, 0, at)


def about_digests(db: Database, reader: Known, digests: Sequence[str]) -> tuple[Entry, ...]:
    """Entries about any of these documents, submitted or signed. The caller has put the reading on record."""
    with db.read() as tx:
        rows = tx.execute(
            select(entry).where(about(tx, digests).holds(entry.c), scope(reader)).order_by(entry.c.id)
            .limit(LONGEST_PAGE)).all()
    return tuple(map(Entry.of_row, rows))
