"""Any life of signing requests: people, operators, clocks, devices, databases and deaths in an order nobody foresaw.

What must hold after every step stands in the invariants. Each life begins with the same city, on either database.
SIGNING_CAMPAIGN=full makes it long.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select, update

from hsm.errors import DeviceBusy, DeviceError, DeviceUnavailable, KeyNotFound
from signing_service.audit import StoredTiles
from signing_service.db.tables import checkpoint, entry, intent, log_key, signature, signing_request
from signing_service.errors import SigningError, Unavailable
from signing_service.signer import intents, reconcile, sequencer
from signing_service.signer.confirmations import Confirmations
from signing_service.signer.leases import beat
from signing_service.signer.operators import Desk
from signing_service.tlog import note, tiles
from signing_service.tlog.entries import EntryLine
from signing_service.tlog.verify import verify_log
from signing_service.wire import messages as m
from tests.support import campaign
from tests.support.city import City, Person
from tests.support.memory_device import MemoryDevice
from tests.support.prepared import Prepared, lives, prepared

SEQUENCES = {"sqlite": campaign.rounds(25, 1_200), "postgresql": campaign.rounds(8, 400)}
STEPS = 20

FAULTS: dict[str, Callable[[MemoryDevice], None]] = {
    "away before signing": lambda device: device.fail_next(DeviceUnavailable("away"), call="sign"),
    "the reply is lost": lambda device: device.fail_next(DeviceUnavailable("away"), after_signing=True, call="sign"),
    "full": lambda device: device.fail_next(DeviceBusy("full"), call="sign"),
    "no key": lambda device: device.fail_next(KeyNotFound("gone"), call="sign"),
    "a bit flips": lambda device: device.flip_next_signature(),
    "away at the code": lambda device: device.fail_next(DeviceUnavailable("away"), call="hmac_sha1"),
    "away at a MAC": lambda device: device.fail_next(DeviceUnavailable("away"), call="mac"),
    "away at the checkpoint": lambda device: device.fail_next(DeviceUnavailable("away"), call="sign_checkpoint"),
}
# Which outcomes an intent may have while its request is in a state.
OUTCOMES: dict[str, set[str | None]] = {"pending": set(), "withdrawn": set(), "signing": {None}, "finishing": {"done"},
            "failed": {"failed", "unknown-outcome"}}


class Death(BaseException):
    """The signer ends here, and nothing of it goes on."""


def two_officials(city: City) -> list[Person]:
    return [city.official("Nguyễn Văn A"), city.official("Trần Thị B")]


class Life(RuleBasedStateMachine):
    """One city over the in-memory device."""

    prepared: ClassVar[Prepared[list[Person]]]
    done: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.city, self.device, self.people = self.prepared.begins()
        self.clock = self.city.clock
        self.done["sequences"] += 1
        self.requests: list[tuple[int, str]] = []
        self.ended: dict[str, str] = {}
        self.before = len(self.device.signatures)

    # --- what happens ---

    @rule(who=st.integers(0, 1), document=st.integers(0, 5))
    def submit(self, who: int, document: int) -> None:
        self.requests.append((who, self.city.submitted(self.people[who], bytes([document]))))

    @rule(who=st.integers(0, 1), how_many=st.integers(1, 4))
    def submit_and_confirm(self, who: int, how_many: int) -> None:
        """What happens on most days; or hardly any life would come as far as a signature."""
        for number in range(how_many):
            self.submit(who, number)
        self.confirm(who, set(range(how_many)), 0)

    @rule(which=st.integers(0, 50))
    def withdraw(self, which: int) -> None:
        """As the front does it."""
        if self.requests:
            with self.city.rt.db.write() as tx:
                tx.execute(update(signing_request).where(
                    signing_request.c.id == self.requests[which % len(self.requests)][1],
                    signing_request.c.state == "pending").values(state="withdrawn"))

    @rule(who=st.integers(0, 1), chosen=st.sets(st.integers(0, 50), min_size=1, max_size=4),
          drift=st.sampled_from([-1, 0, 1]))
    def confirm(self, who: int, chosen: set[int], drift: int) -> None:
        if drift == 0:
            self.city.next_code()
        self._confirm(who, chosen, self.people[who].code(self.clock.at, drift))

    @rule(who=st.integers(0, 1), chosen=st.sets(st.integers(0, 50), min_size=1, max_size=4))
    def confirm_wrongly(self, who: int, chosen: set[int]) -> None:
        self._confirm(who, chosen, "000000")

    @rule(chosen=st.sets(st.integers(0, 50), min_size=1, max_size=4))
    def confirm_both_in_one_batch(self, chosen: set[int]) -> None:
        self.city.next_code()
        self.city.confirmations([self._asked(who, chosen, self.people[who].code(self.clock.at)) for who in (0, 1)])

    @rule(who=st.integers(0, 1), state=st.sampled_from(["active", "active", "suspended"]))
    def operator_sets(self, who: int, state: str) -> None:
        with suppress(SigningError):
            self.city.tries(m.SetCredentialState(self.people[who].credential, state, "a test"))

    @rule(who=st.integers(0, 1))
    def operator_unlocks(self, who: int) -> None:
        with suppress(SigningError):
            self.city.tries(m.Unlock(self.people[who].id))

    @rule(fault=st.sampled_from(sorted(FAULTS)), who=st.integers(0, 1), how_many=st.integers(0, 3))
    def device_fails(self, fault: str, who: int, how_many: int) -> None:
        """While somebody confirms, or, with nobody, at whatever comes next."""
        self.done["faults of the device"] += 1
        FAULTS[fault](self.device)
        if how_many:
            self.submit_and_confirm(who, how_many)

    @rule(seconds=st.sampled_from([1, 16, 31, 61, 1000, -1, -60]), is_alive=st.booleans())
    def time_passes(self, seconds: int, is_alive: bool) -> None:
        self.clock.forward(seconds)
        if is_alive:
            beat(self.city.rt)

    @rule(who=st.integers(0, 1), chosen=st.sets(st.integers(0, 50), min_size=1, max_size=4),
          where=st.sampled_from(["perform", "conclude"]))
    def signer_dies_while_it_signs(self, who: int, chosen: set[int], where: str) -> None:
        """After W3: before the device is asked, or after it has signed."""
        self.city.next_code()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(intents, where, dying)
            with suppress(Death):
                self._confirm(who, chosen, self.people[who].code(self.clock.at))
        self.signer_starts_again()

    @rule()
    def signer_starts_again(self) -> None:
        """Another life with another id; the old one's lease stays behind."""
        self.done["starts"] += 1
        city = self.city
        city.desk.close()
        city.confirmations.close()
        self.device._failure, self.device._flip = None, False  # or it could not start
        city.rt = self.prepared.restarted(self.device, self.clock)
        city.desk, city.confirmations = Desk(city.rt), Confirmations(city.rt, 2)

    @rule(who=st.integers(0, 1), chosen=st.sets(st.integers(0, 50), min_size=1, max_size=4),
          at=st.integers(1, 3), is_durable=st.booleans())
    def database_goes_away(self, who: int, chosen: set[int], at: int, is_durable: bool) -> None:
        """At the COMMIT of W2a, W3 or W4: it was kept, or it was not, and nobody says which."""
        self.city.next_code()
        asked = self._asked(who, chosen, self.people[who].code(self.clock.at))
        with self._breaking(at, is_durable):
            self._check_answer(self.city.confirmations([asked])[0])

    @rule()
    def chores_reconcile(self) -> None:
        reconcile.reconcile(self.city.rt)

    @rule()
    def chores_sequence(self) -> None:
        with suppress(SigningError, DeviceError):
            sequencer.sequence(self.city.rt)
            sequencer.keep_alive(self.city.rt)

    def _confirm(self, who: int, chosen: set[int], code: str) -> None:
        self._check_answer(self.city.confirmations([self._asked(who, chosen, code)])[0])

    def _asked(self, who: int, chosen: set[int], code: str) -> m.Confirm:
        """Their own requests, the newest first, also those that ended, and now and then somebody else's."""
        theirs = [name for owner, name in self.requests if owner == who or 50 in chosen]
        if not theirs:
            self.submit(who, 0)
            theirs = [self.requests[-1][1]]
        ids = sorted({theirs[-1 - each % len(theirs)] for each in chosen})
        return self.city.confirmation(self.people[who], ids, code)

    def _check_answer(self, answer: m.Confirmed | SigningError) -> None:
        """What a person is told is what the database says."""
        if isinstance(answer, SigningError):
            self.done[f"refused: {answer.code}"] += 1
        else:
            for line in answer.lines:
                self.done[f"line: {line.outcome}"] += 1
                state = self.city.state_of(line.signing_request_id)
                told = {"done": {"finishing"}, "failed": {"failed", "signing"}}.get(line.outcome, set(OUTCOMES))
                assert state in told, (line, state)

    @contextmanager
    def _breaking(self, at: int, is_durable: bool) -> Iterator[None]:
        write, counted = self.city.rt.db.write, [0]

        @contextmanager
        def breaking() -> Iterator[Any]:
            counted[0] += 1
            is_broken = counted[0] == at
            with write() as tx:
                yield tx
                if is_broken and not is_durable:
                    raise Unavailable("The database does not answer.", code="database-away")
            if is_broken:
                raise Unavailable("The database does not answer.", code="database-away")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(self.city.rt.db, "write", breaking)
            patched.setattr(Confirmations, "_pause", lambda _self: self.clock.forward(1))
            yield

    # --- what must hold ---

    @invariant()
    def every_value_has_its_intent(self) -> None:
        self.done["steps"] += 1
        self.city.check()

    @invariant()
    def the_device_signed_nothing_twice_and_nothing_without_an_intent(self) -> None:
        made = [each[2] for each in self.device.signatures[self.before:] if not each[0].startswith("service:")]
        with self.city.rt.db.read() as tx:
            intended = {bytes(each) for each in tx.execute(select(intent.c.to_sign)).scalars()}
        assert max(Counter(made).values(), default=0) <= 1
        assert set(made) <= intended

    @invariant()
    def the_state_of_a_request_is_the_outcome_of_its_intent(self) -> None:
        with self.city.rt.db.read() as tx:
            rows = tx.execute(
                select(signing_request.c.id, signing_request.c.state, intent.c.id, intent.c.outcome,
                       signature.c.intent_id)
                .outerjoin(intent, intent.c.signing_request_id == signing_request.c.id)
                .outerjoin(signature, signature.c.signing_request_id == signing_request.c.id)).all()
        for request_id, state, intent_id, outcome, signed in rows:
            assert (outcome in OUTCOMES[state]) if intent_id else not OUTCOMES[state], (state, outcome)
            assert (signed is not None) == (outcome == "done")
            assert self.ended.get(request_id, state) == state  # what ended never moves again
            if state in ("failed", "finishing", "withdrawn"):
                self.ended[request_id] = state

    def teardown(self) -> None:
        """Time passes, a signer lives: nothing is open any more, and the log is whole."""
        self.clock.forward(200)
        self.signer_starts_again()
        reconcile.reconcile(self.city.rt)
        self.clock.forward(200)
        while sequencer.sequence(self.city.rt):
            pass
        self.nothing_is_open()
        self.the_log_is_whole()
        self.done["signatures"] += len(self.device.signatures) - self.before
        self.prepared.ends(self.city)

    def nothing_is_open(self) -> None:
        with self.city.rt.db.read() as tx:
            assert tx.execute(select(intent.c.id).where(intent.c.outcome.is_(None))).first() is None
            assert tx.execute(select(entry.c.id).where(entry.c.leaf_index.is_(None))).first() is None

    def the_log_is_whole(self) -> None:
        with self.city.rt.db.read() as tx:
            rows = tx.execute(select(entry.c.leaf_index, entry.c.body).order_by(entry.c.leaf_index)).all()
            verifiers = [note.parse_verifier(each) for each in tx.execute(select(log_key.c.verifier)).scalars()]
            notes = tx.execute(select(checkpoint.c.note).order_by(checkpoint.c.size.desc())).scalars().all()
            newest, *older = [note.open_note(each, verifiers) for each in notes]
            report = verify_log([EntryLine.of(row.leaf_index, json.loads(row.body)) for row in rows], newest,
                                history=older, node_at=tiles.node_at(StoredTiles(tx)))
        assert (report.findings, report.proven_size) == ((), len(rows))


def dying(*_: object) -> None:
    raise Death


@pytest.mark.uncounted
@pytest.mark.parametrize("database", sorted(SEQUENCES))
def test_whatever_happens_what_must_hold_holds(database: str) -> None:
    with prepared(database, two_officials) as begun:
        done = lives(Life, begun, SEQUENCES[database], STEPS)
    campaign.proven(f"life-{database}", **done)
