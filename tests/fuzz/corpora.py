"""What campaigns found worth keeping: one input a line, in base64, so that a repository takes them as text.

    corpus/<target>/inputs.txt      every branch that a campaign reached is reached by one of these
    corpus/<target>/findings.txt    what once made something fall over; `# why` stands above each
    corpus/<target>/stage.json      keys and certificates that the inputs were made with (`stage.py`)
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
LARGEST: Final = 180_000    # characters of a corpus
WIDTH: Final = 400_000      # of one input, unpacked


def kept(target: str) -> list[bytes]:
    """Findings first."""
    return [*_read(target, "findings.txt"), *inputs(target)]


def inputs(target: str) -> list[bytes]:
    return _read(target, "inputs.txt")


def keep(target: str, found: Iterable[bytes]) -> int:
    """The smallest first, as far as there is room; says how many."""
    lines, size = [], 0
    for each in sorted(set(found), key=lambda data: (len(data), data)):
        line = base64.b64encode(zlib.compress(each, 9)).decode()
        size += len(line) + 1
        if size <= LARGEST:
            lines.append(line)
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inputs.txt").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return len(lines)


def add_finding(target: str, data: bytes, why: str) -> None:
    """Once: the same bytes are not written twice."""
    if data not in _read(target, "findings.txt"):
        with (CORPUS / target / "findings.txt").open("a", encoding="utf-8") as file:
            file.write(f"# {why}\n{base64.b64encode(zlib.compress(data, 9)).decode()}\n")


def _read(target: str, name: str) -> list[bytes]:
    path = CORPUS / target / name
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_unpacked(line) for line in lines if line and not line.startswith("#")]


def _unpacked(line: str) -> bytes:
    return zlib.decompressobj().decompress(base64.b64decode(line), WIDTH)
