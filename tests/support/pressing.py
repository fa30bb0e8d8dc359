"""More than a service can do, from a process that costs little itself: raw connections, requests made beforehand.

    python -m tests.support.pressing ORDERS        # a file of JSON, see `Orders`; prints what came of it as JSON

Beside the answers it tells what processor time the service had meanwhile and what nobody used, so that goodput can be
told by the processor: good answers for each second that the service had, or could have had (`Pressed.per_cpu`). What
those who press cost on the same machine is told apart and counts for neither.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from signing_service.pdf.aside import cpu_seconds
from tests.support.memory import family

WARMING = 4.0       # seconds at the beginning that do not count
PATIENCE = 60.0     # seconds for what is still unanswered at the end
NUMBER = b"%%%% %010d\n"  # what makes a document another one


@dataclass(frozen=True)
class Orders:
    """`rate`: so many calls a second, whatever became of those before; 0: `at_once` callers, one call after the other.

    `file` is submitted with `fields`, a different one each time; without it `path` is read.
    """

    port: int
    pids: list[int]         # of the service; their children count as well
    tokens: list[str]
    path: str
    seconds: float
    rate: float = 0.0
    at_once: int = 1
    file: str = ""
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Pressed:
    """What came of it, after the warming."""

    seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)   # by status; "0": the connection ended
    without_retry_after: int = 0
    slowest_good: float = 0.0
    service_cpu: float = 0.0
    idle_cpu: float = 0.0   # of all cores
    own_cpu: float = 0.0

    @property
    def good(self) -> int:
        return self.answers.get("200", 0) + self.answers.get("201", 0)

    @property
    def per_second(self) -> float:
        return self.good / self.seconds

    @property
    def per_cpu(self) -> float:
        """Good answers for each second of processor time that the service had or that nobody used."""
        return self.good / (self.service_cpu + self.idle_cpu)

    def figures(self) -> dict[str, object]:
        return {
            "good_per_s": round(self.per_second, 1), "good_per_cpu_s": round(self.per_cpu, 2), "answers": self.answers,
            "service_cpu_s": round(self.service_cpu, 1), "idle_cpu_s": round(self.idle_cpu, 1),
            "callers_cpu_s": round(self.own_cpu, 1), "slowest_good_s": round(self.slowest_good, 2),
        }


async def pressed(directory: Path, orders: Orders) -> Pressed:
    """Carried out by a process of its own."""
    written = directory / "orders.json"
    written.write_text(json.dumps(asdict(orders)), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.pressing", str(written), stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return Pressed(**json.loads(said))


def requests(orders: Orders) -> Iterator[list[bytes]]:
    """Each in pieces, of which only a number is made anew."""
    heads = itertools.cycle(
        f"{'POST' if orders.file else 'GET'} {orders.path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        .encode() for token in orders.tokens)
    if not orders.file:
        yield from ([head, b"\r\n"] for head in heads)
    before, after = _form(orders.fields, Path(orders.file).read_bytes())
    told = (b"Content-Type: multipart/form-data; boundary=bbbb\r\nContent-Length: %d\r\n\r\n"
            % (len(before) + len(NUMBER % 0) + len(after)))
    numbers = itertools.count(time.time_ns() // 1_000 % 10**9)  # other ones than the last process had
    for head in heads:
        yield [head, told, before, NUMBER % (next(numbers) % 10**10), after]


def _form(fields: dict[str, str], file: bytes) -> tuple[bytes, bytes]:
    parts = [f'--bbbb\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
             for name, value in fields.items()]
    begin = b'--bbbb\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'
    return b"".join(parts) + begin + file, b"\r\n--bbbb--\r\n"


class Caller(asyncio.Protocol):
    """One connection. `heard(caller, status, has_retry_after)`, with status 0 where it ended without an answer."""

    def __init__(self, heard: Callable[[Caller, int, bool], None]) -> None:
        self._heard = heard
        self._answer = b""
        self._asked = False
        self.begun = 0.0
        self.transport: asyncio.Transport | None = None

    def asks(self, request: list[bytes]) -> None:
        assert self.transport is not None
        self._answer, self._asked, self.begun = b"", True, time.perf_counter()
        self.transport.writelines(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(head.lower()):
            return
        if b"\r\nconnection: close" in head.lower():
            self._over()
        self._tell(int(head[9:12]), b"\r\nretry-after:" in head.lower())

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._tell(0, False)

    def _over(self) -> None:
        if self.transport is not None:
            self.transport.close()
        self.transport = None

    def _tell(self, status: int, has_retry_after: bool) -> None:
        if self._asked:
            self._asked = False
            self._heard(self, status, has_retry_after)


def _length(head: bytes) -> int:
    _, _, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0] or 0)


class Press:
    """Carries the orders out, and counts."""

    def __init__(self, orders: Orders) -> None:
        self._orders, self._requests = orders, requests(orders)
        self._free: deque[Caller] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._counts = self._ended = False
        self.found = Pressed()

    async def run(self) -> Pressed:
        end = asyncio.get_running_loop().time() + WARMING + self._orders.seconds
        counting = asyncio.create_task(self._count())
        await (self._open(end) if self._orders.rate else self._closed(end))
        await counting
        self._ended = True
        for _ in range(int(PATIENCE * 10)):
            if not self._under_way:
                break
            await asyncio.sleep(0.1)
        return self.found

    async def _count(self) -> None:
        await asyncio.sleep(WARMING)
        begun, used = time.perf_counter(), self._used()
        self._counts = True
        await asyncio.sleep(self._orders.seconds)
        self._counts = False
        self.found.seconds = time.perf_counter() - begun
        spent = [after - before for after, before in zip(self._used(), used, strict=True)]
        self.found.service_cpu, self.found.idle_cpu, self.found.own_cpu = spent

    def _used(self) -> tuple[float, float, float]:
        pids = [each for pid in self._orders.pids for each in family(pid)]
        return sum(spent for each in pids if (spent := cpu_seconds(each)) != float("inf")), idle(), time.process_time()

    async def _open(self, end: float) -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        for at in itertools.count():
            due = begun + at / self._orders.rate
            if due >= end:
                return
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            self._one()

    async def _closed(self, end: float) -> None:
        for _ in range(self._orders.at_once):
            self._one()
        await asyncio.sleep(end - asyncio.get_running_loop().time())

    def _one(self) -> None:
        self._under_way += 1
        while self._free:
            caller = self._free.pop()
            if caller.transport is not None:
                caller.asks(next(self._requests))
                return
        task = asyncio.get_running_loop().create_task(self._connected())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connected(self) -> None:
        caller = Caller(self._heard)
        try:
            await asyncio.get_running_loop().create_connection(lambda: caller, "127.0.0.1", self._orders.port)
        except OSError:
            self._under_way -= 1
            self._note(0)
            return
        caller.asks(next(self._requests))

    def _heard(self, caller: Caller, status: int, has_retry_after: bool) -> None:
        self._under_way -= 1
        self._note(status)
        if self._counts and status in (200, 201):
            self.found.slowest_good = max(self.found.slowest_good, time.perf_counter() - caller.begun)
        elif self._counts:
            self.found.without_retry_after += not has_retry_after
        if caller.transport is not None:
            self._free.append(caller)
        if not self._orders.rate and not self._ended:
            self._one()

    def _note(self, status: int) -> None:
        if self._counts:
            self.found.answers[str(status)] = self.found.answers.get(str(status), 0) + 1


def idle() -> float:
    """Seconds that the cores of this machine had nothing to do, or waited for a disk (proc(5): stat)."""
    told = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    return (int(told[4]) + int(told[5])) / os.sysconf("SC_CLK_TCK")


def take_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    take_descriptors()
    print(json.dumps(asdict(uvloop.run(Press(Orders(**json.loads(Path(sys.argv[1]).read_text()))).run()))))
