"""Files going out: streamed from disk, under a name that is safe in a header (RFC 6266, RFC 8187)."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from io import FileIO
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from signing_service.front.runtime import Runtime
from signing_service.front.settings import MIB

PDF = "application/pdf"
_HAS_LEFT: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": True}


class Download(FileResponse):
    """A stored file, a piece at a time. The first piece comes with the opening: a small file costs one visit of a
    thread, and so does whatever the kernel has at hand already. Ranges are the parent's.

    The next piece is read when the one before has left, so that somebody who reads slowly holds one of them.
    """

    chunk_size = 1 << 14    # bytes, at first
    larger_size = 1 << 16   # once somebody has taken a mebibyte: fewer steps, for who is fast enough to notice

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET" or any(name == b"range" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
            return
        file, size, piece = await asyncio.to_thread(self._begun)
        with file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            sent = len(piece)
            while piece and sent < size:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send(_HAS_LEFT)  # the server takes nothing more, not even nothing, until there is room
                most = self.chunk_size if sent < MIB else self.larger_size
                piece = _at_hand(file, sent, most) or await asyncio.to_thread(os.pread, file.fileno(), most, sent)
                sent += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": False})

    def _begun(self) -> tuple[FileIO, int, bytes]:
        file = FileIO(self.path)  # closed when all of it is sent
        found = os.fstat(file.fileno())
        self.set_stat_headers(found)
        return file, found.st_size, os.pread(file.fileno(), self.chunk_size, 0)


def _at_hand(file: FileIO, start: int, most: int) -> bytes:
    """What can be had without waiting for a disk (RWF_NOWAIT, preadv2(2)); nothing, where the kernel cannot say."""
    piece = bytearray(most)
    try:
        read = os.preadv(file.fileno(), [piece], start, os.RWF_NOWAIT)
    except OSError:
        return b""
    return bytes(memoryview(piece)[:read])


def attachment(filename: str, fallback: str) -> str:
    """Content-Disposition: a generated name for old readers, the real one percent-encoded."""
    return f"attachment; filename=\"{fallback}\"; filename*=UTF-8''{quote(filename, safe='')}"


def signed_name(filename: str) -> str:
    """`ke-hoach.pdf` becomes `ke-hoach.signed.pdf`."""
    stem, dot, suffix = filename.rpartition(".")
    return f"{stem}.signed.{suffix}" if dot else f"{filename}.signed.pdf"


def is_current(request: Request, digest: str) -> bool:
    """Has the caller these very bytes already (RFC 9110 13.1.2)?"""
    shown = request.headers.get("if-none-match", "")
    return f'"{digest}"' in {each.strip().removeprefix("W/") for each in shown.split(",")}


def file_answer(rt: Runtime, digest: str, *, filename: str, fallback: str) -> Response:
    """The file with this digest, which is also its ETag. NotFound when it is no longer kept."""
    return Download(rt.documents.path(digest), media_type=PDF, headers={
        "Content-Disposition": attachment(filename, fallback), "ETag": f'"{digest}"',
        "Repr-Digest": f"sha-256=:{_base64(digest)}:",
    })


def unchanged(digest: str) -> Response:
    return Response(status_code=304, headers={"ETag": f'"{digest}"'})


def _base64(digest: str) -> str:
    """RFC 9530: a digest of the whole representation."""
    return b64encode(bytes.fromhex(digest)).decode()
