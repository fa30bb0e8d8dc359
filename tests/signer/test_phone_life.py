"""Any life of phones, tickets and stop codes: people, operators, devices, databases in an order nobody foresaw.

What must hold after every step stands in the invariants. SIGNING_CAMPAIGN=full makes it long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import func, select

from hsm.errors import DeviceUnavailable
from signing_service.db.tables import confirmation, credential, entry, phone, seed, ticket
from signing_service.errors import SigningError, Unavailable
from signing_service.signer.rows import TABLES, Verified
from signing_service.wire import messages as m
from tests.support import campaign
from tests.support.city import City, Person, Phone, secret_of
from tests.support.prepared import Prepared, lives, prepared

SEQUENCES = {"sqlite": campaign.rounds(15, 300), "postgresql": campaign.rounds(5, 100)}
STEPS = 20
BROWSERS = ("1" * 64, "2" * 64)
Opened = tuple[str, str, Person]  # a phone that waits for its first code: id, secret, and the person with its seed


class PhoneLife(RuleBasedStateMachine):
    """One person and an operator over the in-memory device."""

    prepared: ClassVar[Prepared[Person]]
    done: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.city, self.device, self.person = self.prepared.begins()
        self.clock = self.city.clock
        self.done["sequences"] += 1
        self.tokens: list[str] = []
        self.opened: list[Opened] = []
        self.phones: list[Phone] = []
        self.secrets = 0
        self.a_phone_is_enrolled_from_beginning_to_end(False)

    # --- what happens ---

    @rule(keeps_others=st.booleans())
    def operator_issues_a_ticket(self, keeps_others: bool) -> None:
        with suppress(SigningError):
            result = self.city.tries(m.IssueTicket(self.person.id, 24, keeps_others))[0]
            self.tokens += [result.data] if result.data else []

    @rule(keeps_others=st.booleans())
    def a_phone_is_enrolled_from_beginning_to_end(self, keeps_others: bool) -> None:
        self.operator_issues_a_ticket(keeps_others)
        self.a_browser_opens_one(0, BROWSERS[0])
        self.a_phone_is_completed(0, True)

    @rule(which=st.integers(0, 5), browser=st.sampled_from(BROWSERS))
    def a_browser_opens_one(self, which: int, browser: str) -> None:
        if self.tokens:
            self.secrets += 1
            secret = f"{self.secrets:064x}"
            with suppress(SigningError):
                made = self.city.opens(self.tokens[-1 - which % len(self.tokens)], secret, browser)
                renewed = Person(self.person.id, secret_of(str(made.uri)), self.person.credential)
                self.opened.append((str(made.phone_id), secret, renewed))

    @rule(which=st.integers(0, 3), is_right=st.booleans())
    def a_phone_is_completed(self, which: int, is_right: bool) -> None:
        if self.opened:
            phone_id, secret, renewed = self.opened[-1 - which % len(self.opened)]
            with suppress(SigningError):
                self.city.next_code()
                code = renewed.code(self.clock.at) if is_right else "000000"
                ready = self.city.asks(m.CompletePhone(m.PhoneProof(phone_id, secret), code))
                self.phones.append(Phone(phone_id, secret, ready.stop_code, renewed))

    @rule(which=st.integers(0, 5), is_right=st.booleans())
    def a_phone_confirms(self, which: int, is_right: bool) -> None:
        if self.phones:
            held = self.phones[-1 - which % len(self.phones)]
            self.city.next_code()
            request = self.city.submitted(held.person)
            asked = self.city.phone_confirmation(held, [request], None if is_right else "000000")
            answer = self.city.confirmations([asked])[0]
            if isinstance(answer, m.Confirmed):
                self.done["confirmations"] += 1
                assert self.state_of(held.id) == "active"

    @rule(which=st.integers(0, 5))
    def operator_retires_a_phone(self, which: int) -> None:
        if self.phones:
            with suppress(SigningError):
                self.city.tries(m.RetirePhone(self.phones[-1 - which % len(self.phones)].id))

    @rule(which=st.integers(0, 5), why=st.sampled_from(["not-me", "own-wish", "lost-phone"]))
    def a_person_suspends(self, which: int, why: str) -> None:
        if self.phones:
            with suppress(SigningError):
                self.city.asks(m.SuspendOneself(self.phones[-1 - which % len(self.phones)].proof, why))
                self.nothing_is_active(why == "lost-phone")

    @rule(which=st.integers(0, 5))
    def a_stop_code_is_used(self, which: int) -> None:
        if self.phones:
            with suppress(SigningError):
                self.city.asks(m.Stop(self.phones[-1 - which % len(self.phones)].stop_code))
                self.nothing_is_active(True)

    @rule()
    def operator_puts_everything_right(self) -> None:
        with suppress(SigningError):
            self.city.tries(m.Unlock(self.person.id), m.SetCredentialState(self.person.credential, "active"))

    @rule(call=st.sampled_from(["mac", "hmac_sha1", "generate_seed"]))
    def device_fails_once(self, call: str) -> None:
        """At whatever comes next."""
        self.device.fail_next(DeviceUnavailable("away"), call=call)

    @rule(at=st.integers(1, 3), is_durable=st.booleans(), is_opening=st.booleans())
    def database_goes_away(self, at: int, is_durable: bool, is_opening: bool) -> None:
        """At a COMMIT of an opening or a completion: it was kept or it was not, and nobody says which."""
        with self.breaking(at, is_durable):
            if is_opening:
                self.a_browser_opens_one(0, BROWSERS[0])
            else:
                self.a_phone_is_completed(0, True)

    @rule(hours=st.sampled_from([1, 12, 25]))
    def time_passes(self, hours: int) -> None:
        self.clock.forward(hours * 3600)

    @contextmanager
    def breaking(self, at: int, is_durable: bool) -> Iterator[None]:
        write, counted = self.city.rt.db.write, [0]

        @contextmanager
        def broken() -> Iterator[Any]:
            counted[0] += 1
            now = counted[0] == at
            with write() as tx:
                yield tx
                if now and not is_durable:
                    raise Unavailable("The database does not answer.", code="database-away")
            if now:
                raise Unavailable("The database does not answer.", code="database-away")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(self.city.rt.db, "write", broken)
            yield

    # --- what must hold ---

    def state_of(self, phone_id: str) -> str:
        with self.city.rt.db.read() as tx:
            return str(tx.execute(select(phone.c.state).where(phone.c.id == phone_id)).scalar_one())

    def nothing_is_active(self, no_phones: bool) -> None:
        with self.city.rt.db.read() as tx:
            assert tx.execute(select(credential.c.id).where(credential.c.state == "active")).first() is None
            if no_phones:
                assert tx.execute(select(phone.c.id).where(phone.c.state == "active")).first() is None

    @invariant()
    def every_value_has_its_intent(self) -> None:
        self.done["steps"] += 1
        self.city.check()

    @invariant()
    def there_is_one_of_each_at_a_time(self) -> None:
        with self.city.rt.db.read() as tx:
            seeds = Counter(tx.execute(select(seed.c.state).where(seed.c.owner == self.person.id)).scalars())
            tickets = Counter(tx.execute(select(ticket.c.state)).scalars())
            enrolling = tx.execute(select(func.count()).select_from(phone).where(
                phone.c.state == "enrolling")).scalar_one()
        assert seeds["active"] == 1
        assert seeds["enrolling"] <= 1
        assert tickets["open"] + tickets["used"] <= 1
        assert enrolling <= 1

    @invariant()
    def a_phone_is_ready_exactly_when_its_ticket_is_done_and_both_are_on_record(self) -> None:
        with self.city.rt.db.read() as tx:
            done = set(tx.execute(select(ticket.c.phone_id).where(ticket.c.state == "done")).scalars())
            ready = set(tx.execute(select(phone.c.id).where(phone.c.stop_hash.is_not(None))).scalars())
            recorded = tx.execute(select(func.count()).select_from(entry).where(
                entry.c.event == "phone:ready")).scalar_one()
            confirming = set(tx.execute(select(confirmation.c.phone_id)).scalars())
        assert done == ready
        assert len(ready) == recorded
        assert confirming <= ready | {None}

    @invariant()
    def every_row_carries_its_mac(self) -> None:
        fresh = Verified(self.device)
        failure, self.device._failure = self.device._failure, None  # what is to fail next is not for us
        with self.city.rt.db.read() as tx:
            for name in ("phone", "ticket", "seed", "credential"):
                for row in tx.execute(select(TABLES[name])).mappings():
                    fresh.check(name, row)
        self.device._failure = failure

    def teardown(self) -> None:
        self.done["phones"] += len(self.phones)
        self.prepared.ends(self.city)


def one_official(city: City) -> Person:
    return city.official()


@pytest.mark.uncounted
@pytest.mark.parametrize("database", sorted(SEQUENCES))
def test_whatever_happens_to_phones_what_must_hold_holds(database: str) -> None:
    with prepared(database, one_official) as begun:
        done = lives(PhoneLife, begun, SEQUENCES[database], STEPS)
    campaign.proven(f"life-of-phones-{database}", **done)
