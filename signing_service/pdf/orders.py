"""The worker's side of the pipe: its limits, the orders that come in, the answers that go out.

Memory is limited once; CPU before each order, because RLIMIT_CPU counts for the life of a process and so the limit
has to move ahead of what is used. Wall time is the parent's affair: it kills.
"""

from __future__ import annotations

import errno
import gc
import math
import os
import resource
import sys
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

import msgspec

from signing_service.pdf.messages import (
    HEADER,
    LARGEST_FRAME,
    Answer,
    Order,
    Outcome,
    Verb,
    decoded,
    encoded,
    framed,
    length_of,
)
from signing_service.pdf.work import Refused, Wall

_GARBAGE: Final = 50_000    # objects between two searches for garbage; an ordinary document makes a few thousand
_FILES: Final = 32  # a document, its tail, an output, a font, and the interpreter's own

_MACHINE: Final = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT, errno.EACCES, errno.EMFILE, errno.EFBIG
})

Trade = Mapping[Verb, Callable[[msgspec.Raw], object]]


def limit(memory: int, output: int) -> None:
    """Bytes of address space, and of the largest file that may be written. Descriptors: our three, and no others."""
    _close_what_was_left_open()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _close_what_was_left_open() -> None:
    """uvloop, unlike asyncio, hands on what is inheritable in our parent, its listening socket for one."""
    os.closerange(3, 1 + max(int(name) for name in os.listdir("/proc/self/fd")))


def greet(walls: frozenset[Wall]) -> None:
    """Ready: everything is imported, these walls stand."""
    _send(Answer(Outcome.DONE, body=msgspec.Raw(encoded(walls))))


def serve(trade: Trade) -> None:
    """Do what is ordered until stdin ends, or until the memory did."""
    gc.set_threshold(_GARBAGE)
    _forget_the_document()
    while (order := _next(sys.stdin.buffer)) is not None:
        answer = _answer(order, trade)
        _send(answer)
        if answer.outcome is Outcome.TOO_COSTLY:
            return  # what is left of the memory is anybody's guess; the parent starts another one
        _forget_the_document()


def _forget_the_document() -> None:
    """A document is a circle of objects: gone before the next one comes, and after the answer.

    What is still there is imported or kept on purpose (fonts, certificates), and no later search goes through it: that
    cost 0.3 ms after each order. Should some of it become garbage all the same, it goes with the worker.
    """
    gc.collect()
    gc.freeze()


def _send(answer: Answer) -> None:
    sys.stdout.buffer.write(framed(encoded(answer)))
    sys.stdout.buffer.flush()


def _next(orders: BinaryIO) -> Order | None:
    header = orders.read(HEADER)
    return decoded(orders.read(length_of(header)), Order) if header else None


def _answer(order: Order, trade: Trade) -> Answer:
    _allow_cpu(order.cpu_seconds)
    try:
        body = encoded(trade[order.verb](order.body))
    except Refused as refused:
        return Answer(Outcome.REFUSED, code=refused.code, message=refused.message)
    except MemoryError:
        return Answer(Outcome.TOO_COSTLY)
    except OSError as error:
        # Hostile offsets raise OSError, too (EINVAL); only what is certainly the machine's fault is called that.
        outcome = Outcome.NO_FILES if error.errno in _MACHINE else Outcome.BROKEN
        return Answer(outcome, message=str(error)[:500])
    except Exception as error:  # one input in eight of a fuzzer raises what no document names
        return Answer(Outcome.BROKEN, message=f"{type(error).__name__}: {error}"[:500])
    if len(body) > LARGEST_FRAME - HEADER:
        return Answer(Outcome.TOO_COSTLY)
    return Answer(Outcome.DONE, body=msgspec.Raw(body))


def _allow_cpu(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
