"""Documents of many producers through the whole service, over HTTP, on a real token; others judge what comes out.

One code signs all of them together; a second official then signs every signed document again. What the service
delivers must convince poppler, pyHanko, OpenSSL (container and timestamp) and qpdf, and begin with the very bytes
that were submitted.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from asn1crypto import cms
from asn1crypto import x509 as asn1_x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko.sign.validation.status import SignatureCoverageLevel
from pyhanko_certvalidator import ValidationContext
from sqlalchemy import func, select

from signing_service.db.migrate import upgrade
from signing_service.db.tables import entry, metadata
from signing_service.wire.messages import ActivatePolicy
from tests.support import raw_pdf
from tests.support.city import POLICY, Person
from tests.support.other_readers import openssl_verifies_last_signature, poppler_says, qpdf_finds_nothing_wrong
from tests.support.service import ROOT, Service, until

DOCUMENTS = sorted((ROOT / "tests" / "documents").glob("*.pdf"))
REFUSED = sorted((ROOT / "tests" / "documents" / "refused").glob("*.pdf"))
WITH_RSA = ("chromium", "ke-hoach", "libreoffice", "qpdf-object-streams")
# Metadata that are not UTF-8 nobody touched: pyHanko cannot parse them and takes what was signed later for a change.
NOT_UNDERSTOOD = ("metadata-not-utf8", 1)
LARGE = 30 << 20  # bytes; the service takes up to 50 MiB unless it is told otherwise


@dataclass
class Office:
    """The service, its people, and what was signed: by round and name of the document."""

    service: Service
    people: dict[str, Person]
    directory: Path
    submitted: dict[tuple[str, str], Path] = field(default_factory=dict)
    signed: dict[tuple[str, str], Path] = field(default_factory=dict)

    def sign_all(self, round_: str, who: str, documents: Sequence[Path]) -> None:
        """Submit, put into one batch, confirm with one code, wait, fetch."""
        person, service = self.people[who], self.service
        with service.http() as http:
            ids = {path.stem: self._submit(http, person, path) for path in documents}
            made = told(http.post("/api/v1/batches", json={"signing_requests": list(ids.values())}), 201)
            answer = told(http.post(f"/api/v1/batches/{made['id']}/confirm",
                                    json={"code": person.code(datetime.now(UTC))}), 200)
            assert {line["outcome"] for line in answer["lines"]} == {"done"}, answer
            for name, request in ids.items():
                state = told(http.get(f"/api/v1/signing-requests/{request}", params={"wait": 50}), 200)["state"]
                assert state == "signed", name
                fetched = http.get(f"/api/v1/signing-requests/{request}/signed-document")
                path = self.directory / round_ / f"{name}.pdf"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(fetched.content)
                self.signed[round_, name] = path
        self.submitted |= {(round_, path.stem): path for path in documents}

    def _submit(self, http: httpx.Client, person: Person, path: Path) -> str:
        answer = http.post("/api/v1/signing-requests", data=self.service.submission(person, level="B-T"),
                           files={"file": (path.name, path.read_bytes(), "application/pdf")})
        return str(told(answer, 201)["id"])


def told(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def with_forms(policy: str) -> str:
    """The policy that we ship, for a city that signs forms, too. A policy must live up to its own examples."""
    examples = policy.split("[[example]]")
    kept = [each for each in examples if 'name = "form fields that' not in each]
    assert len(kept) == len(examples) - 1
    return "[[example]]".join(kept).replace('tolerate = [', 'tolerate = ["form-fields", ')


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    directory = tmp_path_factory.mktemp("conformance")
    url = f"sqlite:///{directory / 'signing.db'}"
    upgrade(url)
    service = Service(directory, url)
    try:
        people = {
            "first": service.official("Nguyễn Văn A"),
            "second": service.official("Trần Thị B"),
            "rsa": service.official("Lê Văn C", key_kind="rsa-2048"),
            "large": service.official("Phạm Thị D"),
        }
        service.city.acts(ActivatePolicy("with forms", with_forms(POLICY)))
        service.start()
        made = Office(service, people, directory)
        made.sign_all("P-256", "first", DOCUMENTS)
        made.sign_all("RSA-2048", "rsa", [path for path in DOCUMENTS if path.stem in WITH_RSA])
        made.sign_all("twice", "second", [made.signed["P-256", path.stem] for path in DOCUMENTS])
        yield made
        service.check()
    finally:
        service.close()


CASES = [
    *(("P-256", path.stem) for path in DOCUMENTS), *(("RSA-2048", name) for name in WITH_RSA),
    *(("twice", path.stem) for path in DOCUMENTS),
]
EVERY_ONE = pytest.mark.parametrize(("round_", "name"), CASES, ids=[f"{round_} {name}" for round_, name in CASES])
SIGNATURES = {"P-256": 1, "RSA-2048": 1, "twice": 2}


def test_there_are_documents_of_many_producers() -> None:
    assert len(DOCUMENTS) >= 13
    assert set(WITH_RSA) <= {path.stem for path in DOCUMENTS}


@EVERY_ONE
def test_the_signed_document_begins_with_the_bytes_that_were_submitted(office: Office, round_: str, name: str) -> None:
    submitted, signed = office.submitted[round_, name].read_bytes(), office.signed[round_, name].read_bytes()
    assert signed.startswith(submitted)
    assert len(signed) > len(submitted)


@EVERY_ONE
def test_poppler_finds_every_signature_valid_and_the_whole_document_signed(
    office: Office, round_: str, name: str,
) -> None:
    said = poppler_says(office.signed[round_, name])
    assert said.count("Signature is Valid") == SIGNATURES[round_], said
    assert said.rpartition("Signature #")[2].count("Total document signed") == 1
    assert "ETSI.CAdES.detached" in said


@EVERY_ONE
def test_pyhanko_finds_every_signature_intact_valid_and_trusted(office: Office, round_: str, name: str) -> None:
    root = asn1_x509.Certificate.load(office.service.city.ca.root)
    with office.signed[round_, name].open("rb") as file:
        embedded = PdfFileReader(file, strict=False).embedded_regular_signatures
        assert len(embedded) == SIGNATURES[round_]
        for number, each in enumerate(embedded, 1):
            context, stamps = (ValidationContext(trust_roots=[root], allow_fetching=False) for _ in range(2))
            status = validate_pdf_signature(each, context, stamps)
            assert status.intact
            assert status.valid
            assert status.trusted
            assert status.docmdp_ok or (name, number) == NOT_UNDERSTOOD
            assert status.timestamp_validity is not None
            assert status.timestamp_validity.intact
            assert status.timestamp_validity.trusted
            if number == len(embedded):
                assert status.coverage == SignatureCoverageLevel.ENTIRE_FILE


@EVERY_ONE
def test_openssl_verifies_the_container_under_the_root(
    office: Office, tmp_path: Path, round_: str, name: str,
) -> None:
    said = openssl_verifies_last_signature(office.signed[round_, name], office.service.city.ca.root, tmp_path)
    assert "successful" in said, said


@EVERY_ONE
def test_openssl_verifies_the_timestamp_over_the_signature_value(
    office: Office, tmp_path: Path, round_: str, name: str,
) -> None:
    openssl_verifies_last_signature(office.signed[round_, name], office.service.city.ca.root, tmp_path)
    signer = cms.ContentInfo.load((tmp_path / "cms.der").read_bytes(), strict=False)["content"]["signer_infos"][0]
    (token,) = (each["values"][0] for each in signer["unsigned_attrs"]
                if each["type"].native == "signature_time_stamp_token")
    (tmp_path / "token.der").write_bytes(token.dump())
    (tmp_path / "value.bin").write_bytes(signer["signature"].native)
    ran = subprocess.run(
        ["openssl", "ts", "-verify", "-token_in", "-in", tmp_path / "token.der", "-data", tmp_path / "value.bin",
         "-CAfile", tmp_path / "root.pem"], capture_output=True, text=True, check=False)
    assert "Verification: OK" in ran.stdout + ran.stderr, ran.stderr


@EVERY_ONE
def test_qpdf_finds_nothing_wrong(office: Office, round_: str, name: str) -> None:
    assert qpdf_finds_nothing_wrong(office.signed[round_, name])


def test_all_documents_of_a_round_went_under_one_code(office: Office) -> None:
    with office.service.db.read() as tx:
        confirmations = tx.execute(select(metadata.tables["confirmation"].c.id)).all()
        intents = tx.execute(select(func.count()).select_from(metadata.tables["intent"])).scalar_one()
    assert len(confirmations) <= len(SIGNATURES) + 1  # and the large document's, if its test came first
    assert intents >= len(CASES)


# ---------------------------------------------------------------------------------------------- what is refused

WHY = {
    "encrypted": "encrypted", "javascript": "active-content", "launch": "active-content", "not-a-pdf": "not-a-pdf",
    "truncated": "truncated",
}


def test_every_refused_document_has_its_reason() -> None:
    assert {path.stem for path in REFUSED} == set(WHY)


def left_behind(service: Service) -> tuple[dict[str, int], set[Path]]:
    """Rows by table, without those that every question leaves; and every file below the documents."""
    with service.db.read() as tx:
        counted = {name: int(tx.execute(select(func.count()).select_from(metadata.tables[name])).scalar_one())
                   for name in ("signing_request", "document", "batch", "outbox", "intent", "confirmation")}
    return counted, {path for path in (service.directory / "documents").rglob("*") if path.is_file()}


def refusals(service: Service) -> int:
    with service.db.read() as tx:
        return int(tx.execute(select(func.count()).select_from(entry).where(
            entry.c.event == "signing-request:submit:refused")).scalar_one())


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_document_that_must_not_be_signed_is_refused_with_its_reason_and_nothing_stays(
    office: Office, path: Path,
) -> None:
    service = office.service
    before, recorded = left_behind(service), refusals(service)
    with service.http() as http:
        answer = http.post("/api/v1/signing-requests", data=service.submission(office.people["first"]),
                           files={"file": (path.name, path.read_bytes(), "application/pdf")})
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (400, WHY[path.stem])
    assert left_behind(service) == before
    assert refusals(service) == recorded + 1
    assert httpx.get(service.at("/readyz"), timeout=10).status_code == 200


# --------------------------------------------------------------------------------------------- a large document


@cache
def noise(size: int) -> bytes:
    """Bytes that no compression makes smaller."""
    block = os.urandom(1 << 16)
    return (block * (size // len(block) + 1))[:size]


def large_document(size: int) -> bytes:
    """A page beside a scan of `size` bytes."""
    entries = b"/Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8 /ColorSpace /DeviceGray"
    return raw_pdf.document(raw_pdf.one_page() | {5: raw_pdf.stream(noise(size), entries)})


def test_a_large_document_is_signed_like_a_small_one(office: Office, tmp_path: Path) -> None:
    service, person = office.service, office.people["large"]
    content = large_document(LARGE)
    request = service.submits(person, content, level="B-T")
    answer = service.confirms(person, request)
    assert answer.status_code == 200, answer.text
    until(lambda: service.state(request) == "signed", 60, "signed")
    signed = tmp_path / "signed.pdf"
    signed.write_bytes(service.signed_document(request))
    assert signed.read_bytes().startswith(content)
    assert "Total document signed" in poppler_says(signed)
    said = openssl_verifies_last_signature(signed, service.city.ca.root, tmp_path)
    assert "successful" in said, said


def test_a_document_beyond_the_limit_is_refused_and_leaves_nothing(office: Office) -> None:
    service = office.service
    before = left_behind(service)
    with service.http() as http:
        try:
            answer = http.post("/api/v1/signing-requests", data=service.submission(office.people["large"]),
                               files={"file": ("a.pdf", large_document(51 << 20), "application/pdf")})
        except httpx.HTTPError:  # it was told so, and hung up on, while it still sent
            pass
        else:
            assert answer.status_code == 413
    assert left_behind(service) == before


def test_the_same_bytes_come_back_each_time(office: Office) -> None:
    """A signed document is fetched as often as somebody likes; it is one file, known by its digest."""
    service = office.service
    with service.http() as http:
        found = told(http.get("/api/v1/signing-requests", params={"state": "signed", "limit": 3}), 200)
    for each in found["signing_requests"]:
        fetched = {hashlib.sha256(service.signed_document(each["id"])).hexdigest() for _ in range(2)}
        assert fetched == {each["signed_digest"]}
