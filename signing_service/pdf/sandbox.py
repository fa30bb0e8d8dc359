"""The walls around a pdf worker, raised after its libraries are loaded and before it reads its first order.

What parses hostile files must be expected to be taken over one day. Then it finds a network namespace without
interfaces, a file system in which only the folders of documents, fonts and the interpreter's own modules can be
opened (Landlock), and a kernel that answers only the calls it needs (seccomp). A kernel that refuses a wall
still gets a worker: which walls stand is said in its greeting, and readiness shows it.
"""

from __future__ import annotations

import ctypes
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from signing_service.pdf import landlock, seccomp
from signing_service.pdf.work import Wall

_NO_NEW_PRIVS: Final = 38          # linux/prctl.h
_NEWNET: Final = 0x4000_0000       # linux/sched.h
_NEWUSER: Final = 0x1000_0000

_OURS: Final = Path(__file__).parents[1]
# What a library imports only when it needs it, and what letters are drawn with. Never a folder that holds data.
_READABLE: Final = (
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    _OURS, _OURS.with_name("hsm"),
    Path("/usr/share/fonts"), Path("/usr/local/share/fonts"),
    Path("/usr/share/zoneinfo"), Path("/etc/localtime"),
)


def raise_walls(folders: Iterable[Path], fonts: Iterable[Path] = ()) -> frozenset[Wall]:
    """For this process, for ever: no network, no files but those below `folders`, no calls but a worker's.

    Returns the walls that stand. `fonts` are readable beside the system's. Without any folder there is no wall
    around files: the caller knows none to name. OSError when a folder is not there.
    """
    kept = tuple(folders)
    _begin()
    return _those({
        Wall.NETWORK: leave_the_network(),
        Wall.FILES: bool(kept) and landlock.restrict((*_READABLE, *fonts), kept),
        Wall.CALLS: seccomp.allow_only_the_needed(),  # last: it forbids to raise the others
    })


def raise_drawing_walls(fonts: Iterable[Path] = ()) -> frozenset[Wall]:
    """As `raise_walls`, for who draws: no folder of documents is readable and nothing at all can be written.

    What it draws is handed to it as a descriptor: it can receive one, and open none.
    """
    _begin()
    return _those({
        Wall.NETWORK: leave_the_network(),
        Wall.FILES: landlock.restrict((*_READABLE, *fonts), ()),
        Wall.CALLS: seccomp.allow_only_the_needed(seccomp.DRAWING),
    })


def _begin() -> None:
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)


def _those(standing: dict[Wall, bool]) -> frozenset[Wall]:
    return frozenset(wall for wall, stands in standing.items() if stands)


def leave_the_network() -> bool:
    """Where this process stands from now on there is nothing to connect to. False where the kernel refuses that.

    unshare(2) asks for CAP_SYS_ADMIN, or for a user namespace, which many kernels give to anybody; some containers
    give neither.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return any(libc.unshare(flags) == 0 for flags in (_NEWNET, _NEWNET | _NEWUSER))
