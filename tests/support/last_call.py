"""Kill a process at its n-th call that others can see: a write, an fsync, a send, a rename (`last_call.c`).

    board = Board(path)                       # LAST_CALL=path in the process's environment, LD_PRELOAD=compiled(...)
    board.begin(); ...; board.seen()          # what it called meanwhile, in order, in all its threads
    board.begin(fatal=17); ...; board.struck  # the 17th call from now on is not made: SIGKILL instead

The board is a shared piece of memory and outlives the process.
"""

from __future__ import annotations

import mmap
import re
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("last_call.c")
HEADER, RECORD, KEPT = struct.Struct("4Q"), struct.Struct("16s112s"), 8192
SIZE = HEADER.size + KEPT * RECORD.size
CALLS = ("write", "writev", "pwrite64", "fsync", "fdatasync", "ftruncate", "sendto", "sendmsg", "sendfile", "rename",
         "unlink")  # as strace knows them; send is sendto there
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBERS = re.compile(r"\d+")


def compiled(directory: Path) -> Path:
    """The library to load before all others."""
    library = directory / "last_call.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Board:
    """One process's count, or one for several."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("w+b") as file:
            file.truncate(SIZE)
            self._memory = mmap.mmap(file.fileno(), SIZE)

    def begin(self, fatal: int = 0) -> None:
        """Count from one again. `fatal`: the call in whose place SIGKILL comes; 0, none does."""
        self._memory[8:HEADER.size] = struct.pack("3Q", 0, 0, 0)
        self._memory[:8] = struct.pack("Q", 0)
        self._memory[8:16] = struct.pack("Q", fatal)

    def disarm(self) -> None:
        self._memory[8:16] = struct.pack("Q", 0)

    @property
    def count(self) -> int:
        return int(HEADER.unpack_from(self._memory)[0])

    @property
    def struck(self) -> str | None:
        """The call that was not made, as `seen` names it; None while all were."""
        number = int(HEADER.unpack_from(self._memory)[2])
        return self._named(number - 1) if number else None

    def seen(self) -> list[str]:
        """Since `begin`, in order: `fdatasync signing.db-wal`."""
        return [self._named(number) for number in range(min(self.count, KEPT))]

    def _named(self, number: int) -> str:
        call, target = RECORD.unpack_from(self._memory, HEADER.size + number * RECORD.size)
        return named(call.partition(b"\0")[0].decode(), target.partition(b"\0")[0].decode("utf-8", "replace"))

    def close(self) -> None:
        self._memory.close()


def named(call: str, target: str) -> str:
    """The same name for the same kind of thing: no digests, numbers or directories."""
    call = {"send": "sendto", "renameat": "rename"}.get(call, call)
    if target.startswith(("socket", "pipe", "UNIX", "TCP")):
        return f"{call} {'pipe' if target.startswith('pipe') else 'socket'}"
    folder, _, name = target.rpartition("/")
    if name.startswith("etilqs_"):  # SQLite's own
        name = "temporary file"
    elif _DIGEST.search(name):
        name = "document"
    elif "/documents" in folder + "/" + name and "." not in name:
        name = "directory"
    elif "incoming" in folder:
        name = "draft" + name[name.rfind("."):] if "." in name else "draft"
    return f"{call} {_NUMBERS.sub('', name)}"
