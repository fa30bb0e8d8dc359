"""The direct check of a finished document against the complete validator: what that one refuses is refused here.

Both are given the same changed file. The direct check may refuse more (it knows what the file must be); it may never
accept what pyHanko's validator, or the comparison with what was confirmed, refuses.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms as asn1
from asn1crypto import x509 as asn1_x509

from hsm.algorithms import Algorithm
from signing_service.pdf import cms
from signing_service.pdf.complete import complete
from signing_service.pdf.finished import Unusual, check_finished
from signing_service.pdf.judge import judge
from signing_service.pdf.work import CompleteOrder, JudgeOrder, Level, Refused, Verdict
from tests.support import campaign
from tests.support.software_signatory import AUTHORITY, NOW, Signatory, a_signatory, timestamp

DOCUMENTS = Path(__file__).parents[1] / "documents"


@dataclass(frozen=True)
class Finished:
    """A signed document, the order that made it, and where its parts begin."""

    content: bytes
    border: int
    order: CompleteOrder

    @property
    def place(self) -> tuple[int, int]:
        """The hexadecimal digits of /Contents."""
        start = self.content.index(b"/Contents <", self.border) + len(b"/Contents <")
        return start, self.content.index(b">", start)

    @property
    def container(self) -> bytes:
        start, end = self.place
        padded = bytes.fromhex(self.content[start:end].decode())
        return asn1.ContentInfo.load(padded).dump()

    def holding(self, container: bytes) -> bytes:
        """The same document with another container in its place."""
        start, end = self.place
        return self.content[:start] + container.hex().encode().ljust(end - start, b"0") + self.content[end:]


CASES = {
    "p-256, a table of references": ("ke-hoach.pdf", "p-256", Algorithm.ECDSA_SHA256, False),
    "p-256 with a timestamp": ("ke-hoach.pdf", "p-256", Algorithm.ECDSA_SHA256, True),
    "rsa, a stream of references": ("qpdf-object-streams.pdf", "rsa", Algorithm.RSA_SHA512, False),
    "pss with a timestamp": ("cairo.pdf", "rsa", Algorithm.PSS_SHA256, True),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished")


@pytest.fixture(scope="module")
def of(folder: Path) -> Callable[[str], Finished]:
    @lru_cache
    def made(case: str) -> Finished:
        name, kind, algorithm, timestamped = CASES[case]
        return finished(a_signatory("Người ký", kind, algorithm), DOCUMENTS / name, folder / "made", timestamped)

    return made


def finished(signatory: Signatory, document: Path, output: Path, timestamped: bool) -> Finished:
    tail = output.with_suffix(".tail")
    prepared = signatory.prepares(document, tail, level=Level.B_T if timestamped else Level.B_B)
    value = signatory.sign(prepared.to_sign)
    token = timestamp(value) if timestamped else None
    order = signatory.completes_with(document, tail, output, prepared, value, token=token)
    complete(order)
    return Finished(output.read_bytes(), document.stat().st_size, order)


def accepts(case: Finished, content: bytes) -> bool:
    """What the direct check says of a changed file; what it calls unusual is left to the other one."""
    prefix = hashlib.new(case.order.algorithm.digest.value, content[: case.border])
    try:
        check_finished(prefix, case.border, content[case.border :], case.order)
    except (Refused, Unusual):
        return False
    return True


def complete_validator_accepts(content: bytes, path: Path) -> bool:
    logging.disable()   # it logs every broken chain and token at length
    try:
        path.write_bytes(content)
        judgements = judge(JudgeOrder(path, (AUTHORITY.root,), NOW))
        return bool(judgements) and all(each.verdict is Verdict.VALID for each in judgements)
    except Exception:   # whatever a library raises about a broken file: it does not accept it
        return False
    finally:
        logging.disable(logging.NOTSET)


Change = Callable[[random.Random, Finished], bytes]


def _somewhere(draw: random.Random, case: Finished) -> int:
    """In the document, in the tail or in the container: each as often."""
    start = case.place[0]
    return draw.choice((
        draw.randrange(case.border), draw.randrange(case.border, len(case.content)),
        draw.randrange(start, start + 2 * len(case.container)),
    ))


def _flipped(draw: random.Random, case: Finished) -> bytes:
    at = _somewhere(draw, case)
    return case.content[:at] + bytes((case.content[at] ^ (1 << draw.randrange(8)),)) + case.content[at + 1 :]


def _another_digit(draw: random.Random, case: Finished) -> bytes:
    start = case.place[0]
    at = draw.randrange(start, start + 2 * len(case.container))
    other = draw.choice([digit for digit in b"0123456789abcdef" if digit != case.content[at]])
    return case.content[:at] + bytes((other,)) + case.content[at + 1 :]


def _lost(draw: random.Random, case: Finished) -> bytes:
    at = _somewhere(draw, case)
    return case.content[:at] + case.content[at + draw.randrange(1, 40) :]


def _inserted(draw: random.Random, case: Finished) -> bytes:
    at = _somewhere(draw, case)
    return case.content[:at] + draw.randbytes(draw.randrange(1, 40)) + case.content[at:]


def _moved(draw: random.Random, case: Finished) -> bytes:
    at, to = sorted((_somewhere(draw, case), _somewhere(draw, case)))
    changed = case.content[:at] + case.content[to : to + 30] + case.content[at + 30 :]
    return changed if changed != case.content else case.content + b"\n"


def _cut(draw: random.Random, case: Finished) -> bytes:
    return case.content[: draw.randrange(case.border, len(case.content))]


def _continued(draw: random.Random, case: Finished) -> bytes:
    tail = case.content[case.border :]
    return case.content + draw.choice((b"\n", b"%", b"%%EOF\n", tail, draw.randbytes(200)))


CHANGES: tuple[Change, ...] = (_flipped, _flipped, _another_digit, _lost, _inserted, _moved, _cut, _continued)


@pytest.mark.parametrize("name", CASES)
def test_no_change_that_the_complete_validator_refuses_is_accepted(
    name: str, of: Callable[[str], Finished], tmp_path: Path
) -> None:
    case, draw = of(name), random.Random(f"finished {name}")
    assert accepts(case, case.content)
    assert complete_validator_accepts(case.content, tmp_path / "whole.pdf")
    asked = refused_by_both = 0
    total = campaign.rounds(150, 5_000)
    for number in range(total):
        changed = draw.choice(CHANGES)(draw, case)
        accepted = accepts(case, changed)
        if accepted or number % campaign.rounds(50, 2) == 0:    # the complete validator takes its time
            asked += 1
            refused = not complete_validator_accepts(changed, tmp_path / "changed.pdf")
            refused_by_both += refused
            assert not (accepted and refused), f"change {number} of {name}"
        assert not accepted, f"change {number} of {name}: no other bytes than the confirmed ones are right"
    assert refused_by_both
    campaign.proven(
        "finished-mutations " + name.replace(",", ""), changes=total, accepted=0, complete_validator_asked=asked,
        refused_by_both=refused_by_both)


def _opened(case: Finished) -> Any:
    return asn1.ContentInfo.load(case.container).copy()


def _signer(info: Any) -> Any:
    return info["content"]["signer_infos"][0]


def _without_certificate_id(case: Finished) -> bytes:
    info = _opened(case)
    kept = [each for each in _signer(info)["signed_attrs"] if each["type"].native != "signing_certificate_v2"]
    return _signed_again(case, info, asn1.CMSAttributes(kept))


def _with_a_signing_time(case: Finished) -> bytes:
    info = _opened(case)
    more = asn1.CMSAttribute({"type": "signing_time", "values": [asn1.Time({"utc_time": NOW})]})
    return _signed_again(case, info, asn1.CMSAttributes([*_signer(info)["signed_attrs"], more]))


def _signed_again(case: Finished, info: Any, attributes: Any) -> bytes:
    """The container as the signatory's own key would make it over these attributes: nothing is forged in it."""
    _signer(info)["signed_attrs"] = attributes
    digest = hashlib.new(case.order.algorithm.digest.value, attributes.untag().dump()).digest()
    _, kind, algorithm, _ = next(each for each in CASES.values() if each[2] is case.order.algorithm)
    _signer(info)["signature"] = Signatory(case.order.certificate, kind, algorithm).sign(digest)
    encoded: bytes = info.dump(force=True)
    return encoded


def _with_another_certificate(case: Finished) -> bytes:
    info = _opened(case)
    stranger = a_signatory("Người khác").certificate
    info["content"]["certificates"] = asn1.CertificateSet([
        *info["content"]["certificates"],
        asn1.CertificateChoices("certificate", asn1_x509.Certificate.load(stranger)),
    ])
    encoded: bytes = info.dump(force=True)
    return encoded


def _without_its_chain(case: Finished) -> bytes:
    order = case.order
    attributes = asn1.CMSAttributes(list(_signer(_opened(case))["signed_attrs"])).dump()
    return cms.container(
        order.certificate, (), order.algorithm, attributes, order.signature_value, order.timestamp_token)


def _without_its_timestamp(case: Finished) -> bytes:
    info = _opened(case)
    _signer(info)["unsigned_attrs"] = asn1.CMSAttributes([])
    encoded: bytes = info.dump(force=True)
    return encoded


def _with_another_timestamp(case: Finished) -> bytes:
    info = _opened(case)
    token = asn1.ContentInfo.load(timestamp(b"something else"))
    _signer(info)["unsigned_attrs"] = asn1.CMSAttributes(
        [asn1.CMSAttribute({"type": "signature_time_stamp_token", "values": [token]})])
    encoded: bytes = info.dump(force=True)
    return encoded


def _with_a_detached_countersignature(case: Finished) -> bytes:
    info = _opened(case)
    more = asn1.CMSAttribute({"type": "content_type", "values": ["data"]})
    _signer(info)["unsigned_attrs"] = asn1.CMSAttributes([*_signer(info)["unsigned_attrs"], more])
    encoded: bytes = info.dump(force=True)
    return encoded


def _with_its_content(case: Finished) -> bytes:
    info = _opened(case)
    info["content"]["encap_content_info"] = {"content_type": "data", "content": b"content"}
    encoded: bytes = info.dump(force=True)
    return encoded


def _with_two_signers(case: Finished) -> bytes:
    info = _opened(case)
    info["content"]["signer_infos"] = asn1.SignerInfos([_signer(info), _signer(info)])
    encoded: bytes = info.dump(force=True)
    return encoded


def _with_bytes_behind_it(case: Finished) -> bytes:
    return case.container + b"\x30\x00"


def _in_a_longer_form(case: Finished) -> bytes:
    """BER: the same value with one more byte of length."""
    assert case.container[1] == 0x82
    return b"\x30\x83\x00" + case.container[2:]


def _of_indefinite_length(case: Finished) -> bytes:
    return b"\x30\x80" + case.container[4:] + b"\0\0"


OTHER_CONTAINERS = {
    "without the digest of its certificate": _without_certificate_id,
    "with a signing time, which PAdES forbids": _with_a_signing_time,
    "with one more certificate": _with_another_certificate,
    "without its chain": _without_its_chain,
    "without its timestamp": _without_its_timestamp,
    "with a timestamp of something else": _with_another_timestamp,
    "with one more unsigned attribute": _with_a_detached_countersignature,
    "with a content of its own": _with_its_content,
    "with two signers": _with_two_signers,
    "with bytes behind it": _with_bytes_behind_it,
    "with a length in a longer form": _in_a_longer_form,
    "of indefinite length": _of_indefinite_length,
}


@pytest.mark.parametrize("name", OTHER_CONTAINERS)
def test_a_container_is_refused(name: str, of: Callable[[str], Finished]) -> None:
    case = of("p-256 with a timestamp")
    changed = OTHER_CONTAINERS[name](case)
    assert changed != case.container
    assert not accepts(case, case.holding(changed))


def test_digits_in_capitals_are_not_what_we_write(of: Callable[[str], Finished]) -> None:
    case = of("p-256, a table of references")
    start, end = case.place
    assert not accepts(case, case.content[:start] + case.content[start:end].upper() + case.content[end:])


def _wrong_orders(case: Finished) -> Iterator[tuple[str, CompleteOrder]]:
    order, other = case.order, a_signatory("Người khác")
    yield "another certificate", dataclasses.replace(order, certificate=other.certificate)
    yield "another chain", dataclasses.replace(order, chain=())
    yield "another digest that was confirmed", dataclasses.replace(order, to_sign=bytes(32))
    yield "another value", dataclasses.replace(order, signature_value=other.sign(order.to_sign))
    yield "another algorithm", dataclasses.replace(order, algorithm=Algorithm.ECDSA_SHA512)
    yield "another timestamp", dataclasses.replace(order, timestamp_token=timestamp(b"another"))
    yield "no timestamp", dataclasses.replace(order, timestamp_token=None)


def test_a_document_that_is_not_the_order_s_is_refused(of: Callable[[str], Finished]) -> None:
    case = of("p-256 with a timestamp")
    accepted = [name for name, order in _wrong_orders(case)
                if accepts(dataclasses.replace(case, order=order), case.content)]
    assert accepted == []
