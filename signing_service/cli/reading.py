"""Files that somebody named on the command line: those to read, and those to write."""

from __future__ import annotations

import os
from pathlib import Path

from signing_service.errors import Invalid, TooLarge

LARGEST = 64 * 1024 * 1024  # bytes; a log's export is read line by line and not through here


def read_bytes(path: Path) -> bytes:
    """The whole file. Raises Invalid in words for the person who named it."""
    try:
        if path.stat().st_size > LARGEST:
            raise TooLarge(f"{path} is larger than {LARGEST // 1024 // 1024} MiB.")
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.", code="file") from error


def check_writable(path: Path) -> None:
    """Before a code is spent on what goes there. Raises Invalid."""
    if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise Invalid(f"{path} cannot be written.", code="file")


def read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8 text.", code="file") from error
