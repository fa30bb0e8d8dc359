"""A batch of confirmations through the door: three shared transactions, whoever waits goes along.

    W2a   raise every attempt counter                     then the codes, in the device
    W2b   accept the steps; W3 write the intents          then the signatures, in the device
    W4    record the outcomes

W2b and W3 are one transaction: a code is never spent without its confirmation and intents on record, and where
that commit fails nothing was signed and the code is still good. Confirmations in a batch do not know each other: a
refusal of one is an answer to that one, inside its own savepoint. They are taken in the order of their signatories,
in which every signer locks rows: two of them never wait for each other in a circle.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from hsm.errors import DeviceError, Tampered
from signing_service.audit import Event, Fact, record
from signing_service.db.tables import confirmation
from signing_service.errors import Denied, NotAuthorized, SigningError, Unavailable
from signing_service.ids import draw, matching_code
from signing_service.metrics import REQUESTS, SIGNATURES, stage
from signing_service.signer import clock, codes, intents, phones
from signing_service.signer.runtime import Runtime
from signing_service.wire.messages import Confirm, Confirmed, Line, LineOutcome

log = logging.getLogger(__name__)
PART = 64  # signatures until outcomes are written: a slow device must not carry a whole batch past its deadline
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Case:
    """One confirmation on its way. `refusal` ends it; the rest goes on without it."""

    asked: Confirm
    refusal: SigningError | None = None
    phone: phones.Recognized | None = None
    attempt: codes.Attempt | None = None
    unseen: bool = False  # the device did not answer: the code is neither right nor wrong
    step: int | None = None
    accepted: intents.Accepted | None = None
    intents: list[intents.Intent] = field(default_factory=list)
    outcomes: dict[str, LineOutcome] = field(default_factory=dict)

    @property
    def is_nobodys_fault(self) -> bool:
        """Refused before the code was looked at, or although it was right: it stays good and counts for nothing."""
        return self.refusal is not None and (self.unseen or self.step is not None)

    def answer(self) -> Confirmed | SigningError:
        if self.refusal is not None:
            return self.refusal
        assert self.accepted is not None
        lines = tuple(self.outcomes[line.signing_request_id] for line in self.asked.lines)
        return Confirmed(self.accepted.id, code_of(self.asked.lines), lines)


class Confirmations:
    """Takes a batch through. Device calls of one batch run side by side in `threads` threads."""

    def __init__(self, rt: Runtime, threads: int) -> None:
        self._rt = rt
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="confirm")

    def __call__(self, asked: Sequence[Confirm]) -> list[Confirmed | SigningError]:
        cases = [Case(each) for each in asked]
        ordered = sorted(cases, key=lambda case: case.asked.signatory_id)
        try:
            self._recognize(ordered)
            self._count(ordered)
            self._evaluate(ordered)
            self._look(ordered)
            self._intend(ordered)
        except SigningError as error:
            return [case.refusal or error for case in cases]  # nothing was signed
        self._sign(ordered)
        return [case.answer() for case in cases]

    def _recognize(self, cases: list[Case]) -> None:
        """Before any code is counted: who has not the person's phone cannot touch their counters through it."""
        for case in cases:
            if case.asked.phone is not None:
                try:
                    case.phone = phones.recognize(self._rt, case.asked.phone, of=case.asked.signatory_id)
                except Tampered as error:
                    case.refusal = intents.report_tampering(self._rt, error, signatory_id=case.asked.signatory_id)
                except DeviceError as error:
                    case.refusal = _away("a phone", error)
                except SigningError as error:
                    case.refusal = error

    def _count(self, cases: list[Case]) -> None:
        with stage("database"), self._rt.db.write() as tx:                                        # W2a
            now = clock.check(self._rt, tx)
            for case in (each for each in cases if each.refusal is None):
                try:
                    case.attempt = codes.attempt(self._rt, tx, case.asked.signatory_id, now)
                except NotAuthorized as error:
                    case.refusal = error

    def _evaluate(self, cases: list[Case]) -> None:
        def evaluate(case: Case) -> None:
            assert case.attempt is not None
            try:
                case.step = codes.evaluate(self._rt, case.attempt, case.asked.code)
            except Tampered as error:
                case.refusal = intents.report_tampering(self._rt, error, signatory_id=case.asked.signatory_id)
            except DeviceError as error:
                case.refusal = _away("a code", error)
                case.unseen = True
            except SigningError as error:  # the seed was exchanged at this moment
                case.refusal = error
                case.unseen = True

        with stage("code"):
            self._side_by_side(evaluate, (case for case in cases if case.refusal is None))

    def _look(self, cases: list[Case]) -> None:
        named = {line.credential_id for case in cases if case.step is not None for line in case.asked.lines}
        wrong = intents.look(self._rt, named) if named else {}
        for case in cases:
            for line in case.asked.lines if case.step is not None else ():
                case.refusal = case.refusal or wrong.get(line.credential_id)

    def _intend(self, cases: list[Case]) -> None:
        try:
            self._write_intents(cases)
        except Unavailable:
            if not self._are_kept(cases):
                raise
        REQUESTS.labels("signing").inc(sum(len(case.intents) for case in cases))

    def _are_kept(self, cases: list[Case]) -> bool:
        """Is W3 durable although its COMMIT was not acknowledged? Then these intents are ours alone, to act upon."""
        accepted = [case.accepted.id for case in cases if case.accepted is not None]
        if not accepted:
            return False
        with self._rt.db.read() as tx:  # one transaction wrote them all, so one is as good as all
            return tx.execute(select(confirmation.c.id).where(confirmation.c.id == accepted[0])).first() is not None

    def _write_intents(self, cases: list[Case]) -> None:
        with stage("database"), self._rt.db.write() as tx:                                        # W2b and W3
            now = clock.check(self._rt, tx)
            for case in cases:
                self._look_at_phone(tx, case)
                if case.attempt is not None and case.is_nobodys_fault:
                    codes.give_back(tx, case.attempt)
                if case.refusal is None:
                    self._accept(tx, case, now)
                if case.accepted is not None:
                    for line in case.asked.lines:
                        self._line(tx, case, line, now)

    def _look_at_phone(self, tx: Connection, case: Case) -> None:
        """A phone that was retired since it was recognized confirms nothing; the right code stays good."""
        if case.phone is not None and case.step is not None and case.refusal is None:
            try:
                phones.check_still(self._rt, tx, case.phone)
            except NotAuthorized as error:
                case.refusal = error

    def _accept(self, tx: Connection, case: Case, now: datetime) -> None:
        assert case.attempt is not None
        asked = case.asked
        where: dict[str, Any] = {"client_id": asked.client_id, "signatory_id": asked.signatory_id}
        if case.step is None or not codes.accept(tx, case.attempt, case.step):
            case.refusal = codes.reject(self._rt, tx, case.attempt, now, **where)
            return
        accepted = intents.Accepted(draw("co"), asked.signatory_id, asked.client_id, asked.channel)
        try:
            with tx.begin_nested():
                tx.execute(insert(confirmation).values(
                    id=accepted.id, owner=asked.signatory_id, step=case.step, client_id=asked.client_id,
                    phone_id=case.phone.id if case.phone else None, channel=asked.channel,
                    matching_code=code_of(asked.lines), created_at=now))
        except IntegrityError:  # the step was already spent, though somebody set the counters back
            case.refusal = codes.reject(self._rt, tx, case.attempt, now, **where)
            return
        record(tx, now, Fact(Event.CONFIRMED, f"person:{asked.signatory_id}", **where, data={
            "confirmation": accepted.id, "channel": asked.channel, "matching_code": code_of(asked.lines),
            "documents": len(asked.lines), **({"phone": case.phone.id} if case.phone else {})}), mac=self._rt.entry_mac)
        case.accepted = accepted

    def _line(self, tx: Connection, case: Case, line: Line, now: datetime) -> None:
        assert case.accepted is not None
        try:
            with tx.begin_nested():
                case.intents.append(intents.intend(self._rt, tx, case.accepted, line, now))
        except SigningError as error:
            kind = "denied" if isinstance(error, Denied) else "refused"
            reasons = [f"{finding.rule}: {finding.why}" for finding in getattr(error, "findings", ())]
            case.outcomes[line.signing_request_id] = LineOutcome(
                line.signing_request_id, "denied", error.code, " ".join([error.message, *reasons]))
            record(tx, now, Fact(
                Event.CONFIRM_DENIED, f"person:{case.accepted.signatory_id}", kind,
                client_id=case.accepted.client_id, signatory_id=case.accepted.signatory_id,
                credential_id=line.credential_id, signing_request_id=line.signing_request_id,
                document_digest=line.document_digest,
                data={"confirmation": case.accepted.id, "code": error.code, "reasons": reasons},
            ), mac=self._rt.entry_mac)

    def _sign(self, cases: list[Case]) -> None:
        """From here the device may have signed. A crash leaves intents without outcome; reconcile closes them."""
        made = [each for case in cases for each in case.intents]
        if not made:
            return
        outcomes: dict[str, LineOutcome] = {}
        for at in range(0, len(made), PART):
            with stage("device"):
                performed = self._side_by_side(lambda each: intents.perform(self._rt, each), made[at:at + PART])
            outcomes |= self._conclude(performed)
        for case in cases:
            for each in case.intents:
                case.outcomes[each.signing_request_id] = outcomes[each.signing_request_id]

    def _conclude(self, performed: list[intents.Performed]) -> dict[str, LineOutcome]:
        """W4, repeated until the deadline where the database is away: `conclude` knows its own outcome again."""
        while True:
            try:
                with stage("database"), self._rt.db.write() as tx:                                # W4
                    now = self._rt.now()
                    outcomes = {each.intent.signing_request_id: intents.conclude(self._rt, tx, each, now)
                                for each in performed}
                _show(performed, outcomes)
                return outcomes
            except Unavailable:
                if self._rt.now() >= min(each.intent.deadline for each in performed):
                    break
                self._pause()
        log.error("the outcomes of %d intents could not be recorded; reconcile will close them", len(performed))
        lost = "The signature could not be recorded. Its outcome is unknown."
        return {each.intent.signing_request_id:
                LineOutcome(each.intent.signing_request_id, "failed", "unknown-outcome", lost) for each in performed}

    @staticmethod
    def _pause() -> None:
        time.sleep(0.2)

    def _side_by_side(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        each = list(items)
        return [work(each[0])] if len(each) == 1 else list(self._threads.map(work, each))

    def close(self) -> None:
        self._threads.shutdown()


def _away(what: str, error: DeviceError) -> Unavailable:
    log.warning("%s could not be checked: %s", what, error)
    return Unavailable("The device does not answer. Nothing was signed.", code="device-away")


def _show(performed: list[intents.Performed], outcomes: dict[str, LineOutcome]) -> None:
    for each in performed:
        if outcomes[each.intent.signing_request_id].code != "late":  # then another has recorded and counted it
            SIGNATURES.labels(each.outcome.value).inc()
            REQUESTS.labels("finishing" if each.outcome is intents.Outcome.DONE else "failed").inc()


def code_of(lines: Iterable[Line]) -> str:
    return matching_code((line.signing_request_id, line.document_digest) for line in lines)
