"""Files going out: whole, and without being held for those who are slow to take them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop

from signing_service.front.downloads import Download
from signing_service.front.patience import MOST_UNSENT, PatientProtocol, hold_little

MIB = 1 << 20
READERS = 12
HELD = 70_000  # bytes for each of them: a piece, and what any connection costs; with larger ones it was 570,000


@asynccontextmanager
async def served(file: Path) -> AsyncIterator[tuple[str, int]]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Download(file)(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    hold_little(listener)
    server = uvicorn.Server(uvicorn.Config(app, http=Watched, lifespan="off", log_config=None, ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()
    server.should_exit = True
    await serving


class Watched(PatientProtocol):
    """Knows which connections do not take what was written."""

    stuck: set[PatientProtocol] = set()  # noqa: RUF012 - of the class, as the connections of a server are

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stuck.add(self)

    def resume_writing(self) -> None:
        self.stuck.discard(self)
        super().resume_writing()


async def asked(address: tuple[str, int], *more: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*address, limit=2_048)
    writer.write("\r\n".join(["GET / HTTP/1.1", "Host: a", "Connection: close", *more, "", ""]).encode())
    return reader, writer


async def body_of(address: tuple[str, int], *more: str) -> bytes:
    reader, writer = await asked(address, *more)
    whole = b""
    while piece := await reader.read(MIB):
        whole += piece
    writer.close()
    return whole.partition(b"\r\n\r\n")[2]


SIZES = {
    "empty": 0, "small": 1_000, "a piece": 1 << 14, "a piece and a byte": (1 << 14) + 1, "many pieces": 3 * MIB + 17,
}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("at_hand", [True, False], ids=["in memory", "on a disk"])
def test_a_file_goes_out_as_it_is(tmp_path: Path, size: int, at_hand: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    if not at_hand:
        monkeypatch.setattr(os, "preadv", cold)

    async def story() -> None:
        async with served(tmp_path / "file") as address:
            assert await body_of(address) == content
            if size:
                assert await body_of(address, "Range: bytes=0-99") == content[:100]

    uvloop.run(story())


def test_a_file_of_which_the_kernel_has_a_part_at_hand_goes_out_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = os.urandom(200_000)
    (tmp_path / "file").write_bytes(content)
    monkeypatch.setattr(os, "preadv", partial(part, os.preadv))

    async def story() -> None:
        async with served(tmp_path / "file") as address:
            assert await body_of(address) == content

    uvloop.run(story())


def cold(*_: Any) -> int:
    """Nothing is in memory; or the file system does not know."""
    raise BlockingIOError


def part(read: Any, descriptor: int, buffers: list[bytearray], start: int, flags: int) -> int:
    found: int = read(descriptor, [memoryview(buffers[0])[:1_000]], start, flags)
    return found


def silent(address: tuple[str, int]) -> socket.socket:
    """Somebody who asks and never reads; a plain socket, which holds nothing in this process."""
    reader = socket.create_connection(address)
    reader.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return reader


def unsent(connection: PatientProtocol) -> int:
    """Bytes that wait in the kernel (SIOCOUTQNSD)."""
    told = fcntl.ioctl(connection.transport.get_extra_info("socket").fileno(), 0x894B, bytes(4))
    return int.from_bytes(told, sys.byteorder)


def test_who_does_not_read_holds_one_piece_and_little_in_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(24 * MIB))  # more than the sockets between us take

    async def story() -> tuple[int, int]:
        async with served(tmp_path / "file") as address:
            await body_of(address, "Range: bytes=0-9")  # what the first answer of a process makes stays
            before = tracemalloc.get_traced_memory()[0]
            readers = [silent(address) for _ in range(READERS)]
            while len(Watched.stuck) < READERS:  # noqa: ASYNC110 - the kernel makes it true
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)  # whoever reads ahead has done it by then
            held = tracemalloc.get_traced_memory()[0] - before
            waiting = max(map(unsent, Watched.stuck))
            for each in readers:
                each.close()
        return held, waiting

    tracemalloc.start()
    try:
        held, waiting = uvloop.run(story())
    finally:
        tracemalloc.stop()
    assert held <= READERS * HELD
    assert waiting <= 2 * MOST_UNSENT
