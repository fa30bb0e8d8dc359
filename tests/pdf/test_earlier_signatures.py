"""Documents that already carry signatures: ours are added, theirs stay intact, and a locked document is left alone."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from asn1crypto import keys, x509
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import signers
from pyhanko.sign.fields import MDPPerm
from pyhanko_certvalidator.registry import SimpleCertificateStore

from signing_service.pdf.judge import judge
from signing_service.pdf.look import look
from signing_service.pdf.work import Appearance, Box, Changes, EarlierSignature, JudgeOrder, Limits, Refused, Verdict
from tests.support.other_readers import poppler_says
from tests.support.raw_pdf import revision, stream
from tests.support.software_signatory import AUTHORITY, NOW, a_signatory, private_der, spki

DOCUMENTS = Path(__file__).parents[1] / "documents"
DOCUMENT = DOCUMENTS / "ke-hoach.pdf"


def signed_elsewhere(document: Path, output: Path, permission: MDPPerm | None = None) -> Path:
    """Signed (or certified) by another program: pyHanko's own way from end to end."""
    certificates = SimpleCertificateStore()
    certificates.register(x509.Certificate.load(AUTHORITY.root))
    signer = signers.SimpleSigner(
        x509.Certificate.load(AUTHORITY.issue(spki("rsa"), "Another program")),
        keys.PrivateKeyInfo.load(private_der("rsa")),
        certificates,
    )
    metadata = signers.PdfSignatureMetadata(
        field_name="Elsewhere", certify=permission is not None, docmdp_permissions=permission or MDPPerm.FILL_FORMS
    )
    signed = io.BytesIO()
    writer = IncrementalPdfFileWriter(io.BytesIO(document.read_bytes()))
    asyncio.run(signers.async_sign_pdf(writer, metadata, signer, output=signed))
    output.write_bytes(signed.getvalue())
    return output


def test_a_look_names_the_signatures_that_are_there(tmp_path: Path) -> None:
    once = signed_elsewhere(DOCUMENT, tmp_path / "once.pdf")
    looked = look(once, Limits())
    assert looked.signatures == (EarlierSignature("Elsewhere", "Another program", True, True),)
    assert looked.warnings == ("earlier-signature",)
    assert not looked.forms


@pytest.mark.parametrize("name", ["ke-hoach", "qpdf-object-streams", "hybrid-references", "form", "libreoffice"])
def test_earlier_signatures_stay_intact_under_ours(name: str, tmp_path: Path) -> None:
    document = DOCUMENTS / f"{name}.pdf"
    once = a_signatory("Lê Văn Thử").signs(document, tmp_path / "once.pdf")
    twice = a_signatory("Trần Thị Thử").signs(once, tmp_path / "twice.pdf", timestamped=True)
    thrice = a_signatory("Văn thư").signs(twice, tmp_path / "thrice.pdf")
    judgements = {each.field: each for each in judge(JudgeOrder(thrice, (AUTHORITY.root,), NOW))}
    assert {field: each.verdict for field, each in judgements.items()} == {
        "Signature": Verdict.VALID, "Signature_2": Verdict.VALID, "Signature_3": Verdict.VALID
    }
    assert judgements["Signature"].changes_after is Changes.PERMITTED
    assert judgements["Signature_3"].changes_after is Changes.NONE
    assert poppler_says(thrice).count("Signature is Valid") == 3
    assert thrice.read_bytes().startswith(twice.read_bytes())


def test_ours_goes_under_a_signature_of_another_program(tmp_path: Path) -> None:
    once = signed_elsewhere(DOCUMENT, tmp_path / "once.pdf")
    twice = a_signatory().signs(once, tmp_path / "twice.pdf")
    assert [each.verdict for each in judge(JudgeOrder(twice, (AUTHORITY.root,), NOW))] == [Verdict.VALID] * 2


def test_a_document_certified_against_every_change_is_refused(tmp_path: Path) -> None:
    certified = signed_elsewhere(DOCUMENT, tmp_path / "certified.pdf", MDPPerm.NO_CHANGES)
    with pytest.raises(Refused) as refused:
        look(certified, Limits())
    assert refused.value.code == "certified-no-changes"


def test_a_document_certified_for_filling_and_signing_is_signed(tmp_path: Path) -> None:
    certified = signed_elsewhere(DOCUMENT, tmp_path / "certified.pdf", MDPPerm.FILL_FORMS)
    signed = a_signatory().signs(certified, tmp_path / "signed.pdf")
    assert [each.verdict for each in judge(JudgeOrder(signed, (AUTHORITY.root,), NOW))] == [Verdict.VALID] * 2


def test_a_visible_signature_that_would_break_a_certification_is_refused_before_anything_is_signed(
    tmp_path: Path,
) -> None:
    certified = signed_elsewhere(DOCUMENT, tmp_path / "certified.pdf", MDPPerm.FILL_FORMS)
    appearance = Appearance(Box(1, 50, 50, 250, 110), ("Ký bởi: Nguyễn Văn Thử",))
    with pytest.raises(Refused) as refused:
        a_signatory().prepares(certified, tmp_path / "tail", appearance=appearance)
    assert refused.value.code == "earlier-signatures"
    assert not (tmp_path / "tail").exists()


def with_another_content(signed: Path, output: Path) -> Path:
    """The shadow attack in its simplest form: the page's content is replaced after the signature."""
    content = signed.read_bytes()
    previous = int(content.rpartition(b"startxref\n")[2].split()[0])
    page_content = {4: stream(b"0 0 m 500 500 l S")}
    output.write_bytes(content + revision(page_content, len(content), b"/Prev %d" % previous, size=50))
    return output


def test_a_document_changed_after_its_signature_is_looked_at_with_a_warning(tmp_path: Path) -> None:
    once = a_signatory().signs(DOCUMENTS / "metadata-not-utf8.pdf", tmp_path / "once.pdf")
    changed = with_another_content(once, tmp_path / "changed.pdf")
    assert look(changed, Limits()).warnings == ("changed-after-signature", "earlier-signature")
    (judgement,) = judge(JudgeOrder(changed, (AUTHORITY.root,), NOW))
    assert judgement.verdict is Verdict.INVALID
    assert judgement.intact


def test_a_signature_whose_bytes_were_changed_is_not_intact(tmp_path: Path) -> None:
    once = a_signatory().signs(DOCUMENT, tmp_path / "once.pdf")
    content = bytearray(once.read_bytes())
    content[content.index(b"ReportLab PDF Library")] ^= 1
    once.write_bytes(content)
    looked = look(once, Limits())
    assert [each.intact for each in looked.signatures] == [False]
    assert "earlier-signature-broken" in looked.warnings


def test_a_signature_that_is_rubbish_is_not_intact_and_does_not_stop_the_look(tmp_path: Path) -> None:
    once = a_signatory().signs(DOCUMENT, tmp_path / "once.pdf")
    content = once.read_bytes()
    at = content.rindex(b"/Contents <") + len(b"/Contents <")
    once.write_bytes(content[:at] + b"FF" * 40 + content[at + 80 :])
    assert [each.intact for each in look(once, Limits()).signatures] == [False]
    (judgement,) = judge(JudgeOrder(once, (AUTHORITY.root,), NOW))
    assert judgement.verdict is Verdict.INVALID


def test_a_document_with_more_signatures_than_allowed_is_refused(tmp_path: Path) -> None:
    once = a_signatory().signs(DOCUMENT, tmp_path / "once.pdf")
    with pytest.raises(Refused) as refused:
        look(once, Limits(earlier_signatures=0))
    assert refused.value.code == "too-many-signatures"
