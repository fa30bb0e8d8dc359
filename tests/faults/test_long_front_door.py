"""The front door, against the real processes: everything that costs the other side less than it costs us.

Three commands, each with the machine for itself and none longer than six minutes:

    SIGNING_CAMPAIGN=full python -m pytest -q tests/faults/test_long_front_door.py -k "half_open or bodies or slowly"
    SIGNING_CAMPAIGN=full python -m pytest -q tests/faults/test_long_front_door.py -k five_times
    SIGNING_CAMPAIGN=full python -m pytest -q tests/faults/test_long_front_door.py -k memory

Each attack runs while somebody asks for health on a fresh connection, ten times a second, and a document system goes on
with its work. The front is one process; what it holds of memory is looked at before, during and after.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from signing_service.front.settings import MIB
from tests.faults.test_long_bombs import registered, resident, token_of
from tests.support import campaign
from tests.support.asking import Line, Load, counted, form, in_ms, p99, read_head
from tests.support.city import Person
from tests.support.pressing import WARMING, Orders, Pressed, pressed
from tests.support.probing import from_elsewhere
from tests.support.service import PLAN, Service, free_port, until

HALF_OPEN, DRIBBLING, HUGE, SLOW_READERS = 2_000, 600, 12, 300
SECONDS = 40.0
HEALTH_P99 = 0.25
GOODPUT = 0.9
TIMES = 5
BOUNDARY = "b" * 40
GROWTH = 96 * MIB  # of the front during an attack: buffers of thousands of sockets, not their bodies
HELD_BY_READERS = 20 * MIB  # of the front, by all of them
CLIENTS = 12


@dataclass
class Door:
    """A running service, somebody's tokens, and a large signed document."""

    service: Service
    official: Person
    tokens: list[str] = field(default_factory=list)
    signed: str = ""
    probes: int = 0  # the port of the door for probes

    @property
    def port(self) -> int:
        return self.service.ports[0]

    @property
    def memory(self) -> int:
        return resident(self.service.running["front0"].process.pid)

    def authorization(self, at: int = 0) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[at % len(self.tokens)]}"}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    directory = tmp_path_factory.mktemp("door")
    service = Service(directory, f"sqlite:///{directory / 'signing.db'}")
    try:
        official = service.official()
        made = Door(service, official, probes=free_port())
        service.more["front0"] = {"SIGNING_PROBE_PORT": str(made.probes)}
        secrets = [registered(service, f"system {at}") for at in range(CLIENTS)]
        service.start()
        made.tokens = asyncio.run(_tokens(service, secrets))
        made.signed = asyncio.run(_large_document(made))
        until(lambda: service.state(made.signed) == "signed")
        asyncio.run(pressed(directory, _orders(made, "reading", 3)))  # connections to the database, among other things,
        yield made                                                    # are made once and stay
    finally:
        service.close()


async def _large_document(door: Door) -> str:
    """Of the first system: who is slow to read it must be allowed to."""
    content = PLAN.read_bytes() + b"%" + b"x" * (30 * MIB) + _end_of_plan()
    body, media_type = form(door.service.submission(door.official, level="B-B"), content)
    async with Line("127.0.0.1", door.port) as line:
        own = door.authorization()
        made = await line.asks("POST", "/api/v1/signing-requests", body, content_type=media_type, **own)
        assert made.status == 201, made.body
        code = door.official.code(datetime.now(UTC)).encode()
        path = f"/api/v1/signing-requests/{made.json()['id']}/confirm"
        done = await line.asks("POST", path, b'{"code": "%s"}' % code, content_type="application/json", **own)
        assert done.status == 200, done.body
    return str(made.json()["id"])


def _end_of_plan() -> bytes:
    """A second end of the file, so that readers find it behind what was appended."""
    return b"\n" + PLAN.read_bytes()[PLAN.read_bytes().rindex(b"startxref"):]


async def _tokens(service: Service, secrets: list[tuple[str, str]]) -> list[str]:
    return [await token_of(service, *each) for each in secrets]


# ---------------------------------------------------------------------------------------------- what is asked meanwhile


@dataclass
class Seen:
    """What others saw during an attack, and what the front held."""

    health: Load = field(default_factory=Load)
    work: Load = field(default_factory=Load)
    quiet: Load = field(default_factory=Load)  # health just before, when nobody attacked
    before: int = 0
    peak: int = 0

    def figures(self) -> dict[str, object]:
        return {
            "health_p99_ms": in_ms(p99(self.health.taken())), "quiet_health_p99_ms": in_ms(p99(self.quiet.taken())),
            "health": counted(each.code for each in self.health.answers),
            "work": counted(each.code for each in self.work.answers), "work_p99_ms": in_ms(p99(self.work.taken())),
            "front_mib": self.before // MIB, "front_peak_mib": self.peak // MIB, "load": round(os.getloadavg()[0], 1),
        }

    def judge(self) -> None:
        assert {each.status for each in self.health.answers} == {200}
        assert {each.status for each in self.work.answers} <= {200, 503}
        assert len(self.work.taken(200)) >= GOODPUT * len(self.work.answers)
        assert all("retry-after" in each.headers for each in self.work.answers if each.status == 503)
        assert p99(self.health.taken()) < HEALTH_P99
        assert self.peak - self.before <= GROWTH


async def _attacked(door: Door, attack: Callable[[asyncio.Event], Awaitable[None]], seconds: float = SECONDS) -> Seen:
    """Run an attack, and look at the front from outside until it is over."""
    seen, over = Seen(before=door.memory), asyncio.Event()
    seen.quiet = (await from_elsewhere(door.port, 10, door.tokens[0]))["health"]
    attacking = asyncio.ensure_future(attack(over))
    watching = asyncio.create_task(_watch(door, seen))
    await asyncio.sleep(1)
    found = await from_elsewhere(door.port, seconds, door.tokens[0])
    seen.health, seen.work = found["health"], found["work"]
    over.set()
    await attacking
    watching.cancel()
    return seen


async def _watch(door: Door, seen: Seen) -> None:
    while True:
        seen.peak = max(seen.peak, door.memory)
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _connected(door: Door) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=2_048)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _again_and_again(over: asyncio.Event, once: Callable[[], Awaitable[None]]) -> None:
    """Whoever is hung up on comes back after a moment."""
    while not over.is_set():
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await once()
        await asyncio.sleep(0.5)


async def _drips(over: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: bytes) -> None:
    """One piece a second, until the other side hangs up or it is over."""
    while not over.is_set() and not reader.at_eof():
        writer.write(piece)
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1_024), 1)


# ---------------------------------------------------------------------------------------------------------- attacks


def test_thousands_of_half_open_connections(door: Door) -> None:
    standing = 0

    async def attack(over: asyncio.Event) -> None:
        async def one() -> None:
            nonlocal standing
            async with _connected(door) as (reader, writer):
                standing += 1
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ")
                await _drips(over, reader, writer, b"x")
        await asyncio.gather(*(_again_and_again(over, one) for _ in range(HALF_OPEN)))

    seen = asyncio.run(_attacked(door, attack))
    campaign.proven("front-door-half-open", connections=HALF_OPEN, opened=standing, **seen.figures())
    seen.judge()


def test_bodies_that_come_one_byte_at_a_time(door: Door) -> None:
    async def attack(over: asyncio.Event) -> None:
        async def one() -> None:
            async with _connected(door) as (reader, writer):
                writer.write(b"POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n"
                             b"Content-Type: application/x-www-form-urlencoded\r\n\r\n")
                await _drips(over, reader, writer, b"a")
        await asyncio.gather(*(_again_and_again(over, one) for _ in range(DRIBBLING)))

    seen = asyncio.run(_attacked(door, attack))
    campaign.proven("front-door-slow-bodies", connections=DRIBBLING, **seen.figures())
    seen.judge()


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_bodies_of_two_gigabytes(door: Door, chunked: bool) -> None:
    """As forms with a token, so that they are read as far as anything is; and how much of them we took."""
    statuses: list[int] = []
    taken: list[int] = []

    async def attack(over: asyncio.Event) -> None:
        async def one(at: int) -> None:
            length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {2 << 30}"
            async with _connected(door) as (reader, writer):
                writer.write((f"POST /api/v1/signing-requests HTTP/1.1\r\nHost: a\r\n{length}\r\n"
                              f"Authorization: Bearer {door.tokens[1 + at % (CLIENTS - 1)]}\r\n"
                              f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n").encode())
                answering = asyncio.create_task(read_head(reader))
                sent = await _pours(writer, answering, chunked)
                taken.append(sent)
                statuses.append((await answering)[0])
        await asyncio.gather(*(_again_and_again(over, partial(one, at)) for at in range(HUGE)))

    seen = asyncio.run(_attacked(door, attack))
    campaign.proven(f"front-door-huge-{'chunked' if chunked else 'declared'}", bodies=len(taken),
                    statuses=counted(map(str, statuses)), largest_taken_mib=max(taken) // MIB, **seen.figures())
    seen.judge()
    assert set(statuses) <= {413, 429, 503}
    assert 413 in statuses
    assert max(taken) <= (64 * MIB if chunked else 8 * MIB)


async def _pours(writer: asyncio.StreamWriter, answering: asyncio.Task[object], chunked: bool) -> int:
    """Send until there is an answer; how many bytes went."""
    piece, sent = b"x" * 65_536, 0
    framed = b"10000\r\n" + piece + b"\r\n" if chunked else piece
    begin = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'.encode()
    writer.write(b"%x\r\n%s\r\n" % (len(begin), begin) if chunked else begin)
    with contextlib.suppress(OSError):
        while not answering.done() and sent < 2 << 30:
            writer.write(framed)
            await writer.drain()
            await asyncio.sleep(0)
            sent += len(piece)
    return sent


def test_readers_that_take_a_large_download_slowly(door: Door) -> None:
    given_up = 0

    async def attack(over: asyncio.Event) -> None:
        async def one(at: int) -> None:
            nonlocal given_up
            over_soon = asyncio.create_task(over.wait())
            async with _connected(door) as (reader, writer):
                writer.write((f"GET /api/v1/signing-requests/{door.signed}/signed-document HTTP/1.1\r\nHost: a\r\n"
                              f"Authorization: Bearer {door.tokens[0]}\r\n\r\n").encode())
                if (await read_head(reader))[0] != 200:
                    return  # hundreds that come in one moment are told to come back, like everybody
                while await reader.read(512) and not over.is_set():
                    await asyncio.wait([over_soon], timeout=1)
                given_up += not over.is_set()
        await asyncio.gather(*(_again_and_again(over, partial(one, at)) for at in range(SLOW_READERS)))

    seen = asyncio.run(_attacked(door, attack, SECONDS * 1.5))
    campaign.proven("front-door-slow-readers", readers=SLOW_READERS, given_up=given_up, **seen.figures())
    seen.judge()
    assert given_up
    assert seen.peak - seen.before <= HELD_BY_READERS


# --------------------------------------------------------------------------------------------------------- overload
#
# Goodput by the processor: good answers for each second of it that the service had or that nobody used, beside the same
# of as many callers as it can serve, alone, just before. Whoever presses sits on the same cores here and elsewhere in
# earnest, so what they take counts for neither; and a service that refuses everybody and idles has no goodput.


def _orders(door: Door, kind: str, seconds: float, rate: float = 0.0) -> Orders:
    pids = [running.process.pid for running in door.service.running.values()]
    if kind == "reading":
        return Orders(door.port, pids, door.tokens[:1], f"/api/v1/signing-requests/{door.signed}", seconds, rate, 32)
    return Orders(door.port, pids, door.tokens, "/api/v1/signing-requests", seconds, rate, 16, str(PLAN),
                  door.service.submission(door.official, level="B-B"))


KINDS = pytest.mark.parametrize("kind", ["submitting", "reading"])


async def _seen_while_pressed(door: Door, directory: Path, orders: Orders) -> tuple[Pressed, Load, Load]:
    """What came of it, and health meanwhile, at everybody's door and at that of probes. Looking costs the service
    something, so somebody always looks.
    """
    async def looks(port: int) -> Load:
        return (await from_elsewhere(port, WARMING + orders.seconds, door.tokens[0]))["health"]

    found, crowded, own = await asyncio.gather(pressed(directory, orders), looks(door.port), looks(door.probes))
    return found, crowded, own


@KINDS
def test_five_times_as_much_as_it_can_do(door: Door, tmp_path: Path, kind: str) -> None:
    async def story() -> tuple[Pressed, Pressed, Load, Load, list[int]]:
        await pressed(tmp_path, _orders(door, kind, 5))  # a front that has just been started is slower
        (alone, *_), before = await _seen_while_pressed(door, tmp_path, _orders(door, kind, 20)), door.memory
        over, crowded, own = await _seen_while_pressed(
            door, tmp_path, _orders(door, kind, SECONDS, TIMES * alone.per_second))
        return alone, over, crowded, own, [before, door.memory]

    alone, over, crowded, own, held = asyncio.run(story())
    share = over.per_cpu / alone.per_cpu
    campaign.proven(
        f"front-door-overload-{kind}", times=TIMES, share_by_cpu=round(share, 3),
        share_by_clock=round(over.per_second / alone.per_second, 3), alone=alone.figures(), over=over.figures(),
        health_p99_ms=in_ms(p99(crowded.taken())), own_door_health_p99_ms=in_ms(p99(own.taken())),
        without_retry_after=over.without_retry_after,
        front_mib=[each // MIB for each in held], load=round(os.getloadavg()[0], 1))
    assert over.answers.keys() <= {"200", "201", "429", "503"}
    assert over.without_retry_after == 0
    assert {each.status for each in (*crowded.answers, *own.answers)} == {200}
    assert p99(own.taken()) < HEALTH_P99
    assert p99(crowded.taken()) < HEALTH_P99
    assert held[1] - held[0] <= GROWTH
    assert share >= GOODPUT


@KINDS
def test_what_it_holds_of_memory_comes_back(door: Door, tmp_path: Path, kind: str) -> None:
    """The same overload five times over: the last one leaves no more behind than the first."""
    async def story() -> list[int]:
        alone, held = await pressed(tmp_path, _orders(door, kind, 5)), []
        for _ in range(5):
            await pressed(tmp_path, _orders(door, kind, 8, TIMES * alone.per_second))
            held.append(door.memory)
        return held

    held = asyncio.run(story())
    campaign.proven(f"front-door-memory-{kind}", mib=[each // MIB for each in held], at=datetime.now(UTC).isoformat())
    assert held[-1] - held[0] <= 8 * MIB
