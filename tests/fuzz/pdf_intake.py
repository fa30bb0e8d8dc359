"""A document comes in: looked at as a pdf worker looks at it, and answered as the pool answers.

What the library raises about a document is a refusal (`orders`), what costs too much is one as well; a fault of the
machine (503: try again) must never be the answer to anything a document says.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from signing_service.errors import Invalid
from signing_service.pdf import orders
from signing_service.pdf.answers import result
from signing_service.pdf.child import _TRADE as TRADE
from signing_service.pdf.messages import AnyOrder, Order, Verb, encoded
from signing_service.pdf.work import Completed, Judgement, Limits, Look, LookOrder, Prepared
from tests.fuzz.havoc import havoc
from tests.fuzz.target import Target
from tests.support import hostile_pdf, raw_pdf

DOCUMENTS: Final = Path(__file__).parents[1] / "documents"
LARGEST: Final = 9_000      # bytes of a seed: larger documents are slower, not deeper
OBJECT: Final = re.compile(rb"(\d+) \d+ obj\b(.*?)\bendobj", re.DOTALL)
WORDS: Final = (
    b"null", b"true", b"[]", b"<<>>", b"()", b"<>", b"(", b"<<", b">>", b"[", b"]", b"1 0 R", b"2 0 R", b"3 0 R",
    b"4 0 R", b"99 0 R", b"-1", b"0.5", b"4294967296", b"/Type /Catalog", b"/Type /Page",
    b"/Type /ObjStm /N 2 /First 9",
    b"/Type /XRef /W [1 2 1] /Size 9", b"/Kids [3 0 R 3 0 R]", b"/Kids [2 0 R]", b"/Count -1", b"/Parent 3 0 R",
    b"/Annots [<< /Subtype /Widget /FT /Sig >>]", b"/Annots 4 0 R", b"/AcroForm << /Fields [3 0 R] >>",
    b"/AcroForm << /Fields [5 0 R] /SigFlags 3 >>", b"/FT /Sig /T (a) /V 5 0 R", b"/ByteRange [0 1 2 3]",
    b"/Type /Sig /Filter /Adobe.PPKLite /SubFilter /ETSI.CAdES.detached /Contents <30> /ByteRange [0 9 20 9]",
    b"/Perms << /DocMDP 5 0 R >>", b"/Reference [<< /TransformMethod /DocMDP /TransformParams << /P 1 >> >>]",
    b"/Outlines << /First 5 0 R >>", b"/Next 5 0 R", b"/AA << /O 5 0 R >>", b"/A << /S /GoTo >>", b"/OpenAction 5 0 R",
    b"/Names << /EmbeddedFiles 5 0 R >>", b"/OCProperties << >>", b"/Filter /FlateDecode",
    b"/Filter [/ASCIIHexDecode /FlateDecode]", b"/Filter /LZWDecode", b"/Filter /RunLengthDecode",
    b"/DecodeParms << /Predictor 12 /Columns 4 >>", b"/Length 5 0 R", b"/Encrypt << >>", b"/Extends 5 0 R",
    b"/Metadata 5 0 R", b"/Info << /Title (\xfe\xff\xd8\x00) /Producer <FEFF> >>", b"stream\n", b"\nendstream",
    b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type0 /ToUnicode 4 0 R >> >> >>",
    b"BT /F1 9 Tf (M\\304) Tj ET",
    b"/Prev 9", b"/XRefStm 9", b"#00", b"\x00", b"\\999",
)


def run(data: bytes) -> str:
    try:
        asked(Verb.LOOK, LookOrder(in_memory(data), Limits()))
    except Invalid as refused:
        return refused.code
    return "taken"


def asked(verb: Verb, order: AnyOrder) -> Any:
    """What a worker and the pool make of an order; the clock of a campaign stands for the worker's CPU limit."""
    return result(verb, orders._answer(Order(verb, 0, msgspec.Raw(encoded(order))), TRADE), _SHAPE[verb])


def in_memory(data: bytes) -> Path:
    """In memory, under a name that can be opened like any other."""
    os.ftruncate(_MEMORY, 0)
    os.pwrite(_MEMORY, data, 0)
    return Path(f"/proc/self/fd/{_MEMORY}")


def mutate(data: bytes, rng: Random) -> bytes:
    """Objects are changed and the table is written again, so that they are found; one in three is only shaken."""
    objects = {int(number): body.strip() for number, body in OBJECT.findall(data) if len(number) < 4}
    if not objects or rng.random() < 0.3:
        return havoc(data, rng)
    changed = dict(objects)
    for _ in range(rng.randint(1, 4)):
        _change(changed, rng)
    trailer = rng.choice((b"", b"", b"", rng.choice(WORDS), b"/Info 5 0 R"))
    if rng.random() < 0.2:  # as an update of what was there
        whole = raw_pdf.document(objects)
        return whole + raw_pdf.revision(changed, len(whole), b"/Prev %d %s" % (whole.rfind(b"xref\n0"), trailer))
    return raw_pdf.document(changed, trailer)


def _change(objects: dict[int, bytes], rng: Random) -> None:
    number = rng.choice(list(objects))
    body = objects[number]
    match rng.randrange(6):
        case 0:
            objects[number] = havoc(body, rng)
        case 1:
            objects[max(objects) + 1] = rng.choice((body, b"<< %s >>" % rng.choice(WORDS)))
        case 2:
            objects[number] = objects[rng.choice(list(objects))]
        case 3:
            objects[number] = rng.choice(WORDS)
        case _:
            blanks = [found.start() for found in re.finditer(rb"[ \n/]", body)] or [0]
            at = rng.choice(blanks)
            objects[number] = body[:at] + b" " + rng.choice(WORDS) + b" " + body[at + rng.choice((0, 0, 0, 6)):]


def seeds() -> list[bytes]:
    files = [path.read_bytes() for path in sorted(DOCUMENTS.rglob("*.pdf")) if path.stat().st_size <= LARGEST]
    return [*files, raw_pdf.document(raw_pdf.one_page()), *hostile_pdf.ACTIVE.values()]


_SHAPE: Final[dict[Verb, Any]] = {
    Verb.LOOK: Look, Verb.JUDGE: tuple[Judgement, ...], Verb.PREPARE: Prepared, Verb.COMPLETE: Completed,
}
_MEMORY: Final = os.memfd_create("document")
orders._allow_cpu = lambda seconds: None    # the limit of a process's life; here it is the campaign's to set
TARGET: Final = Target(run, seeds, mutate, largest=24_000, short=60)
