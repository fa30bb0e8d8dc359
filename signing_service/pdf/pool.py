"""The pool: pdf workers, one document at a time each, and the queue before them.

A worker that crashes, runs out of memory, CPU or time is killed with its whole process group and replaced; its
document is refused, everybody else's goes on. One slot is always free for preparing and finishing: what somebody
confirms must be signed, and what was signed must leave, however many are being looked at. A client has one slot for
looking, and whoever was costly lately waits elsewhere (`aside`), so that one client's bombs are one client's problem.
Pages are drawn by workers of their own (`drawers`).

The pool belongs to one event loop: `await start()`, use, `await close()`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from signing_service.errors import Unavailable
from signing_service.pdf.answers import lost, result
from signing_service.pdf.aside import Aside, cpu_seconds, turns_out_costly
from signing_service.pdf.drawers import Drawers
from signing_service.pdf.grounds import Grounds
from signing_service.pdf.messages import Answer, AnyOrder, Verb
from signing_service.pdf.priority import step_back
from signing_service.pdf.turns import RETRY_AFTER, Turns
from signing_service.pdf.work import (
    Completed,
    CompleteOrder,
    Judgement,
    JudgeOrder,
    Limits,
    Look,
    LookOrder,
    Picture,
    PictureOrder,
    Prepared,
    PrepareOrder,
    Survey,
    Wall,
)
from signing_service.pdf.worker import PATIENTLY, Gone, Late, Worker

# A look takes 5 ms: a full queue of ordinary documents is gone in a second or two, and a client that waits longer
# is better told so.
_WAITING: Final = 256
_WAITING_PER_CLIENT: Final = 64
_SPAWN_AGAIN: Final = 1.0  # seconds; the machine is out of processes or memory, and hurrying does not help

READING: Final = frozenset({Verb.LOOK, Verb.JUDGE})  # of what anybody may send, so never all of the workers

_T = TypeVar("_T")
Observe = Callable[[str, float], None]


class _BeginsAgain(Exception):
    """It turned out costly, and there is no room aside for the worker that reads it: it is read there in its turn."""


@dataclass
class _Seat:
    """A worker in an ordinary place, and what has become of the place while a document was read."""

    worker: Worker
    begun: float    # seconds of CPU that the worker had used before
    is_aside: bool = False      # the worker went, the place is somebody else's
    begins_again: bool = False  # the worker was killed


def _unobserved(stage: str, seconds: float) -> None:
    """Nobody counts."""


class Pool:
    """`size` workers, at least two. `observe(stage, seconds)` is told `pdf:wait` and `pdf:<verb>` of each job.

    Below `folders` (which are there) workers may open and write files, and nowhere else; with none there is no wall
    around files. `fonts` are files that stamps may be set in, beside the system's.
    """

    def __init__(
        self, size: int, limits: Limits | None = None, observe: Observe = _unobserved,
        folders: Iterable[Path] = (), fonts: Iterable[Path] = (),
    ) -> None:
        if size < 2:
            raise ValueError("a pool has at least two workers: one is always kept for what was confirmed")
        self.size = size
        self.limits = limits or Limits()
        self._observe = observe
        self._folders, self._fonts = tuple(folders), tuple(fonts)
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._workers: set[Worker] = set()
        self._replacements: set[asyncio.Task[None]] = set()
        self._general = asyncio.Semaphore(size - 1)
        self._turns = Turns(_WAITING_PER_CLIENT, "Too many of your documents are waiting to be looked at.")
        self._drawers = Drawers(size, self.limits, observe, self._fonts)
        self._aside = Aside(self._spawn_aside, self._end, self.limits.jobs_per_worker)
        self._grounds = Grounds()
        self._waiting = 0
        self._closed = False

    @property
    def walls(self) -> frozenset[Wall]:
        """Those that stand around every worker that is alive; none where nobody is."""
        each = [worker.walls for worker in self._workers if worker.alive and worker.walls is not None]
        each += self._drawers.walls
        return frozenset.intersection(*each) if each else frozenset()

    async def start(self) -> None:
        """Start all workers; returns when each is ready. Raises `Unavailable` when they cannot be started."""
        try:
            await asyncio.gather(self._drawers.start(), *(self._start_one() for _ in range(self.size)))
        except (OSError, Gone) as error:
            await self.close()
            raise Unavailable("The workers that read documents cannot be started.") from error

    async def close(self) -> None:
        """Kill every worker, whatever it is doing. Orders under way end as if their worker had been lost."""
        self._closed = True
        for task in self._replacements:
            task.cancel()
        await asyncio.gather(*self._replacements, return_exceptions=True)
        await asyncio.gather(self._drawers.close(), *(worker.kill() for worker in self._workers))
        self._workers.clear()

    async def look(self, path: Path, client_id: str = "") -> Look:
        """Look at a document for a client. Raises `Invalid` (with the code of the refusal, or
        `document-too-costly`), `TooMany` or `Unavailable`.
        """
        seen = await self._read(Verb.LOOK, LookOrder(path, self.limits), Look, client_id)
        self._grounds.keep(seen)
        return seen

    async def judge(self, order: JudgeOrder, client_id: str = "") -> tuple[Judgement, ...]:
        """Judge a document's signatures for a client. Raises as `look` does."""
        return await self._read(Verb.JUDGE, order, tuple[Judgement, ...], client_id)

    async def survey(self, path: Path, viewer: str = "") -> Survey:
        """The sizes of a document's pages, for somebody who looks at it.

        Raises as `look` does (`page-too-costly`), and WrongState (`digest-changed`) when what was read is not what
        we hashed ourselves.
        """
        return await self._drawers.survey(path, viewer)

    async def picture(self, order: PictureOrder, viewer: str = "") -> Picture:
        """One page, drawn; one at a time for each viewer. Raises as `survey` does."""
        return await self._drawers.picture(order, viewer)

    async def prepare(self, order: PrepareOrder) -> Prepared:
        """Write the tail, from a slot that looking cannot take.

        Raises `Invalid`, or `Unavailable` when a worker was lost: it may be tried again.
        """
        return await self._work(Verb.PREPARE, replace(order, ground=self._grounds.of(order.document)), Prepared)

    async def complete(self, order: CompleteOrder) -> Completed:
        """Write the signed document, from such a slot, too. Raises as `prepare` does."""
        return await self._work(Verb.COMPLETE, order, Completed)

    async def _read(self, verb: Verb, order: AnyOrder, kind: type[_T], client_id: str) -> _T:
        async with self._turns.of(client_id):
            if not self._aside.concerns(client_id):
                with suppress(_BeginsAgain):
                    return await self._read_here(verb, order, kind, client_id)
            return await self._read_aside(verb, order, kind)

    async def _read_here(self, verb: Verb, order: AnyOrder, kind: type[_T], client_id: str) -> _T:
        async with self._seated(verb, client_id) as seat:
            try:
                answer = await self._asked(seat.worker, verb, order, self._wall(verb))
            except Gone as error:
                if seat.begins_again:
                    raise _BeginsAgain from error
                raise (_others_first() if seat.is_aside and isinstance(error, Late) else lost(verb)) from error
        return result(verb, answer, kind)

    @asynccontextmanager
    async def _seated(self, verb: Verb, client_id: str) -> AsyncIterator[_Seat]:
        worker = await self._waited_for(verb)
        seat = _Seat(worker, cpu_seconds(worker.pid))
        watching = asyncio.get_running_loop().create_task(self._step_back(seat, verb, client_id))
        try:
            yield seat
        finally:
            watching.cancel()
            self._aside.note(client_id, cpu_seconds(worker.pid) - seat.begun if worker.alive else float("inf"))
            if seat.is_aside:
                await self._aside.gives_back()
            else:
                self._give_back(worker, verb)

    async def _step_back(self, seat: _Seat, verb: Verb, client_id: str) -> None:
        """Once a document turns out costly its place is freed: at most so many read at once, aside and elsewhere."""
        await turns_out_costly(seat.worker, seat.begun)
        self._aside.note(client_id, float("inf"))
        if self._aside.adopts(seat.worker):
            seat.is_aside = True
            seat.worker.may_take(self.limits.aside_wall_seconds)
            self._in_background(self._refill(verb))
            await step_back(seat.worker.pid)
        else:
            seat.begins_again = True
            seat.worker.end()

    async def _read_aside(self, verb: Verb, order: AnyOrder, kind: type[_T]) -> _T:
        try:
            async with self._aside.worker() as worker:
                try:
                    answer = await self._asked(worker, verb, order, self.limits.aside_wall_seconds)
                except Gone as error:
                    raise (_others_first() if isinstance(error, Late) else lost(verb)) from error
        except (OSError, Gone) as error:
            raise Unavailable("No worker to read documents can be started.", retry_after=RETRY_AFTER) from error
        return result(verb, answer, kind)

    async def _work(self, verb: Verb, order: AnyOrder, kind: type[_T]) -> _T:
        worker = await self._waited_for(verb)
        try:
            answer = await self._asked(worker, verb, order, self._wall(verb))
        except Gone as error:
            raise lost(verb) from error
        finally:
            self._give_back(worker, verb)
        return result(verb, answer, kind)

    async def _waited_for(self, verb: Verb) -> Worker:
        started = time.perf_counter()
        worker = await self._worker_for(verb)
        self._observe("pdf:wait", time.perf_counter() - started)
        return worker

    async def _asked(self, worker: Worker, verb: Verb, order: AnyOrder, wall_seconds: float) -> Answer:
        begun = time.perf_counter()
        try:
            return await worker.ask(verb, order, self._cpu(verb), wall_seconds)
        finally:
            self._observe(f"pdf:{verb}", time.perf_counter() - begun)

    def _cpu(self, verb: Verb) -> int:
        match verb:
            case Verb.LOOK:
                return self.limits.look_cpu_seconds
            case _:
                return self.limits.work_cpu_seconds

    def _wall(self, verb: Verb) -> float:
        match verb:
            case Verb.LOOK:
                return self.limits.look_wall_seconds
            case _:
                return self.limits.work_wall_seconds

    async def _worker_for(self, verb: Verb) -> Worker:
        if self._waiting >= _WAITING:
            raise Unavailable("Too many documents are waiting to be read.", code="busy", retry_after=RETRY_AFTER)
        self._waiting += 1
        try:
            return await (self._general_worker() if verb in READING else self._living())
        finally:
            self._waiting -= 1

    async def _general_worker(self) -> Worker:
        await self._general.acquire()
        try:
            return await self._living()
        except BaseException:
            self._general.release()
            raise

    async def _living(self) -> Worker:
        while not (worker := await self._idle.get()).alive:
            # Killed from outside while it was idle, by the kernel for instance: nobody's document is to blame.
            self._replace_in_background(worker, Verb.COMPLETE)
        return worker

    def _give_back(self, worker: Worker, verb: Verb) -> None:
        """Back into the queue, or replaced; until the replacement is ready the slot for looking stays taken."""
        if worker.alive and worker.jobs < self.limits.jobs_per_worker:
            self._idle.put_nowait(worker)
            self._release(verb)
        elif not self._closed:
            self._replace_in_background(worker, verb)

    def _replace_in_background(self, worker: Worker, verb: Verb) -> None:
        self._in_background(self._replace(worker, verb))

    def _in_background(self, replacing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(replacing)
        self._replacements.add(task)
        task.add_done_callback(self._replacements.discard)

    def _release(self, verb: Verb) -> None:
        if verb in READING:
            self._general.release()

    async def _end(self, worker: Worker) -> None:
        await worker.kill()
        self._workers.discard(worker)

    async def _replace(self, worker: Worker, verb: Verb) -> None:
        await self._end(worker)
        await self._refill(verb)

    async def _refill(self, verb: Verb) -> None:
        while True:
            try:
                self._idle.put_nowait(await self._spawn())
                break
            except (OSError, Gone):
                await asyncio.sleep(_SPAWN_AGAIN)
        self._release(verb)

    async def _start_one(self) -> None:
        self._idle.put_nowait(await self._spawn())

    async def _spawn_aside(self) -> Worker:
        """One that gives way from its first breath: starting costs, too."""
        if self._closed:
            raise Gone("the pool is closed")
        worker = await self._spawned()
        await step_back(worker.pid)
        await worker.ready(PATIENTLY)
        return worker

    async def _spawn(self) -> Worker:
        worker = await self._spawned()
        await worker.ready()
        return worker

    async def _spawned(self) -> Worker:
        worker = await Worker.start(self.limits, self._folders, self._fonts)
        self._workers.add(worker)
        return worker


def _others_first() -> Unavailable:
    """Not the document's fault: it had less of the processor than it may use."""
    return Unavailable("The document could not be read while others wanted the machine.", code="busy",
                       retry_after=RETRY_AFTER)
