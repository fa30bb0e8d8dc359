"""Operators' acts: each under the operator's own code, each on record. Over admin.sock all, through the web a few."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from hsm.algorithms import Algorithm, KeyKind, default_algorithm
from policies.document import PolicyInvalid, load
from signing_service.audit import Event, Fact, record
from signing_service.credentials import State
from signing_service.db.tables import agency, credential, operator, policy, signatory
from signing_service.errors import Invalid, NotAuthorized, NotFound, SigningError, WrongState
from signing_service.ids import draw
from signing_service.signer import codes, custody, persons, phones, restoring, seeds, tickets
from signing_service.signer.acting import By
from signing_service.signer.refusals import device_errors
from signing_service.signer.rows import mac_of
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m

log = logging.getLogger(__name__)
THROUGH_THE_WEB = "web"


class Desk:
    """Carries out acts one after the other; keys are made in a thread of their own."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._background = ThreadPoolExecutor(1, thread_name_prefix="keys")

    def bootstrap(self, asked: m.Bootstrap) -> m.Done:
        """The first operator, as long as none has proven a code: one whose seed nobody saw must not be the last."""
        operator_id, now = draw("op"), self._rt.now()
        with device_errors(self._rt):
            with self._rt.db.write() as tx:
                if persons.who_can_act(tx):
                    raise WrongState("There is an operator already. Ask them to add you.", code="bootstrapped")
                tx.execute(delete(operator))  # what a bootstrap left that broke off
                tx.execute(insert(operator).values(id=operator_id, name=asked.name, state="active", created_at=now))
                record(tx, now, Fact(Event.BOOTSTRAPPED, f"operator:{operator_id}"), mac=self._rt.entry_mac)
            uri = seeds.enrol(self._rt, f"operator:{operator_id}", operator_id, asked.name)
        return m.Done((m.Result(operator_id, uri=uri),))

    def complete(self, asked: m.CompleteEnrolment) -> m.Done:
        with device_errors(self._rt):
            seeds.complete(self._rt, asked.owner, asked.code)
        return m.Done((m.Result(asked.owner),))

    def act(self, asked: m.Act) -> m.Done:
        """Spend the operator's code, then carry out the commands, each in its own transaction, in order.

        A refused command is an answer of its own and the next one is tried: bulk enrolment reports row by row. The
        code of somebody who is no active operator is spent like any other, so that the answer tells nothing.
        """
        with device_errors(self._rt):
            spent = codes.spend(self._rt, asked.operator_id, asked.code, self._rt.now())
        if not self._is_active(spent.owner):
            raise NotFound("There is no such operator.")
        return self._all(By(f"operator:{spent.owner}"), asked.commands)

    def act_through_the_web(self, asked: m.DeskAct) -> m.Done:
        """The same for the few commands that a front may pass on, where this is not switched off.

        Somebody who is no active operator is answered as with a wrong code, and the last tries are left for the
        terminal: a front that was taken over cannot lock the operators out.
        """
        rt = self._rt
        if not rt.settings.web_acts:
            raise NotAuthorized("Operators act at the terminal only.", code="web-acts-off")
        barred = not self._is_active(asked.operator_id)
        with device_errors(rt):
            spent = codes.spend(rt, asked.operator_id, asked.code, rt.now(), barred=barred,
                                leave=codes.LEFT_FOR_THE_TERMINAL)
        return self._all(By(f"operator:{spent.owner}", THROUGH_THE_WEB), asked.commands)

    def _is_active(self, operator_id: str) -> bool:
        with self._rt.db.read() as tx:
            state = tx.execute(select(operator.c.state).where(operator.c.id == operator_id)).scalar_one_or_none()
        return state == "active"

    def _all(self, by: By, commands: Sequence[m.Command | m.DeskCommand]) -> m.Done:
        return m.Done(tuple(self._one(by, command) for command in commands))

    def _one(self, by: By, command: m.Command | m.DeskCommand) -> m.Result:
        try:
            with device_errors(self._rt):
                return self._carry_out(by, command)
        except SigningError as error:
            return m.Result(error=error.message, error_code=error.code)
        except Exception:  # whatever it is, what the other commands gave is shown only once and must not be lost
            log.exception("%s could not be carried out", type(command).__name__)
            return m.Result(error="The signer could not do this. Look before you repeat it.", error_code="signer-error")

    def _carry_out(self, by: By, command: m.Command | m.DeskCommand) -> m.Result:
        rt, about_people = self._rt, ABOUT_PEOPLE.get(type(command))
        if about_people is not None:
            return about_people(rt, by, command)
        match command:
            case m.EnrolCode(owner):
                return m.Result(owner, uri=seeds.enrol(rt, by.actor, owner, persons.find(rt, owner).name))
            case m.AddCredential():
                return self._add_credential(by.actor, command)
            case m.ActivatePolicy():
                return self._activate_policy(by.actor, command)
            case m.RequestCertificate(credential_id, subject):
                return m.Result(credential_id, data=custody.request_certificate(rt, by.actor, credential_id, subject))
            case m.ImportCertificate():
                return self._import_certificate(by.actor, command)
            case m.SetCredentialState(credential_id, state, reason) | m.SuspendOrResume(credential_id, state, reason):
                custody.set_state(rt, by, credential_id, State(state), reason)
                return m.Result(credential_id)
            case m.DestroyKey(credential_id):
                custody.destroy_key(rt, by.actor, credential_id)
                return m.Result(credential_id)
        raise TypeError(f"nothing carries out {type(command).__name__}")

    def _import_certificate(self, actor: str, command: m.ImportCertificate) -> m.Result:
        validity = (_moment(command.not_before), _moment(command.not_after))
        custody.import_certificate(self._rt, actor, command.credential_id, command.certificate, command.chain,
                                   command.public_key, validity, command.serial)
        return m.Result(command.credential_id)

    def _add_credential(self, actor: str, command: m.AddCredential) -> m.Result:
        row = self._new_credential(command)
        row["mac"] = mac_of(self._rt.device, "credential", row)
        with self._rt.db.write() as tx:
            self._check_holder(tx, command)
            tx.execute(insert(credential).values(row))
            record(tx, self._rt.now(), Fact(
                Event.CREDENTIAL_ADDED, actor, credential_id=row["id"], signatory_id=command.signatory_id,
                agency_code=command.agency_code, data={"kind": command.kind, "key_kind": command.key_kind},
            ), mac=self._rt.entry_mac)
        self.make_key(row["id"])
        return m.Result(row["id"])

    def _new_credential(self, command: m.AddCredential) -> dict[str, Any]:
        try:
            kind = KeyKind(command.key_kind)
            algorithm = Algorithm(command.algorithm) if command.algorithm else default_algorithm(kind)
        except ValueError as error:
            raise Invalid(str(error), code="algorithm") from error
        if not algorithm.fits(kind):
            raise Invalid(f"A {kind} key cannot make {algorithm} signatures.", code="algorithm")
        if (command.kind == "timestamp") != (command.signatory_id is None):
            raise Invalid("A personal or agency credential names its signatory; the timestamp authority has none.")
        return {
            "id": draw("cr"), "kind": command.kind, "signatory_id": command.signatory_id,
            "agency_code": command.agency_code, "key_id": None, "key_kind": kind.value,
            "algorithm": algorithm.value,
            "custody": command.custody, "state": State.MAKING_KEY.value, "reason": None, "certificate": None,
            "chain": None, "not_before": None, "not_after": None, "serial": None, "fingerprint": None,
            "replaces": command.replaces, "created_at": self._rt.now(), "version": 1,
        }

    @staticmethod
    def _check_holder(tx: Connection, command: m.AddCredential) -> None:
        if tx.execute(select(agency.c.code).where(agency.c.code == command.agency_code)).first() is None:
            raise NotFound(f"There is no agency {command.agency_code!r}.")
        if command.signatory_id is not None and tx.execute(
                select(signatory.c.id).where(signatory.c.id == command.signatory_id)).first() is None:
            raise NotFound(f"There is no signatory {command.signatory_id!r}.")
        if command.replaces is not None:
            old = tx.execute(select(credential.c.signatory_id, credential.c.kind).where(
                credential.c.id == command.replaces)).first()
            if old is None or (old.signatory_id, old.kind) != (command.signatory_id, command.kind):
                raise NotFound("The credential to replace is not this signatory's, or of another kind.")

    def make_key(self, credential_id: str) -> None:
        """In the background; a failure is the credential's state, and in the log."""
        def work() -> None:
            try:
                custody.make_key(self._rt, credential_id)
            except Exception:
                log.exception("making the key of %s failed; the next start tries again", credential_id)
        self._background.submit(work)

    def take_up_keys(self) -> None:
        """Go on with keys that a signer before us did not finish."""
        with self._rt.db.read() as tx:
            rows = tx.execute(select(credential.c.id).where(credential.c.state == State.MAKING_KEY)).all()
        for row in rows:
            self.make_key(row.id)

    def _activate_policy(self, actor: str, command: m.ActivatePolicy) -> m.Result:
        try:
            loaded = load(command.text, command.name)
        except PolicyInvalid as error:
            raise Invalid(f"The policy does not load: {error}", code="policy") from error
        now = self._rt.now()
        with self._rt.db.write() as tx:
            tx.execute(update(policy).where(policy.c.active).values(active=False))
            values = {"name": command.name, "active": True, "activated_at": now,
                      "activated_by": actor.removeprefix("operator:")}
            if tx.execute(update(policy).where(policy.c.hash == loaded.hash).values(values)).rowcount == 0:
                tx.execute(insert(policy).values(hash=loaded.hash, text=command.text, **values))
            record(tx, now, Fact(Event.POLICY_ACTIVATED, actor, data={"policy": loaded.hash, "name": command.name}),
                   mac=self._rt.entry_mac)
        return m.Result(loaded.hash)

    def close(self) -> None:
        self._background.shutdown(wait=True, cancel_futures=True)


# What acts upon people, their phones and their tickets: (rt, by, command) -> Result.
ABOUT_PEOPLE: dict[type, Callable[[Runtime, By, Any], m.Result]] = {
    m.AddOperator: persons.add_operator, m.SetOperatorState: persons.set_operator_state,
    m.AddSignatory: persons.add_signatory, m.SetSignatoryState: persons.set_signatory_state,
    m.AddAuditor: persons.add_auditor, m.SetAuditorState: persons.set_auditor_state, m.Unlock: persons.unlock,
    m.IssueTicket: tickets.issue, m.RetirePhone: phones.retire, m.Restored: restoring.begin,
}


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise Invalid("A moment needs its time zone.")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the first and last hours of time are not in every zone
        raise Invalid("A moment is written as RFC 3339.") from error
