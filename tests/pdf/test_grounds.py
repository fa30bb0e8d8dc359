"""What a look has read serves when the document is prepared, and only for that document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from signing_service.pdf import Limits, Pool, Prepared, PrepareOrder
from signing_service.pdf import prepare as preparing
from signing_service.pdf.complete import complete
from signing_service.pdf.grounds import Grounds
from signing_service.pdf.look import look
from signing_service.pdf.prepare import prepare
from signing_service.pdf.reading import digest_of
from signing_service.pdf.work import Appearance, Box
from tests.support.other_readers import poppler_says
from tests.support.pdf_pool import with_pool
from tests.support.software_signatory import a_signatory

DOCUMENTS = Path(__file__).parents[1] / "documents"
DOCUMENT = DOCUMENTS / "ke-hoach.pdf"
SIGNATORY = a_signatory()


def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on nobody may read a document to prepare it."""

    def read(*arguments: object) -> object:
        raise AssertionError("the document was read again")

    monkeypatch.setattr(preparing, "reader_of", read)


def test_a_document_that_was_looked_at_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = look(DOCUMENT, Limits()).ground
    unread(monkeypatch)
    order = replace(SIGNATORY.order(DOCUMENT, tmp_path / "tail"), ground=ground)
    complete(SIGNATORY.completes(DOCUMENT, order.tail, tmp_path / "signed.pdf", prepare(order)))
    assert "Signature is Valid" in poppler_says(tmp_path / "signed.pdf")


def test_what_was_read_of_another_document_is_not_used(tmp_path: Path) -> None:
    ground = look(DOCUMENTS / "cairo.pdf", Limits()).ground
    order = replace(SIGNATORY.order(DOCUMENT, tmp_path / "tail"), ground=ground)
    complete(SIGNATORY.completes(DOCUMENT, order.tail, tmp_path / "signed.pdf", prepare(order)))
    assert "Signature is Valid" in poppler_says(tmp_path / "signed.pdf")
    assert b"/Prev 93858\n" in order.tail.read_bytes()     # of this document, not of the other


def test_another_page_than_the_first_is_looked_up(tmp_path: Path) -> None:
    shown = Appearance(Box(2, 50, 50, 250, 110), ("Trang hai",))
    ground = look(DOCUMENT, Limits()).ground
    order = replace(SIGNATORY.order(DOCUMENT, tmp_path / "tail", appearance=shown), ground=ground)
    complete(SIGNATORY.completes(DOCUMENT, order.tail, tmp_path / "signed.pdf", prepare(order)))
    assert "Signature is Valid" in poppler_says(tmp_path / "signed.pdf")


def test_what_is_kept_is_kept_by_the_documents_digest_and_within_bounds() -> None:
    seen, grounds = look(DOCUMENT, Limits()), Grounds()
    assert seen.ground is not None
    grounds.keep(seen)
    assert grounds.of(Path("ab/cd") / seen.digest) == seen.ground
    assert grounds.of(DOCUMENT) is None
    other = replace(seen, digest="0" * 64)
    grounds.keep(other)     # a worker that speaks of two documents at once
    assert grounds.of(Path(other.digest)) is None
    grounds.keep(replace(other, ground=replace(seen.ground, digest=other.digest, catalogue=bytes(1 << 20))))
    assert grounds.of(Path(other.digest)) is None
    for number in range(2_048):
        digest = f"{number:064x}"
        grounds.keep(replace(seen, digest=digest, ground=replace(seen.ground, digest=digest)))
    assert grounds.of(Path(seen.digest)) is None


def test_the_pool_hands_on_what_it_has_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = tmp_path / digest_of(DOCUMENT)
    stored.write_bytes(DOCUMENT.read_bytes())
    handed: list[PrepareOrder] = []

    async def story(pool: Pool) -> Prepared:
        work = pool._work

        async def watched(verb: object, order: object, *more: object) -> object:
            if isinstance(order, PrepareOrder):
                handed.append(order)
            return await work(verb, order, *more)    # type: ignore[arg-type]  # as it came

        monkeypatch.setattr(pool, "_work", watched)
        await pool.look(stored)
        return await pool.prepare(SIGNATORY.order(stored, tmp_path / "tail"))

    prepared = with_pool(story)
    assert handed[0].ground is not None
    assert handed[0].ground.digest == prepared.document_digest == stored.name
