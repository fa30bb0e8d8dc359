"""Starting the halves and keeping them alive: what dies comes back, and stopping leaves nothing half-way.

The listening socket is bound once, here, and handed to every front, so that a front can be replaced without a
refused connection. Stopping goes from the outside in: fronts take no more and end what is under way, then the jobs,
then the signer, so that nobody asks for what is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

log = logging.getLogger(__name__)

GIVE_UP = 78            # EX_CONFIG of sysexits(3): starting it again cannot help, and with a wrong PIN it would harm
BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before a restart, the more often the longer
LATEST = 15.0           # seconds after which those who start later do not wait any more
LONG_LIFE = 60.0        # seconds after which a death counts as the first
PATIENCE = 45.0         # seconds to end what is under way; then SIGKILL, which loses nothing that is durable
BACKLOG = 512           # connections that wait to be accepted; more find the port busy and try again
PR_SET_PDEATHSIG = 1    # prctl(2)
SUPERVISED = "SIGNING_SUPERVISED_BY"  # our process id, so that a child notices when it was orphaned


@dataclass
class Child:
    """One process that is to live as long as we do."""

    name: str
    arguments: Sequence[str]
    descriptors: tuple[int, ...] = ()
    program: Sequence[str] = (sys.executable, "-m", "signing_service")
    deaths: int = 0
    process: asyncio.subprocess.Process | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self, given_up: Callable[[Child], None]) -> None:
        """Start it again and again, with growing pauses, until `stop`. One that says GIVE_UP stays dead."""
        while not self._stopping.is_set():
            begun = monotonic()
            code = await self._once()
            if self._stopping.is_set():
                return
            if code == GIVE_UP:
                log.critical("%s says that its settings are wrong; it is not started again", self.name)
                given_up(self)
                return
            self.deaths = 1 if monotonic() - begun > LONG_LIFE else self.deaths + 1
            pause = BACK_OFF[min(self.deaths, len(BACK_OFF)) - 1]
            log.error("%s ended with %s; starting it again in %.1f s", self.name, code, pause)
            await asyncio.sleep(pause)

    async def _once(self) -> int:
        """In a session of its own: a Ctrl-C at the terminal reaches us alone, and we say who stops when."""
        self.process = await asyncio.create_subprocess_exec(
            *self.program, *self.arguments, pass_fds=self.descriptors,
            start_new_session=True, env={**os.environ, SUPERVISED: str(os.getpid())},
        )
        return await self.process.wait()

    async def stop(self) -> None:
        self._stopping.set()
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            log.warning("%s did not end in %.0f s and is killed", self.name, PATIENCE)
            process.kill()
            await process.wait()


@dataclass
class Supervisor:
    """`inner` start with the fronts and end, in the opposite order, after them.

    `later` have work that can wait for some seconds. They start when everybody else is ready: until then the processor
    belongs to those for whom somebody waits. They end between the fronts and `inner`.
    """

    inner: Sequence[Child]
    fronts: Sequence[Child]
    later: Sequence[Child] = ()
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _given_up: list[str] = field(default_factory=list)

    async def run(self, ready: Callable[[], bool], announce: Callable[[], None]) -> int:
        """Until SIGTERM or SIGINT: 0. GIVE_UP when a child cannot live with these settings."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        lives = [asyncio.create_task(child.live(self._give_up)) for child in (*self.inner, *self.fronts)]
        lives += [asyncio.create_task(self._live_later(child)) for child in self.later]
        announcing = asyncio.create_task(self._announce(ready, announce))
        await self._ending.wait()
        announcing.cancel()
        await self._stop()
        for life in lives:
            life.cancel()
        await asyncio.gather(announcing, *lives, return_exceptions=True)
        return GIVE_UP if self._given_up else 0

    def _give_up(self, child: Child) -> None:
        self._given_up.append(child.name)
        self._ending.set()

    async def _announce(self, ready: Callable[[], bool], announce: Callable[[], None]) -> None:
        while not await asyncio.to_thread(ready):  # noqa: ASYNC110 - it is other processes that become ready
            await asyncio.sleep(0.1)
        self._ready.set()
        announce()

    async def _live_later(self, child: Child) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), LATEST)
        await child.live(self._give_up)

    async def _stop(self) -> None:
        log.info("stopping: what is under way is ended first")
        await asyncio.gather(*(front.stop() for front in self.fronts))
        for child in reversed((*self.inner, *self.later)):
            await child.stop()


def bind(host: str, port: int) -> socket.socket:
    """The one listening socket. OSError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def leave_no_core() -> None:
    """A crash leaves no memory on the disk: a front has tokens in its own, a signer the PIN."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_with_supervisor() -> None:
    """In a child: be told to end when the supervisor dies, however it dies (prctl(2), Linux only)."""
    parent = os.environ.get(SUPERVISED)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)
