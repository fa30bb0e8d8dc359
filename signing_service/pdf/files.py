"""Durable files: written beside their place, fsynced, renamed, and the directory fsynced too.

If we die before the rename nothing is there under the final name; after it, everything is.
"""

from __future__ import annotations

import os
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
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
