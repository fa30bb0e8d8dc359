"""Who draws: light workers beside the others, one document each, and the queue before them.

A hostile document that takes its worker over finds itself and nothing else: the worker was started for it, opens
no file, and is never given another document. As long as a document is asked for its worker is kept, for a while; a
fresh one is always ready, so that nobody waits for a start. Who draws is nicer than who looks, prepares or
completes, and takes none of their places.

What a worker says it drew is held against the digest that was taken here.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from signing_service.errors import Unavailable, WrongState
from signing_service.pdf.answers import lost, no_file, result
from signing_service.pdf.drawer import Drawer
from signing_service.pdf.messages import Verb
from signing_service.pdf.paper import Paper, Papers, closing
from signing_service.pdf.turns import RETRY_AFTER, Turns
from signing_service.pdf.work import Limits, PageOrder, Picture, PictureOrder, Survey, SurveyOrder, Wall
from signing_service.pdf.worker import Gone

_WAITING: Final = 128           # a page takes 0.05 s: what is behind that waits for seconds
_WAITING_PER_VIEWER: Final = 12     # a screen that is scrolled asks for some eight pages at once
_KEPT: Final = 4                # documents at hand for each that is drawn; an idle worker holds 29 MB
_MOST_SPARES: Final = 4         # who draws at once on a large machine may wait for a start after all
_IDLE: Final = 60.0             # seconds; who reads a page that long finds a spare
_SPARE_SECONDS: Final = 10.0    # a start takes 0.2 s
_SPAWN_AGAIN: Final = 1.0       # seconds; the machine is out of processes or memory, and hurrying does not help

_T = TypeVar("_T", Survey, Picture)


class Drawers:
    """`size` draw at once; four times as many documents have their worker at hand."""

    def __init__(self, size: int, limits: Limits, observe: Callable[[str, float], None], fonts: Iterable[Path]) -> None:
        self._limits, self._observe, self._fonts = limits, observe, tuple(fonts)
        self._most, self._most_spares = _KEPT * size, min(size, _MOST_SPARES)
        self._papers = Papers()
        self._viewers = Turns(_WAITING_PER_VIEWER, "Too many pages are waiting to be drawn for you.")
        self._documents = Turns(_WAITING, "Too many pages of this document are waiting to be drawn.")
        self._places = asyncio.Semaphore(size)
        self._waiting = 0
        self._kept: OrderedDict[str, Drawer] = OrderedDict()    # by digest, whoever was asked last at the end
        self._busy: set[str] = set()
        self._idle: dict[str, asyncio.TimerHandle] = {}
        self._spares: asyncio.Queue[Drawer] = asyncio.Queue()
        self._starting = 0
        self._living: set[Drawer] = set()
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def walls(self) -> tuple[frozenset[Wall], ...]:
        """Those around each worker that is alive and ready."""
        return tuple(each.walls for each in self._living if each.alive and each.walls is not None)

    async def start(self) -> None:
        """Start the spares; returns when they are ready. Raises OSError or `Gone`."""
        for spare in await asyncio.gather(*(self._started() for _ in range(self._most_spares))):
            self._spares.put_nowait(spare)

    async def close(self) -> None:
        """Kill every worker, whatever it is doing."""
        self._closed = True
        for timer in self._idle.values():
            timer.cancel()
        for task in self._chores:
            task.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await asyncio.gather(*(each.kill() for each in self._living))
        self._living.clear()
        self._kept.clear()

    async def survey(self, path: Path, viewer: str) -> Survey:
        """As `Pool.survey`."""
        surveyed = await self._ask(Verb.SURVEY, path, SurveyOrder(), Survey, viewer)
        if not all(math.isfinite(side) and side > 0 for page in surveyed.pages for side in page):
            raise lost(Verb.SURVEY)
        return surveyed

    async def picture(self, order: PictureOrder, viewer: str) -> Picture:
        """As `Pool.picture`."""
        return await self._ask(Verb.DRAW, order.document, PageOrder(order.page, order.width), Picture, viewer)

    async def _ask(self, verb: Verb, path: Path, order: SurveyOrder | PageOrder, kind: type[_T], viewer: str) -> _T:
        begun = time.perf_counter()
        async with self._viewers.of(viewer):
            with closing(await self._opened(path)) as paper:
                async with self._drawer_for(paper) as drawer:
                    started = time.perf_counter()
                    self._observe("pdf:wait", started - begun)
                    try:
                        answer = await drawer.ask(
                            verb, order, self._limits.draw_cpu_seconds, self._limits.draw_wall_seconds)
                        return _held(result(verb, answer, kind), paper)
                    except (Gone, WrongState) as error:
                        await drawer.kill()
                        raise error if isinstance(error, WrongState) else lost(verb) from error
                    finally:
                        self._observe(f"pdf:{verb}", time.perf_counter() - started)

    async def _opened(self, path: Path) -> Paper:
        """In a thread of its own, which goes on when we are given up: then it closes what it opened."""
        opening = asyncio.get_running_loop().run_in_executor(None, self._papers.open, path)
        try:
            return await asyncio.shield(opening)
        except OSError as error:
            raise no_file() from error
        except asyncio.CancelledError:
            opening.add_done_callback(_closed_unseen)
            raise

    @asynccontextmanager
    async def _drawer_for(self, paper: Paper) -> AsyncIterator[Drawer]:
        """The document's own worker. A document has one, and so takes one place, whoever asks for its pages."""
        if self._waiting >= _WAITING:
            raise Unavailable("Too many pages are waiting to be drawn.", code="busy", retry_after=RETRY_AFTER)
        self._waiting += 1
        try:
            async with self._documents.of(paper.digest), self._places:
                drawer = await self._taken(paper)
                try:
                    yield drawer
                finally:
                    self._give_back(paper.digest, drawer)
        finally:
            self._waiting -= 1

    async def _taken(self, paper: Paper) -> Drawer:
        drawer = self._kept.get(paper.digest)
        if drawer is None or not drawer.alive:
            self._end(paper.digest)
            drawer = await self._fresh(paper)
            self._kept[paper.digest] = drawer
        self._kept.move_to_end(paper.digest)
        self._busy.add(paper.digest)
        if (timer := self._idle.pop(paper.digest, None)) is not None:
            timer.cancel()
        self._make_room()
        return drawer

    async def _fresh(self, paper: Paper) -> Drawer:
        """A spare, with this document from here on; the next spare is started meanwhile."""
        while True:
            drawer = await self._spare()
            try:
                drawer.give(paper.descriptor)
                return drawer
            except Gone:    # killed from outside while it waited: nobody's document is to blame
                self._in_background(self._ended(drawer))

    async def _spare(self) -> Drawer:
        try:
            async with asyncio.timeout(_SPARE_SECONDS):
                while not (drawer := await self._next_spare()).alive:
                    self._in_background(self._ended(drawer))
                return drawer
        except TimeoutError as error:
            raise Unavailable("The workers that draw pages cannot be started.", retry_after=RETRY_AFTER) from error

    async def _next_spare(self) -> Drawer:
        drawer = await self._spares.get()
        if not self._closed and self._spares.qsize() + self._starting < self._most_spares:
            self._starting += 1
            self._in_background(self._refilled())
        return drawer

    def _give_back(self, digest: str, drawer: Drawer) -> None:
        self._busy.discard(digest)
        if not drawer.alive or drawer.jobs >= self._limits.jobs_per_worker:
            self._end(digest)
        elif not self._closed:
            self._idle[digest] = asyncio.get_running_loop().call_later(_IDLE, self._end, digest)

    def _make_room(self) -> None:
        """Whoever was not asked for longest goes first."""
        idle = [digest for digest in self._kept if digest not in self._busy]
        for digest in idle[:max(0, len(self._kept) - self._most)]:
            self._end(digest)

    def _end(self, digest: str) -> None:
        if (timer := self._idle.pop(digest, None)) is not None:
            timer.cancel()
        if (drawer := self._kept.pop(digest, None)) is not None and not self._closed:
            self._in_background(self._ended(drawer))

    def _in_background(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _ended(self, drawer: Drawer) -> None:
        await drawer.kill()
        self._living.discard(drawer)

    async def _refilled(self) -> None:
        try:
            self._spares.put_nowait(await self._started_at_last())
        finally:
            self._starting -= 1

    async def _started_at_last(self) -> Drawer:
        while True:
            try:
                return await self._started()
            except (OSError, Gone):
                await asyncio.sleep(_SPAWN_AGAIN)

    async def _started(self) -> Drawer:
        drawer = await Drawer.start(self._limits, fonts=self._fonts)
        self._living.add(drawer)
        await drawer.ready()
        return drawer


def _held(answer: _T, paper: Paper) -> _T:
    """What a worker says it drew must be what it was handed: it may have been taken over since, or the file written."""
    if answer.digest != paper.digest:
        raise WrongState("The document is not the one that was drawn.", code="digest-changed")
    return answer


def _closed_unseen(opening: asyncio.Future[Paper]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        with closing(opening.result()):
            pass
