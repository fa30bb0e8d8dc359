"""What a running process holds: its memory, its environment, the files it has mapped. Linux, for our own children."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

PIECE = 16 << 20  # bytes read at once
SKIPPED = ("[vvar", "[vsyscall]", "[vdso]")  # the kernel's own, not always readable


def family(pid: int) -> list[int]:
    """The process and everything it started that still runs."""
    children = [int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in children_of(path.parent)]
    return [pid, *(each for child in children for each in family(child))]


def children_of(task: Path) -> list[str]:
    """What a thread (`/proc/PID/task/TID`) started. None of one that has ended since it was listed."""
    try:
        return (task / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def mapped_files(pid: int) -> set[str]:
    """The names of all files that are mapped: libraries, among others."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}


def environment(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def found_in(pid: int, wanted: Mapping[str, bytes]) -> set[str]:
    """The names of those byte strings that stand anywhere in the memory of a process."""
    longest = max(map(len, wanted.values()))
    found: set[str] = set()
    for piece in _pieces(pid, longest):
        found |= {name for name, value in wanted.items() if name not in found and value in piece}
    return found


def _pieces(pid: int, overlap: int) -> Iterator[bytes]:
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if "r" not in rights or any(name in line for name in SKIPPED):
                continue
            at, end = (int(each, 16) for each in span.split("-"))
            while at < end:
                try:
                    yield os.pread(memory, min(PIECE, end - at), at)
                except OSError:  # unmapped meanwhile, or a guard page
                    break
                at += PIECE - overlap
    finally:
        os.close(memory)


def spellings(name: str, secret: bytes) -> dict[str, bytes]:
    """A secret of bytes in the ways it might be written down."""
    base32 = base64.b32encode(secret).rstrip(b"=")
    return {
        f"{name}, raw": secret,
        f"{name}, base32": base32, f"{name}, base32 in small letters": base32.lower(),
        f"{name}, hexadecimal": secret.hex().encode(),
        f"{name}, hexadecimal in capitals": secret.hex().upper().encode(),
        f"{name}, base64": base64.b64encode(secret).rstrip(b"="),
        f"{name}, base64 for addresses": base64.urlsafe_b64encode(secret).rstrip(b"="),
    }
