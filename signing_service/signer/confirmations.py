"""A batch of confirmations through the door: three shared transactions, whoever waits goes along.

    W2a   raise every attempt counter                     then the codes, in the device
    W2b   accept the steps; W3 write the intents          then the signatures, in the device
    W4    record the outcomes

W2b and W3 are one transaction: a code is never spent without its confirmation and intents on record, and where
that commit fails nothing was signed and the code is still good. Confirmations in a batch do not know each other: a
refusal of one is an answer to that one (`together.py`), and many cost the statements of one. They are taken in the
order of their signatories, in which every signer locks rows: two of them never wait for each other in a circle.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from hsm.errors import DeviceError, Tampered
from signing_service.audit import Event, Fact, record
from signing_service.db.compiled import Compiled
from signing_service.db.tables import confirmation
from signing_service.errors import Denied, NotAuthorized, SigningError, Unavailable
from signing_service.ids import draw, matching_code
from signing_service.metrics import REQUESTS, SIGNATURES, stage
from signing_service.signer import clock, codes, intents, leases, phones
from signing_service.signer.grounds import Accepted, Asked
from signing_service.signer.runtime import Runtime
from signing_service.signer.together import Unfit, together
from signing_service.wire.messages import Confirm, Confirmed, LineOutcome

log = logging.getLogger(__name__)
PART = 64  # signatures until outcomes are written: a slow device must not carry a whole batch past its deadline
T = TypeVar("T")
R = TypeVar("R")
_CONFIRMED = Compiled(insert(confirmation))


@dataclass
class Case:
    """One confirmation on its way. `refusal` ends it; the rest goes on without it."""

    asked: Confirm
    refusal: SigningError | None = None
    phone: phones.Recognized | None = None
    attempt: codes.Attempt | None = None
    unseen: bool = False  # the device did not answer: the code is neither right nor wrong
    step: int | None = None
    accepted: Accepted | None = None
    intents: list[intents.Intent] = field(default_factory=list)
    outcomes: dict[str, LineOutcome] = field(default_factory=dict)

    @cached_property
    def matching_code(self) -> str:
        return matching_code((line.signing_request_id, line.document_digest) for line in self.asked.lines)

    @property
    def is_nobodys_fault(self) -> bool:
        """Refused before the code was looked at, or although it was right: it stays good and counts for nothing."""
        return self.refusal is not None and (self.unseen or self.step is not None)

    def answer(self) -> Confirmed | SigningError:
        if self.refusal is not None:
            return self.refusal
        assert self.accepted is not None
        lines = tuple(self.outcomes[line.signing_request_id] for line in self.asked.lines)
        return Confirmed(self.accepted.id, self.matching_code, lines)


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
        proofs = {case.asked.phone.id: case.asked.phone for case in cases if case.asked.phone is not None}
        found = phones.rows_of(self._rt, proofs) if proofs else {}
        for case in cases:
            if case.asked.phone is not None:
                try:
                    row = found.get(case.asked.phone.id)
                    case.phone = phones.recognized(self._rt, case.asked.phone, row, of=case.asked.signatory_id)
                except Tampered as error:
                    case.refusal = intents.report_tampering(self._rt, error, signatory_id=case.asked.signatory_id)
                except DeviceError as error:
                    case.refusal = _away("a phone", error)
                except SigningError as error:
                    case.refusal = error

    def _count(self, cases: list[Case]) -> None:
        tried = [case for case in cases if case.refusal is None]
        with stage("database"), self._rt.db.write() as tx:                                        # W2a
            now = clock.check(self._rt, tx)
            leases.check(self._rt)
            counted = codes.attempts(self._rt, tx, [case.asked.signatory_id for case in tried], now)
        for case, attempt in zip(tried, counted, strict=True):
            if isinstance(attempt, SigningError):
                case.refusal = attempt
            else:
                case.attempt = attempt

    def _evaluate(self, cases: list[Case]) -> None:
        with stage("code"):
            self._side_by_side(self._check_seed, (case for case in cases if case.attempt and case.refusal is None
                                                  and codes.is_new(self._rt, case.attempt)))
            seen = [case for case in cases if case.refusal is None]
            steps = codes.steps(self._rt, [(case.attempt, case.asked.code) for case in seen if case.attempt])
            for case, step in zip(seen, steps, strict=True):
                if isinstance(step, DeviceError):
                    case.refusal, case.unseen = _away("a code", step), True
                elif isinstance(step, Exception):
                    raise step
                else:
                    case.step = step

    def _check_seed(self, case: Case) -> None:
        assert case.attempt is not None
        try:
            codes.check_seed(self._rt, case.attempt)
        except Tampered as error:
            case.refusal = intents.report_tampering(self._rt, error, signatory_id=case.asked.signatory_id)
        except DeviceError as error:
            case.refusal, case.unseen = _away("a code", error), True
        except SigningError as error:  # the seed was exchanged at this moment
            case.refusal, case.unseen = error, True

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
        rejected: list[codes.Rejection] = []
        with stage("database"), self._rt.db.write() as tx:                                        # W2b and W3
            now = clock.check(self._rt, tx)
            self._look_at_phones(tx, cases)
            for case in cases:
                if case.attempt is not None and case.is_nobodys_fault:
                    codes.give_back(tx, case.attempt)
            self._accept(tx, [case for case in cases if case.refusal is None], rejected, now)
            codes.put_on_record(self._rt, tx, now, rejected)
            self._intend_lines(tx, [case for case in cases if case.accepted is not None], now)
        codes.tell(rejected, accepted=sum(case.accepted is not None for case in cases))

    def _look_at_phones(self, tx: Connection, cases: list[Case]) -> None:
        """A phone that was retired since it was recognized confirms nothing; the right code stays good."""
        shown = [(case, case.phone) for case in cases
                 if case.phone is not None and case.step is not None and case.refusal is None]
        if not shown:
            return
        still = phones.still(self._rt, tx, [phone for _, phone in shown])
        for case, phone in shown:
            if phone.id not in still:
                case.refusal = NotAuthorized(phones.UNKNOWN, code="phone")

    def _accept(self, tx: Connection, cases: list[Case], rejected: list[codes.Rejection], now: datetime) -> None:
        """Spend the codes that are right; the others, and those that were spent before, are rejected."""
        right = [case for case in cases if case.step is not None]
        accepted = together(tx, right, lambda some: self._spend(tx, some, now), refused=_was_spent)
        for case, taken in zip(right, accepted, strict=True):
            case.accepted = taken
        for case in cases:
            if case.accepted is None:
                assert case.attempt is not None
                no = codes.reject(case.attempt, client_id=case.asked.client_id, signatory_id=case.asked.signatory_id)
                case.refusal = no.refusal
                rejected.append(no)

    def _spend(self, tx: Connection, cases: Sequence[Case], now: datetime) -> list[Accepted | None]:
        """All of them, or an exception: one step was spent before, even if somebody set the counters back."""
        codes.accept(tx, [(case.attempt, case.step) for case in cases if case.attempt and case.step is not None])
        accepted = [Accepted(draw("co"), case.asked.signatory_id, case.asked.client_id, case.asked.channel)
                    for case in cases]
        try:
            _CONFIRMED.many(tx, [_row(case, each, now) for case, each in zip(cases, accepted, strict=True)])
        except IntegrityError as error:
            raise NotAuthorized(codes.NOT_ACCEPTED, code="code-not-accepted") from error
        record(tx, now, *(_confirmed(case, each) for case, each in zip(cases, accepted, strict=True)),
               mac=self._rt.entry_mac)
        return [*accepted]

    def _intend_lines(self, tx: Connection, cases: list[Case], now: datetime) -> None:
        asked = [(case, Asked(case.accepted, line))
                 for case in cases if case.accepted is not None for line in case.asked.lines]
        denied: list[Fact] = []
        answers = intents.intend(self._rt, tx, [each for _, each in asked], now)
        for (case, each), answer in zip(asked, answers, strict=True):
            if isinstance(answer, intents.Intent):
                case.intents.append(answer)
                continue
            reasons = [f"{finding.rule}: {finding.why}" for finding in getattr(answer, "findings", ())]
            case.outcomes[each.line.signing_request_id] = LineOutcome(
                each.line.signing_request_id, "denied", answer.code, " ".join([answer.message, *reasons]))
            denied.append(_denied(each, answer, reasons))
        record(tx, now, *denied, mac=self._rt.entry_mac)

    def _sign(self, cases: list[Case]) -> None:
        """From here the device may have signed. A crash leaves intents without outcome; reconcile closes them."""
        made = [each for case in cases for each in case.intents]
        if not made:
            return
        outcomes: dict[str, LineOutcome] = {}
        for at in range(0, len(made), PART):
            with stage("device"):
                performed = intents.perform(self._rt, made[at:at + PART])
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
                    told = intents.conclude(self._rt, tx, performed, now)
                outcomes = {each.signing_request_id: each for each in told}
                _show(performed, outcomes)
                return outcomes
            except Unavailable:
                if self._rt.now() >= min(each.intent.deadline for each in performed):
                    break
                self._pause()
        log.error("the outcomes of %d intents could not be recorded; reconcile will close them", len(performed))
        return {each.intent.signing_request_id: LineOutcome(
            each.intent.signing_request_id, "failed", intents.Outcome.UNKNOWN.value, intents.UNRECORDED)
            for each in performed}

    @staticmethod
    def _pause() -> None:
        time.sleep(0.2)

    def _side_by_side(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        each = list(items)
        return [work(each[0])] if len(each) == 1 else list(self._threads.map(work, each))

    def close(self) -> None:
        self._threads.shutdown()


def _was_spent(_case: Case, error: Unfit) -> None:
    """A code that was spent before is rejected. A fault of ours is nobody's wrong code, nor recorded as one."""
    if not isinstance(error, NotAuthorized):
        raise error


def _away(what: str, error: DeviceError) -> Unavailable:
    log.warning("%s could not be checked: %s", what, error)
    return Unavailable("The device does not answer. Nothing was signed.", code="device-away")


def _row(case: Case, accepted: Accepted, now: datetime) -> dict[str, object]:
    return {
        "id": accepted.id, "owner": accepted.signatory_id, "step": case.step, "client_id": accepted.client_id,
        "phone_id": case.phone.id if case.phone else None, "channel": accepted.channel,
        "matching_code": case.matching_code, "created_at": now,
    }


def _confirmed(case: Case, accepted: Accepted) -> Fact:
    return Fact(
        Event.CONFIRMED, f"person:{accepted.signatory_id}", client_id=accepted.client_id,
        signatory_id=accepted.signatory_id, data={
            "confirmation": accepted.id, "channel": accepted.channel, "matching_code": case.matching_code,
            "documents": len(case.asked.lines), **({"phone": case.phone.id} if case.phone else {})})


def _denied(asked: Asked, refusal: SigningError, reasons: list[str]) -> Fact:
    confirmed, line = asked.confirmed, asked.line
    return Fact(
        Event.CONFIRM_DENIED, f"person:{confirmed.signatory_id}",
        "denied" if isinstance(refusal, Denied) else "refused", client_id=confirmed.client_id,
        signatory_id=confirmed.signatory_id, credential_id=line.credential_id,
        signing_request_id=line.signing_request_id, document_digest=line.document_digest,
        data={"confirmation": confirmed.id, "code": refusal.code, "reasons": reasons},
    )


def _show(performed: list[intents.Performed], outcomes: dict[str, LineOutcome]) -> None:
    for each in performed:
        if outcomes[each.intent.signing_request_id].code != "late":  # then another has recorded and counted it
            SIGNATURES.labels(each.outcome.value).inc()
            REQUESTS.labels("finishing" if each.outcome is intents.Outcome.DONE else "failed").inc()

