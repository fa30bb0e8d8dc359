"""How much processor time one input may take."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn


class TooCostly(BaseException):
    """The processor's time is over. No `except Exception` of a parser may swallow it."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TooCostly in the main thread when the block has used so many seconds of the processor."""
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)  # a late one must not end the process, as the default would


def _stop(*_: object) -> NoReturn:
    raise TooCostly
