"""Operators' acts over admin.sock: each under the operator's own code, each on record."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from hsm.algorithms import Algorithm, KeyKind, default_algorithm
from hsm.errors import DeviceError, Tampered
from policies.document import PolicyInvalid, load
from signing_service.audit import Event, Fact, record
from signing_service.credentials import State
from signing_service.db.tables import agency, credential, operator, policy, seed, signatory
from signing_service.errors import Invalid, NotFound, SigningError, Unavailable, WrongState
from signing_service.ids import draw
from signing_service.people import find_agency
from signing_service.signer import codes, custody, seeds
from signing_service.signer.intents import report_tampering
from signing_service.signer.rows import mac_of
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m

log = logging.getLogger(__name__)


class Desk:
    """Carries out acts one after the other; keys are made in a thread of their own."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._background = ThreadPoolExecutor(1, thread_name_prefix="keys")

    def bootstrap(self, asked: m.Bootstrap) -> m.Done:
        """The first operator, as long as none has proven a code: one whose seed nobody saw must not be the last."""
        operator_id, now = draw("op"), self._rt.now()
        with _device_errors(self._rt):
            with self._rt.db.write() as tx:
                if _who_can_act(tx):
                    raise WrongState("There is an operator already. Ask them to add you.", code="bootstrapped")
                tx.execute(delete(operator))  # what a bootstrap left that broke off
                tx.execute(insert(operator).values(id=operator_id, name=asked.name, state="active", created_at=now))
                record(tx, now, Fact(Event.BOOTSTRAPPED, f"operator:{operator_id}"), mac=self._rt.entry_mac)
            uri = seeds.enrol(self._rt, f"operator:{operator_id}", operator_id, asked.name)
        return m.Done((m.Result(operator_id, uri=uri),))

    def complete(self, asked: m.CompleteEnrolment) -> m.Done:
        with _device_errors(self._rt):
            seeds.complete(self._rt, asked.owner, asked.code)
        return m.Done((m.Result(asked.owner),))

    def act(self, asked: m.Act) -> m.Done:
        """Spend the operator's code, then carry out the commands, each in its own transaction, in order.

        A refused command is an answer of its own and the next one is tried: bulk enrolment reports row by row. The
        code of somebody who is no active operator is spent like any other, so that the answer tells nothing.
        """
        with self._rt.db.read() as tx:
            state = tx.execute(select(operator.c.state).where(operator.c.id == asked.operator_id)).scalar_one_or_none()
        with _device_errors(self._rt):
            spent = codes.spend(self._rt, asked.operator_id, asked.code, self._rt.now())
        if state != "active":
            raise NotFound("There is no such operator.")
        return m.Done(tuple(self._one(spent, command) for command in asked.commands))

    def _one(self, spent: codes.Spent, command: m.Command) -> m.Result:
        try:
            with _device_errors(self._rt):
                return self._carry_out(f"operator:{spent.owner}", command)
        except SigningError as error:
            return m.Result(error=error.message, error_code=error.code)
        except Exception:  # whatever it is, what the other commands gave is shown only once and must not be lost
            log.exception("%s could not be carried out", type(command).__name__)
            return m.Result(error="The signer could not do this. Look before you repeat it.", error_code="signer-error")

    def _carry_out(self, actor: str, command: m.Command) -> m.Result:
        rt = self._rt
        match command:
            case m.AddOperator():
                return self._add_operator(actor, command)
            case m.SetOperatorState():
                return self._set_operator_state(actor, command)
            case m.AddSignatory():
                return self._add_signatory(actor, command)
            case m.SetSignatoryState():
                return self._set_signatory_state(actor, command)
            case m.EnrolCode():
                return m.Result(command.owner, uri=seeds.enrol(rt, actor, command.owner, self._name(command.owner)))
            case m.Unlock():
                return self._unlock(actor, command)
            case m.AddCredential():
                return self._add_credential(actor, command)
            case m.RequestCertificate():
                data = custody.request_certificate(rt, actor, command.credential_id, command.subject)
                return m.Result(command.credential_id, data=data)
            case m.ImportCertificate():
                validity = (_moment(command.not_before), _moment(command.not_after))
                custody.import_certificate(rt, actor, command.credential_id, command.certificate, command.chain,
                                           command.public_key, validity)
            case m.SetCredentialState():
                custody.set_state(rt, actor, command.credential_id, State(command.state), command.reason)
            case m.DestroyKey():
                custody.destroy_key(rt, actor, command.credential_id)
            case m.ActivatePolicy():
                return self._activate_policy(actor, command)
        return m.Result(command.credential_id)

    def _add_operator(self, actor: str, command: m.AddOperator) -> m.Result:
        operator_id, now = draw("op"), self._rt.now()
        try:
            with self._rt.db.write() as tx:
                tx.execute(insert(operator).values(id=operator_id, name=command.name, state="active", created_at=now))
                record(tx, now, Fact(Event.OPERATOR_ADDED, actor, data={"operator": operator_id}),
                       mac=self._rt.entry_mac)
        except IntegrityError as error:
            raise WrongState(f"There is an operator {command.name!r} already.", code="exists") from error
        return m.Result(operator_id, uri=seeds.enrol(self._rt, actor, operator_id, command.name))

    def _set_operator_state(self, actor: str, command: m.SetOperatorState) -> m.Result:
        with self._rt.db.write() as tx:
            tx.execute(update(operator).values(state=operator.c.state))  # another signer's suspension waits for ours
            changed = tx.execute(update(operator).where(operator.c.id == command.operator_id)
                                 .values(state=command.state))
            if changed.rowcount != 1:
                raise NotFound("There is no such operator.")
            if not _who_can_act(tx):
                raise WrongState("The last operator who can act cannot be suspended.", code="last-operator")
            record(tx, self._rt.now(), Fact(Event.OPERATOR_CHANGED, actor, data={
                "operator": command.operator_id, "state": command.state}), mac=self._rt.entry_mac)
        return m.Result(command.operator_id)

    def _add_signatory(self, actor: str, command: m.AddSignatory) -> m.Result:
        signatory_id, now = draw("sg"), self._rt.now()
        try:
            with self._rt.db.write() as tx:
                if not find_agency(tx, command.agency_code).is_active(now):
                    raise WrongState(f"The agency {command.agency_code} is not active.", code="agency-ended")
                tx.execute(insert(signatory).values(
                    id=signatory_id, name=command.name, agency_code=command.agency_code, office=command.office,
                    reference=command.reference, state="active", created_at=now))
                record(tx, now, Fact(Event.SIGNATORY_ADDED, actor, signatory_id=signatory_id,
                                     agency_code=command.agency_code, data={"office": command.office}),
                       mac=self._rt.entry_mac)
        except IntegrityError as error:
            raise WrongState(f"There is a signatory with the reference {command.reference!r} already.",
                             code="exists") from error
        return m.Result(signatory_id)

    def _set_signatory_state(self, actor: str, command: m.SetSignatoryState) -> m.Result:
        with self._rt.db.write() as tx:
            changed = tx.execute(update(signatory).where(signatory.c.id == command.signatory_id)
                                 .values(state=command.state))
            if changed.rowcount != 1:
                raise NotFound("There is no such signatory.")
            record(tx, self._rt.now(), Fact(Event.SIGNATORY_CHANGED, actor, signatory_id=command.signatory_id, data={
                "state": command.state, "reason": command.reason}), mac=self._rt.entry_mac)
        return m.Result(command.signatory_id)

    def _unlock(self, actor: str, command: m.Unlock) -> m.Result:
        with self._rt.db.write() as tx:
            if not codes.unlock(tx, command.owner, self._rt.now()):
                raise NotFound("There is nobody with codes under that id.")
            record(tx, self._rt.now(), Fact(Event.CODE_UNLOCKED, actor, data={"owner": command.owner}),
                   mac=self._rt.entry_mac)
        return m.Result(command.owner)

    def _name(self, owner: str) -> str:
        with self._rt.db.read() as tx:
            for table in (signatory, operator):
                name: str | None = tx.execute(select(table.c.name).where(table.c.id == owner)).scalar_one_or_none()
                if name is not None:
                    return name
        raise NotFound("There is no signatory or operator with that id.")

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
            "chain": None, "not_before": None,
            "not_after": None, "replaces": command.replaces, "created_at": self._rt.now(), "version": 1,
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


def _who_can_act(tx: Connection) -> list[str]:
    """The active operators who have proven a code: the others cannot do anything yet."""
    return list(tx.execute(select(operator.c.id).where(
        operator.c.state == "active", operator.c.id.in_(select(seed.c.owner).where(seed.c.state == "active")),
    )).scalars())


@contextmanager
def _device_errors(rt: Runtime) -> Iterator[None]:
    """Device errors become refusals that an operator understands."""
    try:
        yield
    except Tampered as error:
        raise report_tampering(rt, error) from error
    except DeviceError as error:
        raise Unavailable(f"The device could not do it: {error}", code="device-away") from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise Invalid("A moment needs its time zone.")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the first and last hours of time are not in every zone
        raise Invalid("A moment is written as RFC 3339.") from error
