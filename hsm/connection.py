"""One login to one token, and the sessions that work under it. Void after the first loss; then a new one is made."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pkcs11 import PKCS11Error, Session, Token


class Connection:
    """The anchor session, logged in for life, and worker sessions without a PIN.

    `Session.close()` of a session opened with a PIN logs the *whole token* out; then look-ups in the other
    sessions find nothing. So only the anchor has one, and it is never closed: C_Finalize does.

    Unwrapped keys belong to the anchor, because session objects die with the session that made them. Other
    sessions may use them (PKCS#11 2.40 usage guide, 2.6.7); a worker session is used by one thread at a time.
    """

    def __init__(self, token: Token, anchor: Session) -> None:
        self.token = token
        self.anchor = anchor
        self.anchored = threading.Lock()  # held while a call uses the anchor session
        self._idle: deque[Session] = deque()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session for one call. After any failure it is dropped: an operation begun in it would stay active."""
        session = self._taken()
        try:
            yield session
        except BaseException:
            with suppress(PKCS11Error):
                session.close()
            raise
        self._idle.append(session)

    def _taken(self) -> Session:
        try:
            return self._idle.pop()
        except IndexError:
            return self.token.open(rw=True)

    def close(self) -> None:
        """Close the idle workers. The anchor goes when the library is finalised."""
        while self._idle:
            with suppress(PKCS11Error):
                self._idle.pop().close()
