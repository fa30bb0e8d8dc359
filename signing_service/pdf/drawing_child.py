"""A worker that draws the pages of one document: `python -m signing_service.pdf.drawing_child`.

It is light, because every document gets a fresh one: no pyHanko, no fontTools. The walls stand before it knows any
document; then its one document comes as a descriptor through stdin, which is a socket, because by then it can
open no document itself. After that, orders come in on stdin and answers go out on stdout as with any worker.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

import msgspec
from PIL import Image

from signing_service.pdf.draw import draw, survey
from signing_service.pdf.messages import Surroundings, Verb, decoded
from signing_service.pdf.orders import greet, limit, serve
from signing_service.pdf.priority import be_nicer
from signing_service.pdf.sandbox import raise_drawing_walls
from signing_service.pdf.work import PageOrder

_NICER = 5  # whoever looks, prepares or completes goes before whoever draws


def main() -> None:
    """Take one document, then serve orders for it until stdin ends. Its argument: `Surroundings`."""
    around = msgspec.json.decode(sys.argv[1], type=Surroundings)
    limit(around.memory_bytes, 0)
    be_nicer(_NICER)
    logging.disable()  # the libraries log what documents contain; what matters is in the answer
    Image.preinit()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=os.dup(0)) as parent:
        greet(raise_drawing_walls(map(Path, around.fonts)))
        _, given, _, _ = socket.recv_fds(parent, 1, 1)
    if given:  # else the parent is gone
        _serve(given[0])


def _serve(document: int) -> None:
    serve({
        Verb.SURVEY: lambda _body: survey(_content(document)),
        Verb.DRAW: lambda body: (order := decoded(body, PageOrder)) and draw(_content(document), order),
    })


def _content(document: int) -> bytes:
    """Read again for each order: what is drawn is what is hashed, and an idle worker holds no document."""
    with open(document, "rb", closefd=False) as file:
        file.seek(0)
        return file.read()


if __name__ == "__main__":
    main()
