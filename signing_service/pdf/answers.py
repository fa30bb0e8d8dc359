"""What came back from a worker, as a value or as the kind of refusal it stands for."""

from __future__ import annotations

from typing import TypeVar

from signing_service.errors import Invalid, Unavailable
from signing_service.pdf.messages import Answer, Outcome, ProtocolError, Verb, decoded
from signing_service.pdf.turns import RETRY_AFTER

_T = TypeVar("_T")


class WorkerFailed(Exception):
    """The cause behind an answer, for the log: what happened in the worker."""


def result(verb: Verb, answer: Answer, kind: type[_T]) -> _T:
    """The value. Raises `Invalid` for a document that is refused, `Unavailable` for what is our own trouble."""
    if answer.outcome is Outcome.REFUSED:
        raise Invalid(answer.message, code=answer.code)
    if answer.outcome is Outcome.BROKEN:
        raise Invalid("The document's structure is broken.", code="broken") from WorkerFailed(answer.message)
    if answer.outcome is Outcome.NO_FILES:
        raise no_file() from WorkerFailed(answer.message)
    if answer.outcome is Outcome.TOO_COSTLY:
        raise lost(verb)
    try:
        return decoded(answer.body, kind)
    except ProtocolError as error:
        raise lost(verb) from error


def lost(verb: Verb) -> Invalid | Unavailable:
    """The worker died over this order. Reading is refused for good; work of ours may be tried again."""
    if verb in (Verb.SURVEY, Verb.DRAW):
        return Invalid("This page costs more to draw than a page may.", code="page-too-costly")
    if verb in (Verb.LOOK, Verb.JUDGE):
        return Invalid("The document costs more to read than a document may.", code="document-too-costly")
    return Unavailable("The document could not be worked on in time.", retry_after=RETRY_AFTER)


def no_file() -> Unavailable:
    return Unavailable("A document's file cannot be read or written.")
