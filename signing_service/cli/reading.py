"""Files that somebody named on the command line."""

from __future__ import annotations

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


def read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8 text.", code="file") from error
