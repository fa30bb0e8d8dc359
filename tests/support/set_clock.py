"""A clock that a test sets for one process of a running service, in either direction, as an administrator would.

    wall = WallClock(tmp_path)
    service.more["signer"] = wall.environment
    wall.set_by(-3600)

Our own twenty lines of C and not libfaketime: that one breaks the sleeping of Python 3.11 (EINVAL of clock_nanosleep).
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class WallClock:
    """Built once in this directory."""

    def __init__(self, directory: Path) -> None:
        library, file = directory / "set_clock.so", directory / "set_clock"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"],
                       check=True)
        file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "SET_CLOCK": str(file)}
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), 8)

    def set_by(self, seconds: int) -> None:
        """From this moment the process reads the true time and so many seconds more."""
        self._shared[:8] = struct.pack("<q", seconds)
