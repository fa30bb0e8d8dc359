"""Whole files: written beside their place and renamed.

If we die before the rename nothing is there under the final name; after it, everything is. Not durable yet: what a
worker writes is a draft, and the store (`documents.store`) has it fsynced, and its digest taken again from the disk,
before any row speaks of it. Once is enough: a worker that waits for the disk helps nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """A file to write (and read back) that takes its name only when the block ends well."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with draft.open("w+b") as file:
            yield file
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
