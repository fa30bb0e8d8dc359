"""Completing: a pure function of stored things that refuses whatever was not confirmed or does not validate."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hsm.algorithms import Algorithm
from signing_service.pdf.complete import complete
from signing_service.pdf.prepare import prepare
from signing_service.pdf.reading import digest_of
from signing_service.pdf.work import CompleteOrder, Level, Prepared, Refused
from tests.support.software_signatory import NOW, Signatory, a_signatory, timestamp

DOCUMENT = Path(__file__).parents[1] / "documents" / "ke-hoach.pdf"


@dataclasses.dataclass(frozen=True)
class Desk:
    """A document of one's own, its tail, and where the signed document goes."""

    signatory: Signatory
    document: Path
    tail: Path
    output: Path
    prepared: Prepared

    def order(self, **changes: object) -> CompleteOrder:
        order = self.signatory.completes(self.document, self.tail, self.output, self.prepared)
        return dataclasses.replace(order, **changes)  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    document, tail = tmp_path / "document.pdf", tmp_path / "tail"
    document.write_bytes(DOCUMENT.read_bytes())
    signatory = a_signatory()
    return Desk(signatory, document, tail, tmp_path / "signed.pdf", signatory.prepares(document, tail))


def refusal_of(desk: Desk, order: CompleteOrder) -> str:
    with pytest.raises(Refused) as refused:
        complete(order)
    assert not desk.output.exists()
    assert sorted(each.name for each in desk.output.parent.iterdir()) == ["document.pdf", "tail"]
    return refused.value.code


def test_the_signed_document_is_the_document_and_the_tail_with_only_the_place_filled(desk: Desk) -> None:
    complete(desk.order())
    document, tail, signed = (each.read_bytes() for each in (desk.document, desk.tail, desk.output))
    assert signed.startswith(document)
    assert len(signed) == len(document) + len(tail)
    start = tail.index(b"<" + b"0" * 2 * desk.prepared.reserved + b">")
    end = start + 2 * desk.prepared.reserved + 2
    assert signed[len(document) :][:start] == tail[:start]
    assert signed[len(document) :][end:] == tail[end:]


def test_completing_twice_gives_the_same_bytes(desk: Desk) -> None:
    order = desk.order()
    first = complete(order)
    again = complete(dataclasses.replace(order, output=desk.output.with_name("again.pdf")))
    assert first == again
    assert digest_of(desk.output) == first.digest
    assert desk.output.read_bytes() == desk.output.with_name("again.pdf").read_bytes()


def test_completing_again_over_the_same_name_leaves_one_whole_file(desk: Desk) -> None:
    order = desk.order()
    assert complete(order) == complete(order)
    assert sorted(each.name for each in desk.output.parent.iterdir()) == ["document.pdf", "signed.pdf", "tail"]


def test_a_document_changed_by_one_byte_is_refused(desk: Desk) -> None:
    order = desk.order()
    content = bytearray(desk.document.read_bytes())
    content[len(content) // 2] ^= 1
    desk.document.write_bytes(content)
    assert refusal_of(desk, order) == "not-what-was-confirmed"


def test_a_document_that_grew_is_refused(desk: Desk) -> None:
    order = desk.order()
    desk.document.write_bytes(desk.document.read_bytes() + b"\n")
    assert refusal_of(desk, order) == "wrong-tail"


@pytest.mark.parametrize("at", [5, -20])
def test_a_tail_changed_by_one_byte_is_refused(desk: Desk, at: int) -> None:
    order = desk.order()
    content = bytearray(desk.tail.read_bytes())
    content[at] ^= 1
    desk.tail.write_bytes(content)
    assert refusal_of(desk, order) == "not-what-was-confirmed"


def test_a_tail_of_another_document_is_refused(desk: Desk, tmp_path: Path) -> None:
    other = DOCUMENT.with_name("cairo.pdf")
    prepared = desk.signatory.prepares(other, desk.tail)
    order = dataclasses.replace(desk.order(), to_sign=prepared.to_sign)
    assert refusal_of(desk, order) == "wrong-tail"


@pytest.mark.parametrize("noise", [b"", b"%%EOF", b"/Contents <" + b"0" * 4000 + b">"])
def test_a_tail_without_exactly_one_place_is_refused(desk: Desk, noise: bytes) -> None:
    order = desk.order()
    tail = desk.tail.read_bytes()
    desk.tail.write_bytes(tail + noise if len(noise) > 100 else noise)
    assert refusal_of(desk, order) == "wrong-tail"


def test_another_certificate_than_the_one_confirmed_is_refused(desk: Desk) -> None:
    other = a_signatory("Somebody else").certificate
    assert refusal_of(desk, desk.order(certificate=other)) == "not-what-was-confirmed"


def test_a_value_with_one_bit_flipped_is_refused(desk: Desk) -> None:
    value = bytearray(desk.order().signature_value)
    value[-1] ^= 1
    assert refusal_of(desk, desk.order(signature_value=bytes(value))) == "wrong-value"


def test_a_value_over_another_digest_is_refused(desk: Desk) -> None:
    assert refusal_of(desk, desk.order(signature_value=desk.signatory.sign(bytes(32)))) == "wrong-value"


def test_a_value_that_is_no_signature_at_all_is_refused(desk: Desk) -> None:
    assert refusal_of(desk, desk.order(signature_value=b"signed")) == "wrong-value"


def test_a_chain_that_does_not_lead_to_the_issuer_is_refused(desk: Desk) -> None:
    stranger = a_signatory("A stranger", kind="p-384", algorithm=Algorithm.ECDSA_SHA384).certificate
    assert refusal_of(desk, desk.order(chain=(stranger,))) == "invalid-output"


def test_a_timestamp_over_another_value_is_refused(tmp_path: Path) -> None:
    signatory, output = a_signatory(), tmp_path / "signed.pdf"
    prepared = signatory.prepares(DOCUMENT, tmp_path / "tail", level=Level.B_T)
    token = timestamp(b"another value")
    with pytest.raises(Refused) as refused:
        complete(signatory.completes(DOCUMENT, tmp_path / "tail", output, prepared, token=token))
    assert refused.value.code == "invalid-output"
    assert not output.exists()


def test_a_timestamp_that_is_not_one_is_refused(tmp_path: Path) -> None:
    signatory, output = a_signatory(), tmp_path / "signed.pdf"
    prepared = signatory.prepares(DOCUMENT, tmp_path / "tail", level=Level.B_T)
    order = signatory.completes(DOCUMENT, tmp_path / "tail", output, prepared, token=b"\x30\x03\x02\x01\x00")
    with pytest.raises(Refused) as refused:
        complete(order)
    assert refused.value.code == "invalid-output"
    assert not output.exists()


def test_a_level_and_a_token_that_do_not_agree_are_refused(desk: Desk) -> None:
    assert refusal_of(desk, desk.order(level=Level.B_T)) == "wrong-order"
    assert refusal_of(desk, desk.order(timestamp_token=b"x")) == "wrong-order"


def test_a_container_larger_than_its_place_is_refused(desk: Desk) -> None:
    assert refusal_of(desk, desk.order(chain=desk.signatory.chain * 1 + (bytes(9000),))) == "place-too-small"


WRONG_ORDERS = {
    "a place too small for the chain": {"reserved": 100},
    "a place of gigabytes": {"reserved": 1 << 30},
    "a field name with a dot, which would be a field in a field": {"field_name": "a.b"},
    "a field name that is empty": {"field_name": ""},
    "a reason that is a novel": {"reason": "x" * 501},
    "a signing time without a zone": {"signing_time": NOW.replace(tzinfo=None)},
}


@pytest.mark.parametrize("case", WRONG_ORDERS)
def test_an_order_to_prepare_that_makes_no_sense_is_refused(case: str, tmp_path: Path) -> None:
    order = dataclasses.replace(a_signatory().order(DOCUMENT, tmp_path / "tail"), **WRONG_ORDERS[case])
    with pytest.raises(Refused) as refused:
        prepare(order)
    assert refused.value.code == "wrong-order"
    assert not (tmp_path / "tail").exists()


def test_a_reason_that_looks_like_a_place_stays_a_reason(tmp_path: Path) -> None:
    signed = a_signatory().signs(DOCUMENT, tmp_path / "signed.pdf", reason="/Contents <00> /ByteRange [0 1 2 3] (x")
    assert signed.exists()
