"""A pdf worker: `python -m signing_service.pdf.child`. Orders come in on stdin, answers go out on stdout.

One order at a time. The worker has an empty environment and no descriptors but its three, and stands behind walls
(`sandbox`) before its first order. Pages are drawn elsewhere (`drawing_child`).
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final

import msgspec
from PIL import Image

from signing_service.pdf.complete import complete
from signing_service.pdf.judge import judge
from signing_service.pdf.look import look
from signing_service.pdf.messages import Surroundings, Verb, decoded
from signing_service.pdf.orders import Trade, greet, limit, serve
from signing_service.pdf.prepare import prepare
from signing_service.pdf.sandbox import raise_walls
from signing_service.pdf.work import CompleteOrder, JudgeOrder, LookOrder, PrepareOrder

_TRADE: Final[Trade] = {
    Verb.LOOK: lambda body: (order := decoded(body, LookOrder)) and look(order.document, order.limits),
    Verb.PREPARE: lambda body: prepare(decoded(body, PrepareOrder)),
    Verb.COMPLETE: lambda body: complete(decoded(body, CompleteOrder)),
    Verb.JUDGE: lambda body: judge(decoded(body, JudgeOrder)),
}


def main() -> None:
    """Serve orders until stdin ends. Its argument: `Surroundings`."""
    around = msgspec.json.decode(sys.argv[1], type=Surroundings)
    limit(around.memory_bytes, around.output_bytes)
    logging.disable()  # the libraries log what documents contain; what matters is in the answer
    Image.init()  # every codec now: behind the walls no library can be loaded
    greet(raise_walls(map(Path, around.folders), map(Path, around.fonts)))
    serve(_TRADE)


if __name__ == "__main__":
    main()
