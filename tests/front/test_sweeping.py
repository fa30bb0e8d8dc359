"""What is swept away, how long documents are kept, and what a sweep must never take."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from signing_service.db.tables import access_token, document, idempotency, outbox
from signing_service.front import sweeping
from tests.support.hall import Hall, tell

DAY = timedelta(days=1)


def kept(it: Hall, content: bytes, *, hours: float = 2) -> str:
    """A stored file of this age."""
    draft = it.rt.documents.draft_path()
    draft.write_bytes(content)
    stored = it.rt.documents.store(draft)
    path = it.rt.documents.path(stored.digest)
    moment = path.stat().st_mtime - hours * 3600
    os.utime(path, (moment, moment))
    return stored.digest


def test_a_file_without_a_row_goes_after_an_hour(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        old, young = kept(it, b"old"), kept(it, b"young", hours=0.5)
        assert sweeping.sweep_documents(it.rt, it.clock()) == 1
        assert (it.rt.documents.exists(old), it.rt.documents.exists(young)) == (False, True)

    tell(tmp_path, story)


RETENTION = {
    "an open request keeps its documents": ("pending", None, True),
    "finishing, for years": ("finishing", None, True),
    "refused yesterday": ("refused", 1, True),
    "refused 29 days ago": ("refused", 29, True),
    "refused 31 days ago": ("refused", 31, False),
    "expired 31 days ago": ("expired", 31, False),
    "failed 31 days ago": ("failed", 31, False),
    "signed 31 days ago": ("signed", 31, True),
    "signed 89 days ago": ("signed", 89, True),
    "signed 91 days ago": ("signed", 91, False),
}


@pytest.mark.parametrize(("state", "days", "stays"), RETENTION.values(), ids=RETENTION.keys())
def test_how_long_documents_are_kept(tmp_path: Path, state: str, days: int | None, stays: bool) -> None:
    async def story(it: Hall) -> None:
        digests = [kept(it, content) for content in (b"document", b"tail", b"signed")]
        ended = None if days is None else it.clock() - days * DAY
        await it.submitted(state=state, ended_at=ended, document_digest=digests[0], tail_digest=digests[1],
                        signed_digest=digests[2])
        with it.rt.db.write() as tx:
            tx.execute(insert(document).values(digest=digests[0], size=8, created_at=it.clock()))
        await sweeping.sweep(it.rt)
        assert [it.rt.documents.exists(each) for each in digests] == [stays] * 3
        with it.rt.db.read() as tx:
            swept = tx.execute(select(document.c.swept_at)).scalar_one()
        assert swept == (None if stays else it.clock())  # a tombstone stays

    tell(tmp_path, story)


def test_a_document_that_another_request_needs_stays(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        digest = kept(it, b"document")
        official = await it.official()
        for state, ended in (("signed", it.clock() - 400 * DAY), ("pending", None)):
            await asyncio.to_thread(lambda state=state, ended=ended: it.city.submitted(
                official, state=state, ended_at=ended, document_digest=digest))
        await sweeping.sweep(it.rt)
        assert it.rt.documents.exists(digest)

    tell(tmp_path, story)


def test_a_file_that_became_young_while_it_was_being_swept_stays(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        digest = kept(it, b"document")
        listed = [each for each, _ in it.rt.documents.stored()]
        assert listed == [digest]
        it.rt.documents.touch(digest)  # a submission of the same bytes, in this very moment
        assert sweeping._sweep_chunk(it.rt, listed, it.clock()) == 0
        assert it.rt.documents.exists(digest)

    tell(tmp_path, story)


def test_rows_that_ran_out_go_and_others_stay(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        now = it.clock()
        client = it.city.client
        with it.rt.db.write() as tx:
            for key, age in (("old", 25), ("new", 23)):
                tx.execute(insert(idempotency).values(client_id=client, key=key, fingerprint="0" * 64,
                                                      created_at=now - timedelta(hours=age)))
            for number, left in enumerate((-1, 1)):
                tx.execute(insert(access_token).values(hash=f"{number:064x}", client_id=client,
                                                       expires_at=now + timedelta(seconds=left)))
            for number, done in enumerate((now - 31 * DAY, now - 29 * DAY, None)):
                tx.execute(insert(outbox).values(
                    id=f"ev_{number}", client_id=client, signing_request_id="sr_1", url="https://a/", body="{}",
                    next_at=now, done_at=done, created_at=now - 40 * DAY))
        assert sweeping.sweep_rows(it.rt, now) == 3
        with it.rt.db.read() as tx:
            assert tx.execute(select(idempotency.c.key)).scalars().all() == ["new"]
            assert tx.execute(select(access_token.c.hash)).scalars().all() == [f"{1:064x}"]
            assert tx.execute(select(outbox.c.id)).scalars().all() == ["ev_1", "ev_2"]

    tell(tmp_path, story)


def test_old_drafts_go(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        old, young = it.rt.documents.draft_path(), it.rt.documents.draft_path()
        for path in (old, young):
            path.write_bytes(b"half a document")
        moment = old.stat().st_mtime - 7200
        os.utime(old, (moment, moment))
        assert await sweeping.sweep(it.rt) == 1
        assert (old.exists(), young.exists()) == (False, True)

    tell(tmp_path, story)
