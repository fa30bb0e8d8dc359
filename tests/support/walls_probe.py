"""What a process tries once it was taken over: `python -m tests.support.walls_probe plain|walled <setting as JSON>`.

Every attempt is one that works for anybody who is not walled in; what came of each is printed as JSON.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from signing_service.pdf.sandbox import raise_walls


def attempts(setting: dict[str, Any]) -> dict[str, Callable[[], object]]:
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: Any) -> None:
        if libc.syscall(number, *arguments) < 0:
            raise OSError(ctypes.get_errno(), "the kernel says no")

    def forked() -> None:
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    def peeked() -> None:
        data = ctypes.create_string_buffer(8)
        pieces = (ctypes.c_size_t * 2)(ctypes.addressof(data), 8)
        call(310, os.getpid(), pieces, 1, pieces, 1, 0)

    return {
        "make a socket": lambda: socket.socket(socket.AF_INET).close(),
        "connect to a unix socket": lambda: _connected(setting["socket"]),
        "start a program": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
        "become another program": lambda: call(59, b"/bin/does-not-exist", None, None),
        "fork": forked,
        "open the list of users": lambda: Path("/etc/passwd").read_bytes(),
        "open the database": lambda: Path(setting["database"]).read_bytes(),
        "open its parent's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "list the root": lambda: os.listdir("/"),
        "write beside the documents": lambda: Path(setting["outside"]).write_bytes(b"x"),
        "make a link out of the documents": lambda: os.symlink("/etc", Path(setting["inside"]).with_name("link")),
        "signal its parent": lambda: os.kill(os.getppid(), 0),
        "read memory as a debugger does": peeked,
        "make memory executable": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close(),
        "make a namespace": lambda: call(272, 0x0400_0000),     # unshare(CLONE_NEWUTS)
        "watch its own page faults": lambda: call(323, 1),      # userfaultfd(UFFD_USER_MODE_ONLY)
    }


def _connected(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except FileNotFoundError:
        return "not there"  # the call itself was made
    except OSError:
        return "refused"
    return "done"


def main() -> None:
    setting = json.loads(sys.argv[2])
    tries = attempts(setting)
    walls = raise_walls([Path(setting["inside"]).parent]) if sys.argv[1] == "walled" else frozenset()
    Path(setting["inside"]).write_bytes(b"a worker's own work goes on")
    print(json.dumps({"walls": sorted(walls), "came of it": {name: _outcome(each) for name, each in tries.items()}}))


if __name__ == "__main__":
    main()
