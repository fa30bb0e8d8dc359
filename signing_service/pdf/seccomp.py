"""Seccomp: which system calls a process may make, as a filter that the kernel runs before each of them.

A list of what is needed; everything else is refused with EPERM, and so is what nobody thought of: socket,
connect, execve, ptrace, process_vm_readv, bpf, io_uring_setup, mount, unshare, keyctl, open_by_handle_at,
userfaultfd. `clone3` is ENOSYS, as on a kernel that has never heard of it, because its arguments cannot be looked
at. A call of another architecture (i386, x32) has other numbers behind it: the process is killed.

The program is classic BPF over `struct seccomp_data` (linux/seccomp.h): number, architecture, address, six
arguments of 64 bits.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_X86_64: Final = 0xC000_003E    # AUDIT_ARCH_*, linux/audit.h
_AARCH64: Final = 0xC000_00B7
_X32: Final = 0x4000_0000       # __X32_SYSCALL_BIT

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06   # BPF_LD|W|ABS, BPF_JMP|…|K, BPF_RET|K
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16                                # offsets in struct seccomp_data
_ALLOW, _KILL, _ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000                # SECCOMP_RET_*

_SET_SECCOMP: Final = 22        # linux/prctl.h
_FILTER: Final = 2              # SECCOMP_MODE_FILTER

_EXECUTABLE: Final = 0x4        # PROT_EXEC


@dataclass(frozen=True)
class _Call:
    """A call's numbers (None: the architecture has none), and what its argument `argument` must be."""

    x86_64: int | None
    aarch64: int | None
    argument: int = 0
    values: tuple[int, ...] = ()    # one of these
    without: int = 0                # none of these bits


# Memory. Nothing becomes executable any more: what is to run was loaded before the walls stood.
_MEMORY: Final = (
    _Call(9, 222, argument=2, without=_EXECUTABLE),    # mmap
    _Call(10, 226, argument=2, without=_EXECUTABLE),   # mprotect
    _Call(11, 215), _Call(12, 214), _Call(25, 216), _Call(28, 233),    # munmap brk mremap madvise
)
# What is open is read and written; Landlock decides what can be opened.
_FILES: Final = (
    _Call(0, 63), _Call(1, 64), _Call(3, 57), _Call(8, 62),             # read write close lseek
    _Call(17, 67), _Call(18, 68), _Call(19, 65), _Call(20, 66),         # pread64 pwrite64 readv writev
    _Call(257, 56), _Call(2, None), _Call(217, 61),                     # openat open getdents64
    _Call(5, 80), _Call(262, 79), _Call(332, 291),                      # fstat newfstatat statx
    _Call(4, None), _Call(6, None), _Call(21, None), _Call(269, 48),    # stat lstat access faccessat
    _Call(89, None), _Call(267, 78), _Call(79, 17),                     # readlink readlinkat getcwd
    _Call(72, 25, argument=1, values=(1, 2, 3, 4, 1030)),  # fcntl: F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC
    _Call(16, 29, argument=1, values=(0x5401, 0x5421, 0x5451)),         # ioctl: TCGETS FIONBIO FIOCLEX
)
# Signals of its own, locks, clocks, chance, knowing who it is, and the end.
_LIVING: Final = (
    _Call(13, 134), _Call(14, 135), _Call(15, 139), _Call(131, 132),    # rt_sigaction … sigaltstack
    _Call(202, 98), _Call(24, 124), _Call(334, 293), _Call(273, 99),    # futex sched_yield rseq set_robust_list
    _Call(228, 113), _Call(96, 169), _Call(230, 115), _Call(318, 278),  # clock_gettime … getrandom
    _Call(39, 172), _Call(110, 173), _Call(186, 178), _Call(63, 160),   # getpid getppid gettid uname
    _Call(102, 174), _Call(107, 175), _Call(104, 176), _Call(108, 177),     # get[e]uid get[e]gid
    _Call(98, 165), _Call(99, 179), _Call(204, 123),                    # getrusage sysinfo sched_getaffinity
    _Call(302, 261, argument=0, values=(0,)),                           # prlimit64, of itself
    _Call(60, 93), _Call(231, 94),                                      # exit exit_group
)
# Files that appear under their name when they are whole.
_WRITING: Final = (
    _Call(87, None), _Call(263, 35), _Call(82, None), _Call(264, 38), _Call(316, 276),  # unlink* rename*
    _Call(74, 82), _Call(75, 83), _Call(77, 46),                        # fsync fdatasync ftruncate
)
# An asyncio loop inside a library: it polls, and wakes itself through a pair of sockets (AF_UNIX) of its own.
_LOOP: Final = (
    _Call(291, 20), _Call(233, 21), _Call(232, None), _Call(281, 22),   # epoll_create1 epoll_ctl epoll_[p]wait
    _Call(53, 199, argument=0, values=(1,)), _Call(48, 210),            # socketpair shutdown
    _Call(44, 206), _Call(45, 207),                                     # sendto recvfrom
)
# Its one document comes as a descriptor through a socket that is there (recvmsg).
_RECEIVING: Final = (_Call(47, 212),)

WORKING: Final = (*_MEMORY, *_FILES, *_LIVING, *_WRITING, *_LOOP)
DRAWING: Final = (*_MEMORY, *_FILES, *_LIVING, *_RECEIVING)
_CLONE3: Final = 435    # on both


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("if_so", ctypes.c_uint8), ("if_not", ctypes.c_uint8),
                ("operand", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction))]


_Line = tuple[int, int, int, int]


def allow_only_the_needed(calls: Iterable[_Call] = WORKING, machine: str = os.uname().machine) -> bool:
    """From here on only the calls that a pdf worker needs, for this process and its threads. Cannot be undone.

    False, and nothing has changed, where the kernel has no filters or the machine is one we have no numbers for.
    Wants PR_SET_NO_NEW_PRIVS.
    """
    lines = program(machine, calls)
    if not lines:
        return False
    instructions = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    filtered = _Program(len(lines), instructions)
    refusal: int = ctypes.CDLL(None).prctl(_SET_SECCOMP, _FILTER, ctypes.byref(filtered), 0, 0)
    return refusal == 0


def program(machine: str, calls: Iterable[_Call] = WORKING) -> list[_Line]:
    """The filter as instructions (code, jump if so, jump if not, operand); empty for a machine we do not know."""
    if machine not in ("x86_64", "aarch64"):
        return []
    intel = machine == "x86_64"
    lines: list[_Line] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _X86_64 if intel else _AARCH64), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL),
        (_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for call in calls:
        number = call.x86_64 if intel else call.aarch64
        if number is not None:
            body = _checked(call)
            lines += [(_EQUAL, 0, len(body), number), *body]
    return [*lines, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def _checked(call: _Call) -> list[_Line]:
    """What follows once the number has matched. (Every argument that is looked at is an int: its low half counts.)"""
    refused = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allowed = (_RETURN, 0, 0, _ALLOW)
    argument = (_LOAD, 0, 0, _ARGUMENTS + 8 * call.argument)
    if call.without:
        return [argument, (_ANY_BIT, 0, 1, call.without), refused, allowed]
    if call.values:
        tests: list[_Line] = [(_EQUAL, len(call.values) - at, 0, value) for at, value in enumerate(call.values)]
        return [argument, *tests, refused, allowed]
    return [allowed]
