"""Pdf workers forked from a process that has imported what they need, for services whose fronts die by the hundred.

    nursery.nurse(path)          # in a process of its own: forks a worker for everybody who asks at the socket
    nursery.adopt(path)          # in a front: its workers come from there

A worker is as it always is: an empty environment, its three descriptors, a session of its own, and its walls; only the
half second in which Python imports pyHanko is spent once. It ends when its front does. `workers(path, front)` tells
which are whose.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

PARTS = ("signing_service.pdf.child", "signing_service.pdf.drawing_child")
ASKED = 65_536  # bytes of one order


class Nursed:
    """One worker as its front sees it: as much of `asyncio.subprocess.Process` as a front uses."""

    def __init__(self, pid: int, stdin: asyncio.WriteTransport | None, stdout: asyncio.StreamReader) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self._handle: int | None = os.pidfd_open(pid)

    @property
    def returncode(self) -> int | None:
        """How it ended only its parent knows: -1."""
        if self._handle is not None and select.select([self._handle], [], [], 0)[0]:
            os.close(self._handle)
            self._handle = None
        return None if self._handle is not None else -1

    async def wait(self) -> int:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        if self._handle is not None:
            loop.add_reader(handle := self._handle, ended.set)
            await ended.wait()
            loop.remove_reader(handle)
        return -1


def adopt(path: str) -> None:
    """From now on this process's workers are forked over there."""
    from signing_service.pdf import drawer, worker

    async def spawned(module: str, around: Any, orders: int) -> Nursed:
        return await _asked(path, module, msgspec.json.encode(around).decode(), orders)

    worker.spawned = drawer.spawned = spawned  # type: ignore[assignment]  # as much of a process as is used


async def _asked(path: str, module: str, around: str, orders: int) -> Nursed:
    theirs, ours = (orders, None) if orders != asyncio.subprocess.PIPE else os.pipe()
    answers, told = os.pipe()
    try:
        pid = _forked(path, {"module": module, "around": around, "for": os.getpid()}, [theirs, told])
    finally:
        os.close(told)
        if ours is not None:
            os.close(theirs)
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers, "rb", 0))
    stdin = None
    if ours is not None:
        stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(ours, "wb", 0))
    return Nursed(pid, stdin, reader)


def _forked(path: str, order: dict[str, Any], descriptors: list[int]) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.connect(path)
        socket.send_fds(asking, [json.dumps(order).encode()], descriptors)
        return int(asking.recv(32))


def workers(path: Path, front: int) -> list[int]:
    """Those of this front that look at, prepare and complete documents, and live."""
    told = (line.split() for line in path.with_suffix(".born").read_text().splitlines())
    return [int(pid) for owner, pid, module in told
            if int(owner) == front and module == PARTS[0] and _lives(int(pid))]


def _lives(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def nurse(path: str) -> None:
    """Until whoever started us ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(path)
        listening.listen(64)
        while True:
            asking, _ = listening.accept()
            with asking, contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a front that died meanwhile
                _fork(asking, Path(path).with_suffix(".born"))


def _fork(asking: socket.socket, born: Path) -> None:
    content, given, _, _ = socket.recv_fds(asking, ASKED, 2)
    if not content:  # the front died before it asked
        return
    order = json.loads(content)
    pid = os.fork()
    if not pid:
        _become(order, given)
    for each in given:
        os.close(each)
    with born.open("a") as told:
        print(order["for"], pid, order["module"], file=told)
    asking.send(str(pid).encode())


def _become(order: dict[str, Any], given: list[int]) -> None:
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_WRONLY)
        for new, old in ((given[0], 0), (given[1], 1), (nothing, 2)):
            os.dup2(new, old)
        os.closerange(3, 1024)
        os.environ.clear()
        sys.argv = [order["module"], order["around"]]
        sys.modules[order["module"]].main()
    finally:
        os._exit(0)
