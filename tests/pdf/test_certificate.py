"""A certificate that could not make a valid signature is refused before anything is prepared."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from signing_service.pdf.prepare import prepare
from signing_service.pdf.work import Refused
from tests.support.ca import TestCa
from tests.support.software_signatory import AUTHORITY, NOW, Signatory, a_signatory, spki

DOCUMENT = Path(__file__).parents[1] / "documents" / "reportlab.pdf"

_SHORT = TestCa(start=NOW - timedelta(days=30), days=10)
UNFIT = {
    "it has expired": Signatory(_SHORT.issue(spki("p-256"), "Late"), chain=(_SHORT.root,)),
    "its chain is somebody else's": replace(a_signatory(), chain=(TestCa().root,)),
    "its chain is upside down": Signatory(a_signatory().certificate, chain=(AUTHORITY.root, a_signatory().certificate)),
    "it is the authority's own, which signs certificates": Signatory(AUTHORITY.root, chain=()),
    "it is not a certificate": Signatory(b"\x30\x00", chain=()),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_certificate_is_refused_because(case: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        prepare(UNFIT[case].order(DOCUMENT, tmp_path / "tail"))
    assert refused.value.code == "wrong-certificate"
    assert not (tmp_path / "tail").exists()


def test_a_certificate_that_is_not_valid_yet_is_refused(tmp_path: Path) -> None:
    order = a_signatory().order(DOCUMENT, tmp_path / "tail", signing_time=NOW - timedelta(days=2))
    with pytest.raises(Refused) as refused:
        prepare(order)
    assert refused.value.code == "wrong-certificate"
