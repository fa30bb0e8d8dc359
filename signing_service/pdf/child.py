"""A pdf worker: `python -m signing_service.pdf.child`. Orders come in on stdin, answers go out on stdout.

One order at a time. Memory is limited once; CPU before each order, because RLIMIT_CPU counts for the life of a
process and so the limit has to move ahead of what is used. Wall time is the parent's affair: it kills. The worker
has an empty environment and no descriptors but its three, can gain no privileges, and is in a network namespace
without interfaces where the kernel grants one (`leave_the_network`).
"""

from __future__ import annotations

import ctypes
import errno
import logging
import math
import resource
import sys
from collections.abc import Callable
from typing import BinaryIO, Final

import msgspec

from signing_service.pdf.complete import complete
from signing_service.pdf.judge import judge
from signing_service.pdf.look import look
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
from signing_service.pdf.prepare import prepare
from signing_service.pdf.work import CompleteOrder, JudgeOrder, LookOrder, PrepareOrder, Refused

_NO_NEW_PRIVS: Final = 38          # linux/prctl.h
_NEWNET: Final = 0x4000_0000       # linux/sched.h
_NEWUSER: Final = 0x1000_0000

_FILES: Final = 32  # a document, its tail, an output, a font, and the interpreter's own

_MACHINE: Final = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT, errno.EACCES, errno.EMFILE, errno.EFBIG
})

_DO: Final[dict[Verb, Callable[[msgspec.Raw], object]]] = {
    Verb.LOOK: lambda body: (order := decoded(body, LookOrder)) and look(order.document, order.limits),
    Verb.PREPARE: lambda body: prepare(decoded(body, PrepareOrder)),
    Verb.COMPLETE: lambda body: complete(decoded(body, CompleteOrder)),
    Verb.JUDGE: lambda body: judge(decoded(body, JudgeOrder)),
}


def main() -> None:
    """Serve orders until stdin ends. Arguments: bytes of memory, bytes of the largest file."""
    memory, output = (int(each) for each in sys.argv[1:3])
    leave_the_network()
    _limit(memory, output)
    logging.disable()  # the libraries log what documents contain; what matters is in the answer
    orders = sys.stdin.buffer
    _send(Answer(Outcome.DONE))  # ready: everything is imported
    while (order := _next(orders)) is not None:
        answer = _answer(order)
        _send(answer)
        if answer.outcome is Outcome.TOO_COSTLY:
            return  # what is left of the memory is anybody's guess; the pool starts another one


def leave_the_network() -> bool:
    """Where this process stands from now on there is nothing to connect to. False where the kernel refuses that.

    unshare(2) asks for CAP_SYS_ADMIN, or for a user namespace, which many kernels give to anybody; some containers
    give neither. Also: nothing this process starts gains privileges (prctl(2), PR_SET_NO_NEW_PRIVS).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    return any(libc.unshare(flags) == 0 for flags in (_NEWNET, _NEWNET | _NEWUSER))


def _limit(memory: int, output: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _send(answer: Answer) -> None:
    sys.stdout.buffer.write(framed(encoded(answer)))
    sys.stdout.buffer.flush()


def _next(orders: BinaryIO) -> Order | None:
    header = orders.read(HEADER)
    return decoded(orders.read(length_of(header)), Order) if header else None


def _answer(order: Order) -> Answer:
    _allow_cpu(order.cpu_seconds)
    try:
        body = encoded(_DO[order.verb](order.body))
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


if __name__ == "__main__":
    main()
