"""Every signature algorithm of the closed set, with and without a timestamp, seen by other readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm.algorithms import Algorithm, Padding
from signing_service.pdf.judge import judge
from signing_service.pdf.prepare import prepare
from signing_service.pdf.work import JudgeOrder, Refused, Verdict
from tests.support.other_readers import openssl_verifies_last_signature, poppler_says
from tests.support.software_signatory import AUTHORITY, NOW, Signatory, a_signatory

DOCUMENT = Path(__file__).parents[1] / "documents" / "ke-hoach.pdf"


def signatory_for(algorithm: Algorithm) -> Signatory:
    if algorithm.padding is not Padding.ECDSA:
        return a_signatory(kind="rsa", algorithm=algorithm)
    return a_signatory(kind="p-384" if algorithm is Algorithm.ECDSA_SHA384 else "p-256", algorithm=algorithm)


@pytest.mark.parametrize("timestamped", [False, True], ids=["B-B", "B-T"])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_signature_of_this_algorithm_verifies(algorithm: Algorithm, timestamped: bool, tmp_path: Path) -> None:
    signed = signatory_for(algorithm).signs(DOCUMENT, tmp_path / "signed.pdf", timestamped=timestamped)
    assert "Verification successful" in openssl_verifies_last_signature(signed, AUTHORITY.root, tmp_path)
    (judgement,) = judge(JudgeOrder(signed, (AUTHORITY.root,), NOW))
    assert judgement.verdict is Verdict.VALID
    assert (judgement.timestamp_time is not None) == timestamped
    if algorithm.padding is not Padding.PSS:  # NSS, which poppler uses, does not verify PSS in CMS
        assert "Signature is Valid" in poppler_says(signed)


@pytest.mark.parametrize(
    ("kind", "algorithm"), [("rsa", Algorithm.ECDSA_SHA256), ("p-256", Algorithm.PSS_SHA256)]
)
def test_an_algorithm_that_the_certificates_key_cannot_make_is_refused(
    kind: str, algorithm: Algorithm, tmp_path: Path
) -> None:
    order = a_signatory(kind=kind, algorithm=algorithm).order(DOCUMENT, tmp_path / "tail")
    with pytest.raises(Refused) as refused:
        prepare(order)
    assert refused.value.code == "wrong-certificate"
