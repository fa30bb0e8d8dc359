"""Every bomb and trap by its name, and what must become of it when somebody submits it.

`TRAPS` is the table of the tests: a maker, and the codes that are right. A trap that costs about as much as a document
may is refused as too costly on a slow machine and for what is wrong with it on a fast one, so it has two. `ACCEPTED`
stands where the trap is about something that nobody opens before the document is drawn or judged: it is taken in, and
whoever draws it has walls of their own. `DENIED` is the policy's answer to a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.support.hostile_content import CONTENT, FONTS, PICTURES, WORDS
from tests.support.hostile_pdf import ACTIVE, BOMBS, LOOPS
from tests.support.hostile_signatures import SIGNATURES
from tests.support.hostile_structure import ENCRYPTED, FRAMES, OBJECT_STREAMS, TABLES, TREES

Make = Callable[[], bytes]
Codes = frozenset[str]

ACCEPTED, DENIED = "accepted", "denied"
BROKEN: Final = frozenset({"broken"})
COSTLY: Final = frozenset({"document-too-costly"})
EITHER: Final = BROKEN | COSTLY
TAKEN: Final = frozenset({ACCEPTED})
TAKEN_OR_COSTLY: Final = TAKEN | COSTLY
WARNED: Final = frozenset({DENIED})
WARNED_OR_COSTLY: Final = WARNED | COSTLY
NO_PDF: Final = frozenset({"not-a-pdf"})
CUT_OFF: Final = frozenset({"truncated"})
LOCKED: Final = frozenset({"certified-no-changes"})
CROWDED: Final = frozenset({"too-many-signatures"})
CROWDED_OR_COSTLY: Final = CROWDED | COSTLY
MANY_OR_COSTLY: Final = COSTLY | {"too-many-revisions"}


@dataclass(frozen=True)
class Trap:
    """A document nobody honest makes, and the codes of the answers that are right."""

    make: Make
    codes: Codes


def _all(table: Mapping[str, Make], codes: Codes, **others: tuple[str, ...]) -> dict[str, Trap]:
    """The table with these codes; `others` are named by their codes' constants, and list the exceptions."""
    exceptions = {name: globals()[kind] for kind, names in others.items() for name in names}
    assert exceptions.keys() <= table.keys(), exceptions.keys() - table.keys()
    return {name: Trap(make, exceptions.get(name, codes)) for name, make in table.items()}


def _ready(table: Mapping[str, bytes]) -> dict[str, Make]:
    return {name: partial(bytes, content) for name, content in table.items()}


TRAPS: Final[dict[str, Trap]] = {
    **_all(BOMBS, EITHER | CUT_OFF | {"too-many-pages", "too-many-revisions", "active-content"}),
    **_all(_ready(LOOPS), EITHER),
    **_all(_ready(ACTIVE), frozenset({"active-content"})),
    **_all(TABLES, BROKEN, COSTLY=("a table packed with a predictor of no columns",), MANY_OR_COSTLY=(
        "fifty thousand revisions",
    ), TAKEN_OR_COSTLY=("a table with four hundred thousand lines for one object",), EITHER=(
        "a table with a line for each of a million objects", "a table in a million pieces",
        "a table whose columns are two thousand million bytes wide", "a table of a size beyond all numbers",
        "a table packed with a predictor two thousand million columns wide",
        "a table through a hundred thousand filters")),
    **_all(OBJECT_STREAMS, BROKEN, TAKEN=(
        "a page in an object stream", "an object stream that goes on in itself",
        "an object stream of two thousand million objects")),
    **_all(TREES, BROKEN, TAKEN=(
        "a page tree with fewer pages than none", "a page tree that says it has two thousand million pages",
        "a page that is its own parent", "a page that is its own parent and has no size",
        "names that lead back to themselves", "page numbers that lead back to themselves",
        "a structure that contains itself", "annotations that are their own list",
        "an annotation that is its own parent and popup",
        "requirements, extensions and pieces of others, all in circles",
    ), WARNED=(
        "embedded files by names that lead back to themselves", "layers in an order that contains itself",
    ), EITHER=("a bookmark for each of sixty thousand places", "a chain of a hundred thousand references",
               "a form a thousand levels deep")),
    **_all(ENCRYPTED, frozenset({"encrypted"})),
    **_all(FRAMES, NO_PDF, CUT_OFF=(
        "a header alone", "a table of contents behind the end", "a document that was cut in half",
        "a table of contents at a place of fifteen hundred digits", "forty megabytes behind the end",
    ), BROKEN=(
        "a header and an end", "forty megabytes of noise in a frame", "a hundred thousand ends",
        "a table of contents at the beginning of the file", "a version that is no number",
    ), TAKEN=("a version nobody has seen",)),
    **_all(CONTENT, TAKEN_OR_COSTLY, BROKEN=("pieces of a page that are their own list",)),
    **_all(FONTS, TAKEN_OR_COSTLY),
    **_all(PICTURES, TAKEN),
    **_all(WORDS, TAKEN, BROKEN=(
        "a title that refers to itself", "information that refers to itself", "octal digits that mean too much",
        "references written in huge numbers",
    ), TAKEN_OR_COSTLY=("names that are one", "a title of twenty megabytes", "metadata of forty megabytes")),
    **_all(SIGNATURES, WARNED, WARNED_OR_COSTLY=(
        "a signature that covers a million pieces", "a signature of eight megabytes",
        "a signature of sequences within sequences", "a signature with two thousand certificates",
        "a signature with ten thousand signers", "a signature with twenty thousand attributes",
        "a signature value of eight megabytes", "a signature by a certificate of a thousand critical extensions",
        "a signature by an RSA key of a hundred thousand bits",
        "a signature by an RSA key of sixteen thousand bits with an exponent as large",
        "a lock that names a hundred thousand fields", "evidence of a hundred thousand certificates",
        "a signature before thirty thousand changes",
    ), BROKEN=(
        "thirty-two signatures over thirty megabytes", "a document certified for something unheard of",
        "a document certified by a name", "a document certified by a reference to itself",
    ), LOCKED=("a document certified against every change",), CROWDED=(
        "thirty-three signatures",
    ), CROWDED_OR_COSTLY=("ten thousand fields with one signature",),
       TAKEN=("a form that says that it is signed by a name",)),
}
