"""Print the part of requirements.lock that runs in production: what the project needs, without its test tools.

The lock says of each package who wants it ("# via"), so this is a walk from `project.dependencies`; pins and
hashes are copied as they are. Used while the image is built: python runtime_lock.py pyproject.toml lock.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = "signing-service"  # direct dependencies are wanted by the project itself, tools for tests too
NAME = re.compile(r"[A-Za-z0-9._-]+")


def runtime_lock(pyproject: str, lock: str) -> str:
    """The wanted blocks, in the lock's order. KeyError when a dependency of the project is not locked."""
    blocks = _blocks(lock)
    chosen = {_plain(need) for need in tomllib.loads(pyproject)["project"]["dependencies"]}
    for missing in chosen - blocks.keys():
        raise KeyError(f"{missing} is not in the lock")
    while more := {name for name, block in blocks.items() if name not in chosen and _wanted_by(block) & chosen}:
        chosen |= more
    return "".join(block for name, block in blocks.items() if name in chosen)


def _blocks(lock: str) -> dict[str, str]:
    """Each package's lines, by its name: a block begins with every line that is not indented."""
    parts = re.split(r"(?m)^(?=[A-Za-z0-9])", lock)
    return {_plain(part): part for part in parts if NAME.match(part)}


def _wanted_by(block: str) -> set[str]:
    comments = re.findall(r"(?m)^\s+#\s+(?:via )?(\S+)", block)
    return {_plain(name) for name in comments if name not in ("via", PROJECT)}


def _plain(requirement: str) -> str:
    """PEP 503: names compare in lower case, with every run of separators as one hyphen."""
    found = NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


if __name__ == "__main__":
    sys.stdout.write(runtime_lock(*(Path(name).read_text(encoding="utf-8") for name in sys.argv[1:3])))
