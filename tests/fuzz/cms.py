"""The signatures that a document carries already: each input is a CMS container in a document with room for it.

Whatever stands there, looking and judging answer; and nobody is called the signer of a valid signature whose
certificate is another than that of who signed, or that was not intact when it was looked at. Only where there are
several timestamp tokens do the two look at different things: who judges needs no more than the first that is to be
trusted, who looks trusts none, reads them all, and calls broken what has one that cannot be read.
"""

from __future__ import annotations

from typing import Final

from signing_service.errors import Invalid
from signing_service.pdf.messages import Verb
from signing_service.pdf.work import JudgeOrder, Limits, LookOrder, Verdict
from tests.fuzz import der
from tests.fuzz.pdf_intake import asked, in_memory
from tests.fuzz.stage import CONTENTS, moment, stage
from tests.fuzz.target import Target


def run(data: bytes) -> str:
    document = in_memory(_carrying(data))
    try:
        told = asked(Verb.LOOK, LookOrder(document, Limits()))
        (judged,) = asked(Verb.JUDGE, JudgeOrder(document, (stage()["root"],), moment()))
    except Invalid as refused:
        return refused.code
    (seen,) = told.signatures
    if judged.verdict is Verdict.VALID:
        assert judged.certificate == stage()["signer"]
        assert judged.intact
        assert seen.intact or data.count(TST_INFO) > 1
    return str(judged.problem or "valid")


def _carrying(container: bytes) -> bytes:
    return DOCUMENT[:FIRST] + container.hex().encode()[:ROOM].ljust(ROOM, b"0") + DOCUMENT[FIRST + ROOM:]


def seeds() -> list[bytes]:
    return [stage()["cms B-B"], stage()["cms B-T"]]


TST_INFO: Final = bytes.fromhex("060b2a864886f70d0109100104")  # id-ct-TSTInfo (RFC 3161 2.4.2), once in each token
DOCUMENT: Final = stage()["document"]
_PLACE: Final = CONTENTS.search(DOCUMENT)
assert _PLACE is not None
FIRST: Final = _PLACE.start(1)
ROOM: Final = len(_PLACE[1])
TARGET: Final = Target(run, seeds, der.mutate, largest=ROOM // 2, short=30)
