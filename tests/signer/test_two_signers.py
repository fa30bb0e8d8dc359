"""Two signers on one database: they race for requests, codes and the log; one of them dies; the log is one log."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from signing_service.audit import StoredTiles
from signing_service.db.tables import checkpoint, confirmation, entry, lease, log_key
from signing_service.errors import NotAuthorized, SigningError, Unavailable
from signing_service.signer import enrolments, leases, reconcile, sequencer, tickets
from signing_service.signer.confirmations import Confirmations
from signing_service.signer.runtime import Runtime
from signing_service.tlog import note, tiles
from signing_service.tlog.entries import EntryLine
from signing_service.tlog.verify import verify_log
from signing_service.wire import messages as m
from tests.support.city import City, Person, runtime, secret_of
from tests.support.memory_device import MemoryDevice

pytestmark = pytest.mark.counted  # who wins a race, and how, differs

PEOPLE, DOCUMENTS = 20, 8  # each person confirms each document at both signers; a tenth lost race would lock


@pytest.fixture
def other(city: City, tmp_path: Path, device: MemoryDevice) -> Iterator[Runtime]:
    """A second signer: a process of its own would have its own runtime, pool and memory, and so has this one."""
    made = runtime(city.rt.settings.signer_database_url, tmp_path, device, city.clock)
    yield made
    made.db.close()


def in_both(city: City, other: Runtime, asked: list[list[m.Confirm]], batch: int = 5) -> list[Any]:
    """Every list of confirmations at both signers at the same moment, in opposite orders, cut into batches."""
    answers: list[Any] = []
    lock = threading.Lock()

    def present(rt: Runtime, mine: list[m.Confirm], gate: threading.Barrier) -> None:
        confirmations = Confirmations(rt, 2)
        gate.wait()
        for at in range(0, len(mine), batch):
            given = confirmations(mine[at:at + batch])
            with lock:
                answers.extend(given)
        confirmations.close()

    for each in asked:
        gate = threading.Barrier(2)
        threads = [threading.Thread(target=present, args=(city.rt, each, gate)),
                   threading.Thread(target=present, args=(other, each[::-1], gate))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return answers


def keep_time(city: City, other: Runtime) -> None:
    city.next_code()
    leases.beat(other)


def test_each_of_a_few_hundred_races_has_one_winner(city: City, other: Runtime, device: MemoryDevice) -> None:
    people = [city.official(f"Người thứ {n}") for n in range(PEOPLE)]
    requests: list[str] = []
    answers: list[Any] = []
    for document in range(DOCUMENTS):
        keep_time(city, other)
        submitted = [city.submitted(each, bytes([document])) for each in people]
        requests += submitted
        asked = [city.confirmation(who, [request]) for who, request in zip(people, submitted, strict=True)]
        answers += in_both(city, other, [asked])
    assert len(answers) == 2 * PEOPLE * DOCUMENTS
    confirmed = [each for each in answers if isinstance(each, m.Confirmed)]
    refused = [each for each in answers if isinstance(each, SigningError)]
    assert {each.lines[0].outcome for each in confirmed} == {"done"}
    # The loser of a race hears that its code was not accepted, and nothing that is an error of ours.
    assert {type(each) for each in refused} == {NotAuthorized}
    signed = Counter(city.state_of(each) for each in requests)
    assert signed["finishing"] == len(confirmed)
    # A race may have no winner: on PostgreSQL both can be turned away, and the code is good for another try.
    assert signed["finishing"] >= len(requests) // 2
    assert len({each[2] for each in persons(device)}) == len(persons(device)) == len(confirmed)
    with city.rt.db.read() as tx:
        assert tx.execute(select(func.count()).select_from(confirmation)).scalar_one() == len(confirmed)


def persons(device: MemoryDevice) -> list[Any]:
    return [each for each in device.signatures if not each[0].startswith("service:")]


def test_people_who_confirm_at_two_signers_in_opposite_orders_do_not_stop_each_other(
    city: City, other: Runtime,
) -> None:
    """Different codes of different people, in batches that overlap in every order: nobody hears of a deadlock."""
    people = [city.official(f"Người thứ {n}") for n in range(8)]
    for document in range(12):
        keep_time(city, other)
        ours = [city.confirmation(who, [city.submitted(who, bytes([document, 0]))]) for who in people]
        answers = in_both(city, other, [ours], batch=8)
        assert not [each for each in answers if isinstance(each, Unavailable)]


def test_one_dies_and_the_other_closes_what_it_left_and_goes_on(
    city: City, other: Runtime, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = city.official()
    left = [city.submitted(official, bytes([n])) for n in range(5)]
    keep_time(city, other)
    dying = Confirmations(other, 2)
    monkeypatch.setattr(dying, "_conclude", dies)
    with pytest.raises(KeyboardInterrupt):
        dying([city.confirmation(official, left)])
    dying.close()
    made = len(device.signatures)
    assert reconcile.reconcile(city.rt) == 0  # it may be alive
    city.clock.forward(other.settings.intent_seconds + 1)
    leases.beat(city.rt)
    assert reconcile.reconcile(city.rt) == 5
    assert {city.state_of(each) for each in left} == {"failed"}
    assert city.confirms(official, [city.submitted(official, b"next")]).lines[0].outcome == "done"
    assert len(device.signatures) == made + 1


def dies(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_log_sequenced_by_two_in_turn_is_one_log_that_verifies(city: City, other: Runtime) -> None:
    people = [city.official(f"Người thứ {n}") for n in range(3)]
    for turn in range(6):
        keep_time(city, other)
        requests = [city.submitted(each, bytes([turn])) for each in people]
        in_both(city, other, [[city.confirmation(who, [each])
                               for who, each in zip(people, requests, strict=True)]], batch=1)
        holder, waiting = (city.rt, other) if turn % 2 else (other, city.rt)
        assert sequencer.sequence(holder) > 0
        assert sequencer.sequence(waiting) == 0
        leases.let_go(holder, leases.SEQUENCER)
    in_turn = holders_of_checkpoints(city)
    report = verified(city)
    assert (report.findings, report.proven_size) == ((), report.size)
    assert in_turn >= 6


def test_two_who_sequence_at_the_same_moment_give_each_entry_one_place(city: City, other: Runtime) -> None:
    """Each believes that the other's lease has ended; the transaction lets one of them write."""
    official = city.official()
    for turn in range(10):
        city.confirms(official, [city.submitted(official, bytes([turn]))])
        leases.beat(other)
        with city.rt.db.write() as tx:
            tx.execute(update(lease).where(lease.c.name == leases.SEQUENCER).values(
                expires_at=city.clock.at.replace(year=2000)))
        threads = [threading.Thread(target=sequenced, args=(rt,)) for rt in (city.rt, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    while sequencer.sequence(city.rt) or sequencer.sequence(other):
        pass
    report = verified(city)
    assert (report.findings, report.proven_size) == ((), report.size)
    with city.rt.db.read() as tx:
        sizes = tx.execute(select(checkpoint.c.size).order_by(checkpoint.c.id)).scalars().all()
    assert len(set(sizes)) == len(sizes)


def sequenced(rt: Runtime) -> None:
    try:
        while sequencer.sequence(rt):
            pass
    except Unavailable as error:
        if error.code != "lease-lost":
            raise


def holders_of_checkpoints(city: City) -> int:
    with city.rt.db.read() as tx:
        return int(tx.execute(select(lease.c.epoch).where(lease.c.name == leases.SEQUENCER)).scalar_one())


def verified(city: City) -> Any:
    """The whole log, read in its order, against its newest checkpoint and all older ones."""
    with city.rt.db.read() as tx:
        bodies = tx.execute(select(entry.c.leaf_index, entry.c.body).where(entry.c.leaf_index.is_not(None))
                            .order_by(entry.c.leaf_index)).all()
        verifiers = [note.parse_verifier(each) for each in tx.execute(select(log_key.c.verifier)).scalars()]
        notes = tx.execute(select(checkpoint.c.note).order_by(checkpoint.c.size.desc())).scalars().all()
        newest, *older = [note.open_note(each, verifiers) for each in notes]
        lines = [EntryLine.of(row.leaf_index, json.loads(row.body)) for row in bodies]
        return verify_log(lines, newest, history=older, node_at=tiles.node_at(StoredTiles(tx)))


# -------------------------------------------------------------------------------------------- phones and tickets


def at_both(city: City, other: Runtime, work: Any) -> list[Any]:
    """The same work at both signers at the same moment; a refusal is an answer."""
    answers: list[Any] = []
    gate = threading.Barrier(2)

    def story(rt: Runtime, number: int) -> None:
        gate.wait()
        try:
            answers.append(work(rt, number))
        except SigningError as error:
            answers.append(error)

    threads = [threading.Thread(target=story, args=(rt, number)) for number, rt in enumerate((city.rt, other))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return answers


def test_a_ticket_opened_at_two_signers_at_once_is_opened_by_one_browser(city: City, other: Runtime) -> None:
    official = city.official()
    for _ in range(5):
        token = city.ticket(official.id)
        leases.beat(other)
        answers = at_both(city, other, lambda rt, number, token=token: tickets.redeem(
            rt, m.RedeemTicket(token, f"{number:064x}", "a" * 64)))
        assert sorted(type(each).__name__ for each in answers) == ["NotAuthorized", "TicketRedeemed"], answers


def test_an_enrolment_completed_at_two_signers_at_once_is_complete_once(city: City, other: Runtime) -> None:
    official = city.official()
    secret = "a" * 64
    for round_ in range(1, 4):
        opened = city.opens(city.ticket(official.id), secret)
        city.next_code()
        leases.beat(other)
        renewed = Person(official.id, secret_of(str(opened.uri)), official.credential)
        asked = m.CompletePhone(m.PhoneProof(str(opened.phone_id), secret), renewed.code(city.clock.at))
        answers = at_both(city, other, lambda rt, _number, asked=asked: enrolments.complete_phone(rt, asked))
        assert sum(isinstance(each, m.PhoneReady) for each in answers) == 1, answers
        assert city.events("phone:ready") == round_
        city.acts(m.Unlock(official.id))


def test_a_phone_retired_at_one_signer_confirms_nothing_at_the_other(
    city: City, other: Runtime, device: MemoryDevice,
) -> None:
    """The other has seen it active, and remembers that row."""
    held = city.enrols_phone(city.official())
    city.next_code()
    leases.beat(other)
    confirmations = Confirmations(other, 2)
    first = confirmations([city.phone_confirmation(held, [city.submitted(held.person)])])[0]
    assert isinstance(first, m.Confirmed)
    city.acts(m.RetirePhone(held.id))
    city.next_code()
    leases.beat(other)
    made = len(device.signatures)
    refused = confirmations([city.phone_confirmation(held, [city.submitted(held.person, b"after")])])[0]
    confirmations.close()
    assert isinstance(refused, NotAuthorized)
    assert (refused.code, len(device.signatures)) == ("phone", made)
