"""Documents of every producer are signed, and readers that are not ours agree that they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from signing_service.pdf.judge import judge
from signing_service.pdf.look import look
from signing_service.pdf.work import JudgeOrder, Limits, Verdict
from tests.support.other_readers import (
    openssl_verifies_last_signature,
    poppler_says,
    qpdf_finds_nothing_wrong,
)
from tests.support.software_signatory import AUTHORITY, NOW, a_signatory

DOCUMENTS = sorted((Path(__file__).parents[1] / "documents").glob("*.pdf"))


def test_there_are_documents_of_many_producers() -> None:
    assert len(DOCUMENTS) >= 12


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_of_this_producer_is_signed_and_every_reader_agrees(document: Path, tmp_path: Path) -> None:
    looked = look(document, Limits())
    assert looked.size == document.stat().st_size
    assert looked.pages >= 1
    assert looked.signatures == ()

    signed = a_signatory().signs(document, tmp_path / "signed.pdf")

    assert signed.read_bytes().startswith(document.read_bytes())
    said = poppler_says(signed)
    assert "Signature is Valid" in said
    assert "Total document signed" in said
    assert "ETSI.CAdES.detached" in said
    assert "Verification successful" in openssl_verifies_last_signature(signed, AUTHORITY.root, tmp_path)
    assert qpdf_finds_nothing_wrong(signed)
    (judgement,) = judge(JudgeOrder(signed, (AUTHORITY.root,), NOW))
    assert judgement.verdict is Verdict.VALID
    assert judgement.covers_whole_document


def test_metadata_that_is_not_utf8_is_left_exactly_as_its_author_wrote_it(tmp_path: Path) -> None:
    document = next(each for each in DOCUMENTS if each.stem == "metadata-not-utf8")
    signed = a_signatory().signs(document, tmp_path / "once.pdf")
    twice = a_signatory("Trần Thị Thử").signs(signed, tmp_path / "twice.pdf")
    assert b"/Metadata" not in twice.read_bytes().removeprefix(document.read_bytes()).replace(b"/Metadata 5 0 R", b"")
    judgements = judge(JudgeOrder(twice, (AUTHORITY.root,), NOW))
    assert [each.verdict for each in judgements] == [Verdict.VALID, Verdict.VALID]
