"""A time limit for headers, which the HTTP server does not have: who connects and says nothing is hung up on.

A half-open connection costs a socket and a few kilobytes until its time is over, and never reaches the
application. Bodies have their own limits (`limits.Bounds`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0  # from the connection, or the first byte of a further request, to the end of its headers


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a limit on how long headers may take."""

    header_seconds = HEADER_SECONDS
    _impatience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()
        elif self._impatience is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._impatience = asyncio.get_running_loop().call_later(self.header_seconds, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _hang_up(self) -> None:
        self._impatience = None
        if not self._is_answering() and not self.transport.is_closing():
            self.transport.close()
