"""Between p11-kit's client and its server: passes everything on, and loses the reply of the n-th call.

The protocol is strictly a question and an answer, so a call begins where the client speaks after the server did.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector

PIECE = 65536


class Loss(StrEnum):
    CUT = "cut"        # the connection ends
    SILENCE = "silence"  # it stays, and nothing comes


class LossyProxy:
    """Listens at `path` in threads of its own, until `close`."""

    def __init__(self, path: Path, server: Path) -> None:
        self._server = server
        self._left: int | None = None
        self._loss = Loss.CUT
        self._lock = threading.Lock()
        self.calls = 0
        self.lost = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, nth: int, loss: Loss) -> None:
        """The reply of the nth call from now on (the next is the first)."""
        with self._lock:
            self._left, self._loss = nth, loss

    def lose_nothing(self) -> bool:
        """Was the reply lost that was to be lost?"""
        with self._lock:
            left, self._left = self._left, None
        return left is None

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError), DefaultSelector() as ready:
            server.connect(str(self._server))
            ready.register(client, EVENT_READ)
            ready.register(server, EVENT_READ)
            asking, loses = False, False
            while True:
                for source in {key.fileobj for key, _ in ready.select()}:
                    piece = source.recv(PIECE)  # type: ignore[union-attr]  # both are sockets
                    if not piece:
                        return
                    if source is client:
                        loses = loses or (not asking and self._is_to_be_lost())
                        asking = True
                        server.sendall(piece)
                    elif loses:
                        if self._loss is Loss.CUT:
                            return
                    else:
                        asking = False
                        client.sendall(piece)

    def _is_to_be_lost(self) -> bool:
        with self._lock:
            self.calls += 1
            if self._left is None:
                return False
            self._left -= 1
            if self._left:
                return False
            self._left, self.lost = None, self.lost + 1
            return True
