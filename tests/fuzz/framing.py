"""Bytes on `sign.sock` as they come, in any pieces: each whole frame is answered, and nothing is left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any, Final

from signing_service.errors import Invalid, SigningError
from signing_service.wire import messages as m
from signing_service.wire.client import ANSWERS, HEADER, SignerClient, frame
from signing_service.wire.server import Server
from tests.fuzz import wire
from tests.fuzz.havoc import havoc
from tests.fuzz.target import Target


class Written:
    """The writing half of a connection, kept in memory."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def get_extra_info(self, name: str) -> Peer:
        assert name == "socket"
        return Peer()

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Peer:
    """A process of user 0."""

    def getsockopt(self, *_: int) -> bytes:
        return bytes(12)


def run(data: bytes) -> str:
    """As a signer that is asked, and as a front that is answered."""
    answered = LOOP.run_until_complete(_asked(data))
    LOOP.run_until_complete(_answered(data))
    return answered


async def _asked(data: bytes) -> str:
    server, writer = Server(Path("/nowhere"), m.SignRequest, _handle, users=frozenset({0})), Written()
    await server._serve(_reader(data), writer)  # type: ignore[arg-type]  # as much of a writer as it uses
    while server._tasks:
        await asyncio.wait(server._tasks)
    assert writer.closed
    told = _frames(bytes(writer.data))
    wanted, is_cut = _sent(data)
    assert sorted(number for number, _ in told) == sorted(wanted)
    assert {_code(body) for _, body in told} <= {"", "message", "frame", "invalid"}  # never "signer-error"
    return f"{min(len(told), 9)} answered{', cut' if is_cut else ''}"


def _code(body: bytes) -> str:
    answer = ANSWERS.decode(body)
    return answer.code if isinstance(answer, m.Failure) else ""


async def _handle(message: Any) -> m.Message:
    if isinstance(message, m.Health):
        return m.HealthReport("si", ())
    raise Invalid("Not here.")


async def _answered(data: bytes) -> None:
    """Whatever a connection carries, who waits for an answer gets one or is refused."""
    client, writer = SignerClient(Path("/nowhere")), Written()
    waiting: asyncio.Future[m.Message] = LOOP.create_future()
    client._waiting[1] = waiting
    await client._read(_reader(data), writer)  # type: ignore[arg-type]  # as above
    assert waiting.done()
    assert writer.closed
    error = waiting.exception()
    assert error is None or isinstance(error, SigningError)


def _reader(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=m.MAX_FRAME, loop=LOOP)
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def _sent(data: bytes) -> tuple[list[int], bool]:
    """The numbers of the frames that an answer is due to: the whole ones, and the first that is too large."""
    numbers, at = [], 0
    while at + HEADER.size <= len(data):
        length, number = HEADER.unpack_from(data, at)
        if length > m.MAX_FRAME:
            return [*numbers, number], True
        at += HEADER.size + length
        if at > len(data):
            return numbers, True
        numbers.append(number)
    return numbers, at != len(data)


def _frames(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        length, number = HEADER.unpack_from(data, at)
        found.append((number, data[at + HEADER.size: at + HEADER.size + length]))
        at += HEADER.size + length
    return found


def mutate(data: bytes, rng: Random) -> bytes:
    """A frame among others, changed inside or at its head."""
    if rng.random() < 0.3:
        return havoc(data, rng)
    numbers, is_cut = _sent(data)
    frames = [] if is_cut else _frames(data)
    made = [*frames, (len(numbers), rng.choice(BODIES))][-6:]
    at = rng.randrange(len(made))
    made[at] = (rng.choice((1, 0, 2**32 - 1)), wire.mutate(made[at][1], rng))
    whole = b"".join(frame(*each) for each in made)
    return whole if rng.random() < 0.8 else havoc(whole, rng)


def seeds() -> list[bytes]:
    return [b"".join(frame(number, body) for number, body in enumerate(BODIES[at: at + 3], 1))
            for at in range(0, len(BODIES), 3)] + [HEADER.pack(m.MAX_FRAME + 1, 1), HEADER.pack(2, 7) + b"\xc0"]


LOOP: Final = asyncio.new_event_loop()
BODIES: Final = wire.seeds()
TARGET: Final = Target(run, seeds, mutate, largest=16_384, short=200)
