"""Stories with a pool of pdf workers, and a look at its processes from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from signing_service.pdf import Limits, Pool
from signing_service.pdf.priority import BACK
from tests.support.memory import children_of

_T = TypeVar("_T")
DOCUMENTS = Path(__file__).parents[1] / "documents"


def with_pool(
    story: Callable[[Pool], Awaitable[_T]],
    limits: Limits | None = None,
    *,
    size: int = 2,
    observe: Callable[[str, float], None] = lambda stage, seconds: None,
    folders: Iterable[Path] = (Path(tempfile.gettempdir()), DOCUMENTS),
) -> _T:
    """Run the story with a started pool, and close it whatever happens."""

    async def whole() -> _T:
        pool = Pool(size, limits, observe, folders=folders)
        await pool.start()
        try:
            return await story(pool)
        finally:
            await pool.close()

    return asyncio.run(whole())


def worker_pids() -> list[int]:
    """The pdf workers that are children of this process, whoever started them."""
    return _children(b"signing_service.pdf.child")


def drawer_pids() -> list[int]:
    """The drawing workers that are children of this process, spares among them."""
    return _children(b"signing_service.pdf.drawing_child")


def aside_pids() -> list[int]:
    """Those of the pdf workers that give way where others want the processor."""
    return [pid for pid in worker_pids() if _nice(pid) == BACK]


def _nice(pid: int) -> int | None:
    try:
        return os.getpriority(os.PRIO_PROCESS, pid)
    except ProcessLookupError:
        return None


def _children(module: bytes) -> list[int]:
    children = [each for task in Path("/proc/self/task").iterdir() for each in children_of(task)]
    return [int(pid) for pid in children if module in _command(pid)]


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


async def killed_and_buried(pids: list[int]) -> None:
    """Kill processes and wait until their parent has noticed."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for _ in range(1000):
        await asyncio.sleep(0.02)  # the loop hears of the burial a moment after it
        if not _any_left(pids):
            break
    await asyncio.sleep(0.02)


def _any_left(pids: list[int]) -> bool:
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def endless(folder: Path, name: str = "endless.pdf") -> Path:
    """A document that never comes: whoever opens it waits until it is killed."""
    path = folder / name
    os.mkfifo(path)
    return path
