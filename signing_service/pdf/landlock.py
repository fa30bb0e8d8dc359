"""Landlock: from here on this process opens only what it was promised (landlock(7), Linux 5.13).

The kernel's own interface, by raw system calls, because the C library has none. A rule grants rights below a
folder, or on one file; whatever is handled and not granted is refused, for this process and all that descend from
it, for ever. What is open already stays open: that is how a child gets the one document it is to draw.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# The same numbers on every architecture (include/uapi/asm-generic/unistd.h).
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1         # LANDLOCK_CREATE_RULESET_VERSION: only tell which interface the kernel has
_PATH_BENEATH: Final = 1

# include/uapi/linux/landlock.h, LANDLOCK_ACCESS_FS_*
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_REMOVE_FILE: Final = 1 << 5
_MAKE_REG: Final = 1 << 8
_TRUNCATE: Final = 1 << 14
_ON_FILES: Final = _WRITE_FILE | _READ_FILE | _TRUNCATE

_READING: Final = _READ_FILE | _READ_DIR
_WRITING: Final = _READING | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE
_ALL_OF: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL: Final = (1 << 16) - 1     # since version 5
_TCP: Final = 0b11              # since version 4: bind and connect
_SCOPES: Final = 0b11           # since version 6: abstract unix sockets and signals do not leave


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("rights", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Nothing else is opened any more; False, and nothing has changed, where the kernel has no Landlock.

    What is not there need not be read; what is to be written must be there (OSError, as when the kernel has
    Landlock and says no). Wants PR_SET_NO_NEW_PRIVS.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    handled = _ALL_OF.get(version, _ALL)
    wanted = _Ruleset(handled, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(ctypes.sizeof(wanted)), 0))
    try:
        for path in filter(Path.exists, readable):
            _allow(libc, ruleset, path, _READING & handled)
        for path in writable:
            _allow(libc, ruleset, path, _WRITING & handled)
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        beneath = _Beneath(rights if path.is_dir() else rights & _ON_FILES, folder)
        _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0))
    finally:
        os.close(folder)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
