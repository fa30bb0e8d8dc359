"""Judging signatures: three verdicts, and the reason that led to each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from signing_service.pdf.judge import judge
from signing_service.pdf.work import Judgement, JudgeOrder, Problem, Refused, Verdict
from tests.support.ca import TestCa
from tests.support.software_signatory import AUTHORITY, NOW, a_signatory

DOCUMENT = Path(__file__).parents[1] / "documents" / "ke-hoach.pdf"
YEARS_LATER = NOW + timedelta(days=2000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judged")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return a_signatory().signs(DOCUMENT, folder / "plain.pdf")


@pytest.fixture(scope="module")
def timestamped(folder: Path) -> Path:
    return a_signatory().signs(DOCUMENT, folder / "timestamped.pdf", timestamped=True)


def judged(order: JudgeOrder) -> Judgement:
    (judgement,) = judge(order)
    assert (judgement.problem is None) == (judgement.verdict is Verdict.VALID)
    return judgement


def ours(path: Path, moment: datetime = NOW) -> JudgeOrder:
    return JudgeOrder(path, (AUTHORITY.root,), moment)


def revocations(*, revoked: bytes | None = None, since: datetime = NOW) -> bytes:
    """The authority's revocation list of now; `revoked` is a certificate on it."""
    root = x509.load_der_x509_certificate(AUTHORITY.root)
    listed = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.subject)
        .last_update(NOW - timedelta(minutes=1))
        .next_update(NOW + timedelta(days=1))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    if revoked is not None:
        serial = x509.load_der_x509_certificate(revoked).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
        listed = listed.add_revoked_certificate(entry)
    key = AUTHORITY._key  # the authority of the tests makes no lists of its own
    return listed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_a_signature_under_a_trusted_root_is_valid(plain: Path) -> None:
    judgement = judged(ours(plain))
    assert judgement.verdict is Verdict.VALID
    assert judgement.signer == "Nguyễn Văn Thử"
    assert "Test root" in judgement.issuer
    assert judgement.signing_time == NOW
    assert judgement.timestamp_time is None
    assert not judgement.revocation_checked


def test_a_timestamp_says_when(timestamped: Path) -> None:
    assert judged(ours(timestamped)).timestamp_time == NOW + timedelta(seconds=2)


def test_under_an_unknown_root_there_is_not_enough_to_say(plain: Path) -> None:
    judgement = judged(JudgeOrder(plain, (TestCa().root,), NOW))
    assert (judgement.verdict, judgement.problem) == (Verdict.INDETERMINATE, Problem.UNTRUSTED)
    assert judgement.intact
    assert judgement.valid


def test_without_any_root_there_is_not_enough_to_say(plain: Path) -> None:
    judgement = judged(JudgeOrder(plain, (), NOW))
    assert (judgement.verdict, judgement.problem) == (Verdict.INDETERMINATE, Problem.UNTRUSTED)


def test_when_the_certificate_has_expired_there_is_not_enough_to_say(plain: Path) -> None:
    judgement = judged(ours(plain, YEARS_LATER))
    assert (judgement.verdict, judgement.problem) == (Verdict.INDETERMINATE, Problem.EXPIRED)


def test_before_the_certificate_is_valid_there_is_not_enough_to_say(plain: Path) -> None:
    judgement = judged(ours(plain, NOW - timedelta(days=5)))
    assert (judgement.verdict, judgement.problem) == (Verdict.INDETERMINATE, Problem.NOT_YET_VALID)


def test_a_changed_document_is_invalid(plain: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.pdf"
    changed.write_bytes(plain.read_bytes().replace(b"/Lang (vi-VN)", b"/Lang (en-VN)"))
    assert changed.read_bytes() != plain.read_bytes()
    judgement = judged(ours(changed))
    assert (judgement.verdict, judgement.problem) == (Verdict.INVALID, Problem.ALTERED)


def test_a_revoked_certificate_makes_it_invalid(plain: Path) -> None:
    certificate = judged(ours(plain)).certificate
    crl = revocations(revoked=certificate, since=NOW - timedelta(seconds=30))
    judgement = judged(replace(ours(plain), crls=(crl,)))
    assert (judgement.verdict, judgement.problem) == (Verdict.INVALID, Problem.REVOKED)
    assert judgement.revocation_checked


def test_a_certificate_revoked_after_the_timestamp_does_not(timestamped: Path) -> None:
    certificate = judged(ours(timestamped)).certificate
    crl = revocations(revoked=certificate, since=NOW + timedelta(hours=1))
    judgement = judged(replace(ours(timestamped, NOW + timedelta(hours=2)), crls=(crl,)))
    assert judgement.verdict is Verdict.VALID


def test_with_a_revocation_list_the_status_was_checked(plain: Path) -> None:
    judgement = judged(replace(ours(plain), crls=(revocations(),), require_revocation=True))
    assert judgement.verdict is Verdict.VALID
    assert judgement.revocation_checked


def test_without_one_there_is_not_enough_to_say_where_it_is_required(plain: Path) -> None:
    judgement = judged(replace(ours(plain), require_revocation=True))
    assert (judgement.verdict, judgement.problem) == (Verdict.INDETERMINATE, Problem.REVOCATION_UNKNOWN)


def test_a_document_without_signatures_has_no_judgements() -> None:
    assert judge(ours(DOCUMENT)) == ()


def test_a_file_that_is_not_a_pdf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pdf"
    path.write_bytes(b"x")
    with pytest.raises(Refused):
        judge(ours(path))


def test_the_verdicts_are_the_words_of_the_national_validators() -> None:
    assert [str(each) for each in Verdict] == ["HỢP LỆ", "KHÔNG HỢP LỆ", "KHÔNG ĐỦ THÔNG TIN XÁC THỰC"]


def test_times_are_in_utc(plain: Path) -> None:
    signing_time = judged(ours(plain)).signing_time
    assert signing_time is not None
    assert signing_time.astimezone(UTC) == NOW
