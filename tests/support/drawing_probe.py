"""What a drawing worker tries once it was taken over: `python -m tests.support.drawing_probe <setting as JSON>`.

It gets its one document as the real one does, through the socket that is its stdin. What came of each attempt is
printed as JSON; the same attempts without the walls are made when the setting says so.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from signing_service.pdf.sandbox import raise_drawing_walls


def attempts(setting: dict[str, Any], own: int) -> dict[str, Callable[[], object]]:
    return {
        "read its own document": lambda: os.pread(own, 5, 0),
        "open its own document again": lambda: Path(setting["own"]).read_bytes(),
        "read another document": lambda: Path(setting["other"]).read_bytes(),
        "list the documents": lambda: os.listdir(Path(setting["other"]).parent),
        "write beside the documents": lambda: Path(setting["other"]).with_name(f"new-{os.getpid()}").write_bytes(b"x"),
        "remove a draft": lambda: Path(setting["draft"]).unlink(),
        "write into its own document": lambda: os.write(own, b"x"),
        "make a socket": lambda: socket.socketpair()[0].close(),
    }


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError:
        return "refused"
    return "done"


def main() -> None:
    setting = json.loads(sys.argv[1])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=os.dup(0)) as parent:
        if setting["walls"]:
            raise_drawing_walls()
        _, (own, *_), _, _ = socket.recv_fds(parent, 1, 1)
    print(json.dumps({name: _outcome(each) for name, each in attempts(setting, own).items()}))


if __name__ == "__main__":
    main()
