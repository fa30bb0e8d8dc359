"""A pdf worker: `python -m signing_service.pdf.child`. Orders come in on stdin, answers go out on stdout.

One order at a time. Memory is limited once; CPU before each order, because RLIMIT_CPU counts for the life of a
process and so the limit has to move ahead of what is used. Wall time is the parent's affair: it kills. The worker
has an empty environment and no descriptors but its three, and stands behind walls (`sandbox`) before its first order.
"""

from __future__ import annotations

import errno
import logging
import math
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from PIL import Image

from signing_service.pdf.complete import complete
from signing_service.pdf.draw import draw, survey
from signing_service.pdf.judge import judge
from signing_service.pdf.look import look
from signing_service.pdf.messages import (
    HEADER,
    LARGEST_FRAME,
    Answer,
    Order,
    Outcome,
    Surroundings,
    Verb,
    decoded,
    encoded,
    framed,
    length_of,
)
from signing_service.pdf.prepare import prepare
from signing_service.pdf.sandbox import raise_walls
from signing_service.pdf.work import (
    CompleteOrder,
    JudgeOrder,
    LookOrder,
    PictureOrder,
    PrepareOrder,
    Refused,
    SurveyOrder,
)

_FILES: Final = 32  # a document, its tail, an output, a font, and the interpreter's own

_MACHINE: Final = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT, errno.EACCES, errno.EMFILE, errno.EFBIG
})

_DO: Final[dict[Verb, Callable[[msgspec.Raw], object]]] = {
    Verb.LOOK: lambda body: (order := decoded(body, LookOrder)) and look(order.document, order.limits),
    Verb.PREPARE: lambda body: prepare(decoded(body, PrepareOrder)),
    Verb.COMPLETE: lambda body: complete(decoded(body, CompleteOrder)),
    Verb.JUDGE: lambda body: judge(decoded(body, JudgeOrder)),
    Verb.SURVEY: lambda body: survey(decoded(body, SurveyOrder).document),
    Verb.DRAW: lambda body: draw(decoded(body, PictureOrder)),
}


def main() -> None:
    """Serve orders until stdin ends. Its argument: `Surroundings`."""
    around = msgspec.json.decode(sys.argv[1], type=Surroundings)
    _limit(around.memory_bytes, around.output_bytes)
    logging.disable()  # the libraries log what documents contain; what matters is in the answer
    Image.init()  # every codec now: behind the walls no library can be loaded
    walls = raise_walls(map(Path, around.folders), map(Path, around.fonts))
    orders = sys.stdin.buffer
    _send(Answer(Outcome.DONE, body=msgspec.Raw(encoded(walls))))  # ready: everything is imported, the walls stand
    while (order := _next(orders)) is not None:
        answer = _answer(order)
        _send(answer)
        if answer.outcome is Outcome.TOO_COSTLY:
            return  # what is left of the memory is anybody's guess; the pool starts another one


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
