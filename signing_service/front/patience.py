"""Limits on waiting for the other side, which the HTTP server does not have: for headers, and for answers to be taken.

Whoever connects and says nothing, begins a request and does not end it, or stays connected after an answer, costs a
socket and a few kilobytes; they never reach the application. Each has its time, and when there are too many of them the
one that has kept us waiting longest makes room: however many come, others find a connection. Bodies have their own
limits (`limits.Bounds`). What needs nothing from inside to be answered is answered here (`threshold`).
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

from signing_service.front.threshold import Threshold

HEADER_SECONDS = 10.0  # from the connection, or the first byte of a further request, to the end of its headers
TAKING_SECONDS = 30.0  # for the rest of what was written: a piece of a download at most
MOST_WRITTEN = 8_192   # bytes of answers that wait in memory before whoever writes more has to wait itself. Above the
                       # size of most answers: head and body leave together
MOST_OWING = 8_192     # connections that owe us a request or the rest of one: 100 MB. With fewer, thousands that come
                       # back at once would push honest ones out before these have said a word
DOORS = 64             # connections accepted in one turn of the loop: libuv takes one for each listening descriptor.
                       # With 16 a crowd of five times what we can do was not let in fast enough to be refused; each one
                       # costs a new connection a call to the kernel in vain, and one that stays nothing
MOST_UNSENT = 131_072  # bytes of one connection that wait in the kernel; its own measure is 2.5 MB and more


def hold_little(listener: socket.socket) -> None:
    """Those who are accepted from here take from us what they read, and little more in advance (tcp(7))."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)


def doors(listener: socket.socket) -> list[socket.socket]:
    """The same listening socket so many times. With one of them a loop that is busy lets in one connection in each of
    its turns, and thousands who come to be refused keep everybody waiting outside, where nobody can refuse them.
    """
    return [listener, *(listener.dup() for _ in range(DOORS - 1))]


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with limits on how long headers and taking an answer may take, and on how many may idle."""

    header_seconds = HEADER_SECONDS
    taking_seconds = TAKING_SECONDS
    most_owing = MOST_OWING
    threshold: ClassVar[Threshold | None] = None        # with none everybody comes in
    _owing: ClassVar[dict[PatientProtocol, None]] = {}  # of this process, the one that kept us waiting longest first
    _impatience: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    _thrown_away: int = 0  # bytes of a body that are still to come, of somebody who has an answer

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=MOST_WRITTEN)
        self._wait()
        self._owes()

    def data_received(self, data: bytes) -> None:
        data = self._without_what_is_nobodys(data)
        if data and not self._is_answered(data):
            self._is_heard(data)

    def _is_heard(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.threshold is not None and self.cycle is not before:
            self.threshold.lets_in()
        if self._is_answering():
            self._stop_waiting()
        elif self._impatience is None:
            self._wait()
        self._note_debt()

    def _without_what_is_nobodys(self, data: bytes) -> bytes:
        if not self._thrown_away:
            return data
        kept = data[self._thrown_away:]
        self._thrown_away = max(0, self._thrown_away - len(data))
        return kept

    def _is_answered(self, data: bytes) -> bool:
        """Who is, has as much time for the rest of the request and the next one as anybody for a first one."""
        if self.threshold is None or not self._is_between_two() or (given := self.threshold.answers(data)) is None:
            return False
        self._unset_keepalive_if_required()
        self._stop_waiting()
        lines = [*self.server_state.default_headers, *([] if given.left is not None else [CLOSE_HEADER])]
        self.transport.write(b"".join((given.first_line, *(b"%s: %s\r\n" % line for line in lines), given.rest)))
        if given.left is None:
            self.transport.close()
        else:
            self._thrown_away = given.left
            self._wait()
        return True

    def _is_between_two(self) -> bool:
        """Nothing of a request is there, and nothing of an answer is missing."""
        return (self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
                and (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing())

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note_debt()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._is_taken()
        self._owing.pop(self, None)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = asyncio.get_running_loop().call_later(self.taking_seconds, self._give_up)

    def resume_writing(self) -> None:
        self._is_taken()
        super().resume_writing()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _note_debt(self) -> None:
        """Whoever has said all of a request owes nothing until it is answered."""
        if self._is_answering() and not self.cycle.more_body:
            self._owing.pop(self, None)
        elif not self.transport.is_closing():
            self._owes()

    def _owes(self) -> None:
        self._owing.setdefault(self)
        if len(self._owing) > self.most_owing:
            longest = next(iter(self._owing))
            del self._owing[longest]
            longest.transport.close()

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

    def _is_taken(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _give_up(self) -> None:
        """What we still hold for it would never leave: closing in good order would wait for that."""
        self._stuck = None
        self.transport.abort()
