"""One whole journey over what is really run: signer, jobs and front as processes, and SoftHSM behind them."""

from __future__ import annotations

from pathlib import Path

from tests.support.browser import PHONE, Chromium
from tests.support.other_readers import openssl_verifies_last_signature, poppler_says
from tests.support.town_officials import Official
from tests.support.town_processes import RealTown


def test_from_the_operators_link_to_a_document_that_others_call_signed(chromium: Chromium, tmp_path: Path) -> None:
    with RealTown.open(tmp_path, official="Nguyễn Văn An") as town, chromium.visits(PHONE, town.url) as visitor:
        official = Official(visitor, town, town.chairman)
        official.binds_after_opening(town.ticket(official.person))
        official.completes(town.code(official.person))
        made = town.submits(official.person)
        official.opens(made)
        assert official.sees_pages() == made["pages"]
        assert official.reads_matching_code() == made["matching_code"]
        official.confirms(town.code(official.person))
        visitor.sees("phone.results.signed-at")
        signed = tmp_path / "signed.pdf"
        signed.write_bytes(town.downloads(made))
        assert "Signature is Valid" in poppler_says(signed)
        assert "Verification successful" in openssl_verifies_last_signature(
            signed, town.service.city.ca.root, tmp_path)
        town.service.check()
