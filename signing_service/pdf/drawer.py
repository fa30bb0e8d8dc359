"""One drawing worker as its parent sees it: it is given one document in its life, and orders for its pages."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path

from signing_service.pdf.messages import Surroundings
from signing_service.pdf.work import Limits
from signing_service.pdf.worker import Gone, Worker, named, spawned


class Drawer(Worker):
    """A child process that opens no document: it is handed one, once, open for reading."""

    def __init__(self, process: asyncio.subprocess.Process, orders: socket.socket) -> None:
        super().__init__(process)
        self._orders = orders
        self._has_document = False

    @classmethod
    async def start(cls, limits: Limits, folders: Iterable[Path] = (), fonts: Iterable[Path] = ()) -> Drawer:
        """A new process, as any worker, that may read `fonts` and none of `folders`, and may write nothing."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                around = Surroundings(limits.memory_bytes, 0, (), named(fonts))
                process = await spawned("signing_service.pdf.drawing_child", around, theirs.fileno())
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        return cls(process, ours)

    def give(self, document: int) -> None:
        """Its document: a descriptor, of which it gets one of its own. Raises `Gone`."""
        if self._has_document:
            raise RuntimeError("a drawing worker has one document in its life")
        self._has_document = True
        try:
            socket.send_fds(self._orders, [b"d"], [document])
        except OSError as error:
            self._signal()
            raise Gone(f"it takes no document: {error}") from error

    def _write(self, frame: bytes) -> None:
        self._orders.sendall(frame)  # some hundred bytes, one order at a time: there is always room

    def _close_orders(self) -> None:
        self._orders.close()
