"""A backup of yesterday is put back: what was spent, used or signed since can not be spent, used or signed again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from signing_service.audit import Event, Fact, record
from signing_service.db.tables import entry, epoch, intent, metadata, signing_request
from signing_service.errors import NotAuthorized, SigningError, Unavailable, WrongState
from signing_service.signer import anchor, restoring, sequencer
from signing_service.signer.acting import By
from signing_service.signer.confirmations import Confirmations
from signing_service.signer.leases import beat
from signing_service.signer.operators import Desk
from signing_service.signer.process import Signer, front_acts
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.support.city import City, Clock, runtime
from tests.support.memory_device import MemoryDevice

Content = dict[str, list[Any]]
OPERATOR = By("operator:op_1")
GO_ON = m.Restored("The disk failed")


class Place:
    """A city with an anchor, whose database can be put back."""

    def __init__(self, url: str, directory: Path, device: MemoryDevice) -> None:
        self.url, self.directory, self.device, self.clock = url, directory, device, Clock()
        self.city = City(self.starts(), self.clock)
        self.later: list[Runtime] = []

    def starts(self, name: str = "anchor") -> Runtime:
        return runtime(self.url, self.directory, self.device, self.clock, anchor=self.directory / name)

    def sequences(self) -> None:
        while sequencer.sequence(self.city.rt):
            pass

    def backup(self) -> Content:
        with self.city.rt.db.read() as tx:
            return {table.name: [dict(row) for row in tx.execute(select(table)).mappings()]
                    for table in metadata.sorted_tables}

    def put_back(self, content: Content) -> None:
        with self.city.rt.db.write() as tx:
            for table in reversed(metadata.sorted_tables):
                tx.execute(table.delete())
            for table in metadata.sorted_tables:
                if content[table.name]:
                    tx.execute(insert(table), content[table.name])

    def restarts(self, name: str = "anchor") -> Runtime:
        """A new signer that looks at what it finds, as `Signer.start` does."""
        rt = self.starts(name)
        self.later.append(rt)
        anchor.look(rt)
        if rt.guard.is_restored:
            restoring.open_epoch(rt)
        return rt

    def recorded(self, event: Event) -> list[str]:
        with self.city.rt.db.read() as tx:
            return list(tx.execute(select(entry.c.outcome).where(entry.c.event == event)).scalars())


def answer(rt: Runtime, asked: m.Confirm) -> m.Confirmed | SigningError:
    confirmations = Confirmations(rt, 1)
    try:
        return confirmations([asked])[0]
    finally:
        confirmations.close()


@pytest.fixture
def place(url: str, tmp_path: Path, device: MemoryDevice) -> Iterator[Place]:
    made = Place(url, tmp_path, device)
    yield made
    for rt in made.later:
        rt.db.close()
    made.city.close()


def test_what_was_confirmed_since_the_backup_is_not_confirmed_again(place: Place) -> None:
    city, clock = place.city, place.clock
    official = city.official()
    waiting = city.submitted(official)
    place.sequences()
    content = place.backup()
    city.next_code()
    asked = city.confirmation(official, [waiting])
    assert isinstance(answer(city.rt, asked), m.Confirmed)
    place.sequences()
    place.put_back(content)

    rt = place.restarts()
    assert rt.guard.is_restored
    restoring.begin(rt, OPERATOR, GO_ON)
    assert isinstance(answer(rt, asked), NotAuthorized)  # the same code, within its 90 seconds
    assert city.state_of(waiting) == "expired"
    clock.forward(60)
    beat(rt)
    asked = city.confirmation(official, [waiting])
    later = answer(rt, asked)  # a good code, for what no longer waits
    assert isinstance(later, m.Confirmed)
    assert [line.outcome for line in later.lines] == ["denied"]
    with rt.db.read() as tx:
        assert tx.execute(select(intent)).first() is None
    fresh = city.submitted(official, b"%PDF-1.7 another")
    clock.forward(30)
    beat(rt)
    signed = answer(rt, city.confirmation(official, [fresh]))
    assert isinstance(signed, m.Confirmed)
    assert [line.outcome for line in signed.lines] == ["done"]
    assert place.recorded(Event.RESTORED) == ["alarm"]
    assert place.recorded(Event.EPOCH_BEGUN) == ["ok"]


def test_a_link_that_was_used_since_the_backup_opens_nothing(place: Place) -> None:
    city = place.city
    official = city.official()
    token = city.ticket(official.id)
    place.sequences()
    content = place.backup()
    city.opens(token, "1" * 64)
    place.sequences()
    place.put_back(content)
    rt = place.restarts()
    restoring.begin(rt, OPERATOR, GO_ON)
    desk = Desk(rt)
    with pytest.raises(NotAuthorized):
        front_acts(rt, desk)[m.RedeemTicket](m.RedeemTicket(token, "2" * 64, "3" * 64, "Another phone"))
    desk.close()


def test_a_log_that_was_rewritten_at_the_same_size_is_another_one(place: Place) -> None:
    place.sequences()
    content = place.backup()
    with place.city.rt.db.write() as tx:
        record(tx, place.clock.at, Fact(Event.ALIVE, "signer:one"), mac=place.city.rt.entry_mac)
    place.sequences()
    place.put_back(content)
    place.city.rt.guard.size = 0  # a signer that knows no better goes on upon the older log
    with place.city.rt.db.write() as tx:
        record(tx, place.clock.at, Fact(Event.ALIVE, "signer:two"), mac=place.city.rt.entry_mac)
    kept = (place.directory / "anchor").read_bytes()
    place.sequences()
    (place.directory / "anchor").write_bytes(kept)
    assert place.restarts().guard.is_restored


def test_nothing_is_asked_of_anybody_where_nothing_was_restored(place: Place) -> None:
    place.sequences()
    content = place.backup()
    rt = place.restarts()
    assert not rt.guard.is_restored
    with pytest.raises(WrongState):
        restoring.begin(rt, OPERATOR, GO_ON)
    place.put_back(content)
    assert not place.restarts().guard.is_restored  # the newest backup is the database
    (place.directory / "anchor").unlink()
    assert not place.restarts().guard.is_restored  # and without an anchor there is nothing to compare with


def test_a_database_exchanged_under_a_running_signer_is_noticed_with_the_next_entry(place: Place) -> None:
    content = place.backup()
    place.sequences()
    place.put_back(content)
    with pytest.raises(Unavailable, match="older"):
        sequencer.sequence(place.city.rt)


def test_whoever_owns_the_database_cannot_begin_an_epoch(place: Place) -> None:
    content = place.backup()
    place.sequences()
    place.put_back(content)
    with place.city.rt.db.write() as tx:
        tx.execute(insert(epoch).values(number=1, size=0, root=b"0" * 32, opened_at=place.clock.at, opened_by="si_1",
                                        closed_at=place.clock.at, closed_by="op_1", mac=b"0" * 32))
    with pytest.raises(SigningError, match="not begun by an operator"):
        place.restarts()


def test_what_an_operator_said_of_one_log_does_not_hold_for_another(place: Place) -> None:
    content = place.backup()
    place.sequences()
    place.put_back(content)
    restoring.begin(place.restarts(), OPERATOR, GO_ON)
    with place.city.rt.db.write() as tx:
        tx.execute(update(epoch).values(size=epoch.c.size + 1))
    with pytest.raises(SigningError, match="not begun by an operator"):
        place.restarts()


def test_the_word_of_one_node_is_good_for_the_other(place: Place) -> None:
    first = place.restarts("other-anchor")
    while sequencer.sequence(place.city.rt):
        anchor.keep(first, place.city.rt.guard.size, anchor_root(first))
    content = place.backup()
    with place.city.rt.db.write() as tx:
        record(tx, place.clock.at, Fact(Event.ALIVE, "signer:one"), mac=place.city.rt.entry_mac)
    place.sequences()
    anchor.keep(first, place.city.rt.guard.size, anchor_root(first))
    place.put_back(content)
    here, there = place.restarts(), place.restarts("other-anchor")
    assert here.guard.is_restored
    assert there.guard.is_restored
    restoring.begin(here, OPERATOR, GO_ON)
    anchor.look(there)
    assert not there.guard.is_restored
    assert len(place.recorded(Event.RESTORED)) == 1


def anchor_root(rt: Runtime) -> bytes:
    with rt.db.read() as tx:
        return anchor.head(tx).root


def test_a_backup_that_is_put_back_a_second_time_is_noticed_again(place: Place) -> None:
    content = place.backup()
    place.sequences()
    place.put_back(content)
    restoring.begin(place.restarts(), OPERATOR, GO_ON)
    place.put_back(content)
    rt = place.restarts()
    assert rt.guard.is_restored
    assert restoring.begin(rt, OPERATOR, GO_ON).id == "2"


def test_an_anchor_that_cannot_be_read_is_somebodys_to_look_at(place: Place) -> None:
    (place.directory / "anchor").write_bytes(b"")
    with pytest.raises(Unavailable, match="cannot be read"):
        place.restarts()


def test_until_an_operator_said_so_the_signer_answers_nothing_else(place: Place) -> None:
    """The whole process: health says why, confirmations and other acts are refused, the operator's word is heard."""
    city, clock = place.city, place.clock
    official = city.official()
    content = place.backup()
    place.sequences()
    place.put_back(content)
    request = city.submitted(official)
    clock.forward(30)

    async def story() -> None:
        rt = place.starts()
        place.later.append(rt)
        signer = Signer(rt)
        rt.lease.until = clock.at  # `starts` took one
        await signer.start()
        try:
            with pytest.raises(Unavailable, match="older"):
                await asyncio.to_thread(
                    ask_once, rt.settings.sign_socket, city.confirmation(official, [request]), m.Confirmed)
            with pytest.raises(Unavailable, match="older"):
                await acts(rt, m.AddAuditor("Lê Văn C", ("*",)))
            await acts(rt, GO_ON)
            await acts(rt, m.AddAuditor("Lê Văn C", ("*",)))
        finally:
            await signer.stop()

    async def acts(rt: Runtime, command: m.Command) -> None:
        clock.forward(60)
        asked = m.Act(city.operator.id, city.operator.code(clock.at), (command,))
        done = await asyncio.to_thread(ask_once, rt.settings.admin_socket, asked, m.Done)
        assert done.results[0].error is None, done

    asyncio.run(story())
    with city.rt.db.read() as tx:
        assert tx.execute(select(signing_request.c.state)).scalars().all() == ["expired"]
