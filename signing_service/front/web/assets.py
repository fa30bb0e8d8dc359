"""Style sheets, scripts and icons: read once at the start, named with their content, kept by browsers for ever."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).with_name("static")
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
         ".webmanifest": "application/manifest+json"}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent. `mark` is the beginning of its digest."""

    content: bytes
    media_type: str
    mark: str


@cache
def assets() -> dict[str, Asset]:
    """Every file of `static/` by its name."""
    return {file.name: _read(file) for file in sorted(HERE.iterdir()) if file.is_file()}


def _read(file: Path) -> Asset:
    content = file.read_bytes()
    guessed = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return Asset(content, TYPES.get(file.suffix, guessed), sha256(content).hexdigest()[:16])


def address(name: str) -> str:
    """Where a page finds it; another content has another address. KeyError for what is not there."""
    return f"/static/{name}?v={assets()[name].mark}"
