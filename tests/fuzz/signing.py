"""A document is taken, prepared, signed and completed: what got through the first doors never fails at the last.

Whatever a document looks like, if its tail was written (directly or by pyHanko) then what was signed over it completes,
and the complete validator, which knows nothing of our own reading and writing, finds it valid: all of it, unchanged.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from signing_service.errors import Invalid
from signing_service.pdf.messages import Verb
from signing_service.pdf.work import Judgement, JudgeOrder, Limits, LookOrder, Verdict
from tests.fuzz import pdf_intake
from tests.fuzz.pdf_intake import asked
from tests.fuzz.target import Target
from tests.support.software_signatory import AUTHORITY, NOW, Signatory, a_signatory


def run(data: bytes) -> str:
    DOCUMENT.write_bytes(data)
    try:
        ground = asked(Verb.LOOK, LookOrder(DOCUMENT, Limits())).ground
    except Invalid:
        return "not taken"
    words = [_signed(data, each) for each in ((ground, None) if ground is not None else (None,))]
    return " and ".join(words)


def _signed(data: bytes, ground: Any) -> str:
    """With what the look has read, and without."""
    try:
        order = replace(signatory().order(DOCUMENT, TAIL), ground=ground)
        prepared = asked(Verb.PREPARE, order)
    except Invalid as refused:
        return refused.code
    OUTPUT.unlink(missing_ok=True)
    asked(Verb.COMPLETE, signatory().completes(DOCUMENT, TAIL, OUTPUT, prepared))
    assert OUTPUT.read_bytes().startswith(data)
    *_, judged = asked(Verb.JUDGE, JudgeOrder(OUTPUT, (AUTHORITY.root,), NOW))
    assert isinstance(judged, Judgement)
    assert (judged.verdict, judged.covers_whole_document) == (Verdict.VALID, True), judged.problem
    return "signed directly" if ground is not None else "signed"


@cache
def signatory() -> Signatory:
    return a_signatory()


FOLDER: Final = Path(tempfile.mkdtemp(prefix="signing-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
DOCUMENT, TAIL, OUTPUT = (FOLDER / name for name in ("document.pdf", "tail", "signed.pdf"))
TARGET: Final = Target(run, pdf_intake.seeds, pdf_intake.mutate, largest=24_000, short=25)
