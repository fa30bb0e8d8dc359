"""Complete a signed document: the value and the timestamp go into their place, and the result is validated.

A pure function of stored things: the same order gives the same bytes, by anybody, any number of times. If we die
before the rename nothing has happened; after it the file is whole. Nothing gets its final name unless it
validates: the whole file covered, the value made by the certificate's key over the digest that was confirmed, the
chain as given, the timestamp over this value, and every earlier signature as it was.

The document is read once: what is copied is what is hashed. What we appended is checked directly (`finished`); a
document in which somebody has signed before is validated by pyHanko besides, and so is whatever is unusual.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import BinaryIO, Final

from asn1crypto import x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.status import PdfSignatureStatus
from pyhanko_certvalidator import ValidationContext

from signing_service.pdf import cms
from signing_service.pdf.files import appearing
from signing_service.pdf.finished import Unusual, check_finished
from signing_service.pdf.place import filled, message_digest, place_in
from signing_service.pdf.reading import reader_of, refusing
from signing_service.pdf.signatures import (
    covers_whole_file,
    embedded_signatures,
    standings,
    status_of,
    unharmed,
    untrusting,
)
from signing_service.pdf.work import Completed, CompleteOrder, Level, Refused

_CHUNK: Final = 1 << 18     # stays in the processor's cache between the hash and the copy
_SIGNED: Final = b"/ByteRange"


@dataclass(frozen=True)
class Copied:
    """A document that was read and copied. Both digests are of all its bytes: SHA-256, and the algorithm's hash."""

    size: int
    whole: hashlib._Hash
    message: hashlib._Hash
    is_signed: bool     # it may carry a signature: no signature can hide its /ByteRange and still cover the file


def complete(order: CompleteOrder) -> Completed:
    """Write the signed document, validated and whole; it is durable when the store has taken it.

    Raises `Refused`: wrong-order, wrong-tail, not-what-was-confirmed (document and tail do not give `to_sign`),
    wrong-value (not made by this certificate's key), place-too-small, invalid-output. Then no output is there.
    """
    if (order.level is Level.B_T) != (order.timestamp_token is not None):
        raise Refused("wrong-order", f"Level {order.level} and the timestamp token do not agree.")
    with order.document.open("rb") as document, appearing(order.output) as output:
        copied = _copied(order, document, output)
        signed_tail = _signed_tail(order, copied, order.tail.read_bytes())
        output.write(signed_tail)
        _check(order, copied, signed_tail, document, output)
        copied.whole.update(signed_tail)
        return Completed(digest=copied.whole.hexdigest(), size=output.tell())


def _copied(order: CompleteOrder, document: BinaryIO, output: BinaryIO) -> Copied:
    whole = hashlib.sha256()
    message = hashlib.new(order.algorithm.digest.value)
    several = message.name != whole.name
    is_signed, before = False, b""
    while chunk := document.read(_CHUNK):
        output.write(chunk)
        whole.update(chunk)
        if several:
            message.update(chunk)
        is_signed = is_signed or _SIGNED in chunk or _SIGNED in before + chunk[:len(_SIGNED)]
        before = chunk[-len(_SIGNED):]
    return Copied(output.tell(), whole, message if several else whole.copy(), is_signed)


def _check(
    order: CompleteOrder, copied: Copied, signed_tail: bytes, document: BinaryIO, output: BinaryIO
) -> None:
    try:
        check_finished(copied.message, copied.size, signed_tail, order)
    except Unusual:
        _validate(order, document, output)
    else:
        if copied.is_signed:
            _validate(order, document, output)


def _signed_tail(order: CompleteOrder, copied: Copied, tail: bytes) -> bytes:
    """The tail with its place filled, once it is certain that this is what was confirmed."""
    place = place_in(tail, copied.size)
    message = message_digest(copied.message, tail, place)
    attributes = cms.signed_attributes(order.certificate, message)
    if cms.to_sign(order.algorithm, attributes) != order.to_sign:
        raise Refused("not-what-was-confirmed", "Document and tail are not the ones that were confirmed.")
    container = cms.container(
        order.certificate, order.chain, order.algorithm, attributes, order.signature_value, order.timestamp_token
    )
    return filled(tail, place, container)


def _validate(order: CompleteOrder, document: BinaryIO, output: BinaryIO) -> None:
    output.flush()
    with refusing():
        after = reader_of(output)
        ours = _ours(after)
        problem = _problem(ours, order)
        if problem is not None:
            raise Refused("invalid-output", f"The signed document does not validate: {problem}.")
        if not unharmed(standings(reader_of(document)), after):
            raise Refused("invalid-output", "An earlier signature of the document would be broken.")
    output.seek(0, os.SEEK_END)


def _ours(after: PdfFileReader) -> EmbeddedPdfSignature:
    """The signature that covers the whole file; there can be only one, because the later one covers the earlier."""
    for _, embedded in embedded_signatures(after):
        if embedded is not None and covers_whole_file(embedded):
            return embedded
    raise Refused("invalid-output", "No signature of the signed document covers all of it.")


def _problem(ours: EmbeddedPdfSignature, order: CompleteOrder) -> str | None:
    try:
        status = status_of(ours, _as_given(order, ours), untrusting())
    except MemoryError:
        raise
    except Exception:  # a token that is not one makes the validator stumble; that is an answer, too
        return "it cannot be read again"
    if not isinstance(status, PdfSignatureStatus) or not (status.intact and status.valid):
        return "the signature does not verify"
    if ours.signer_cert.dump() != order.certificate:
        return "it names another certificate"
    if not status.trusted:
        return f"the certificate's chain does not validate ({status.trust_problem_indic})"
    stamped = status.timestamp_validity
    if order.timestamp_token is not None and not (stamped and stamped.intact and stamped.valid):
        return "the timestamp does not belong to this signature"
    return None


def _as_given(order: CompleteOrder, ours: EmbeddedPdfSignature) -> ValidationContext:
    """Trust in the top of the given chain, at the signing time: a question of form, the same answer next year."""
    given = [x509.Certificate.load(each) for each in (order.certificate, *order.chain)]
    return ValidationContext(
        trust_roots=given[-1:],
        other_certs=given[:-1],
        allow_fetching=False,
        moment=ours.self_reported_timestamp,
        best_signature_time=ours.self_reported_timestamp,
    )
