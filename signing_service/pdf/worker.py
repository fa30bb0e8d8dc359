"""One pdf worker as its parent sees it: a process that answers, or is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from signing_service.pdf.messages import (
    HEADER,
    Answer,
    AnyOrder,
    Order,
    Outcome,
    ProtocolError,
    Surroundings,
    Verb,
    decoded,
    encoded,
    framed,
    length_of,
)
from signing_service.pdf.work import Limits, Wall

_ROOT: Final = Path(__file__).parents[2]    # so that the child finds this package, installed or not
_READY_SECONDS: Final = 30.0                # importing pyHanko takes 0.6 s; on a loaded machine many times that
PATIENTLY: Final = 120.0                    # where whoever starts has stepped back and others want the processor


class Gone(Exception):
    """The worker crashed, was killed by a limit, overran its deadline or broke the protocol."""


class Late(Gone):
    """It overran its deadline."""


class Worker:
    """A child process. After `Gone` it is dead and only `kill` may be called."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._killed = False
        self._deadline: asyncio.Timeout | None = None   # of the order under way
        self.jobs = 0
        self.walls: frozenset[Wall] | None = None   # known once it is ready

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._killed and self._process.returncode is None

    @classmethod
    async def start(cls, limits: Limits, folders: Iterable[Path] = (), fonts: Iterable[Path] = ()) -> Worker:
        """A new process: empty environment, no descriptors but its three, its own session and process group."""
        around = Surroundings(limits.memory_bytes, limits.output_bytes, named(folders), named(fonts))
        return cls(await spawned("signing_service.pdf.child", around, asyncio.subprocess.PIPE))

    async def ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait for its greeting, which says what walls stand around it. Raises `Gone`."""
        greeting = await self._answer(seconds)
        try:
            self.walls = decoded(greeting.body, frozenset[Wall])
        except ProtocolError as error:
            raise Gone(f"no greeting: {error}") from error

    async def ask(self, verb: Verb, order: AnyOrder, cpu_seconds: int, wall_seconds: float) -> Answer:
        """One order, one answer. Raises `Gone`; a caller that is cancelled leaves a dead worker behind."""
        self.jobs += 1
        message = encoded(Order(verb, cpu_seconds, msgspec.Raw(encoded(order))))
        try:
            self._write(framed(message))
        except (OSError, RuntimeError) as error:  # RuntimeError: uvloop's word for a pipe that broke and was closed
            self._signal()
            raise Gone(f"it takes no orders: {error}") from error
        return await self._answer(wall_seconds)

    def may_take(self, seconds: float) -> None:
        """From now on, for the order under way, instead of what was said with it."""
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time() + seconds)

    def end(self) -> None:
        """What is under way ends with `Gone`."""
        self._signal()

    def _write(self, frame: bytes) -> None:
        assert self._process.stdin is not None  # a pipe was asked for
        self._process.stdin.write(frame)

    def _close_orders(self) -> None:
        assert self._process.stdin is not None  # a pipe was asked for
        self._process.stdin.close()

    async def _answer(self, wall_seconds: float) -> Answer:
        may_live = False
        try:
            async with asyncio.timeout(wall_seconds) as self._deadline:
                answer = await self._read()
            may_live = answer.outcome is not Outcome.TOO_COSTLY  # that was its last word, see `child.main`
            return answer
        except TimeoutError as error:
            raise Late("it overran its deadline") from error
        except (asyncio.IncompleteReadError, ProtocolError, OSError) as error:
            raise Gone(f"{type(error).__name__}: {error}") from error
        finally:
            self._deadline = None
            # Also when our caller was cancelled: an answer that nobody awaits must not be read by the next one.
            if not may_live:
                self._signal()

    async def _read(self) -> Answer:
        assert self._process.stdout is not None  # a pipe was asked for
        size = length_of(await self._process.stdout.readexactly(HEADER))
        return decoded(await self._process.stdout.readexactly(size), Answer)

    def _signal(self) -> None:
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def kill(self) -> None:
        """End it and wait until it is gone."""
        self._signal()
        self._close_orders()
        await self._process.wait()


async def spawned(module: str, around: Surroundings, orders: int) -> asyncio.subprocess.Process:
    """Our module in a process of its own, which is told `around` and hears `orders` on its stdin."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, msgspec.json.encode(around).decode()),
        stdin=orders,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
        env={},
        close_fds=True,
        start_new_session=True,
    )


def named(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(str(path.absolute()) for path in paths)  # a worker has a working directory of its own
