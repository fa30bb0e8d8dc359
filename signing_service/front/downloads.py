"""Files going out: streamed from disk, under a name that is safe in a header (RFC 6266, RFC 8187)."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from signing_service.front.runtime import Runtime

PDF = "application/pdf"


class Download(FileResponse):
    """A stored file, a piece at a time. The first piece comes with the opening: a small file costs one visit of a
    thread. Ranges are the parent's.
    """

    chunk_size = 1 << 18  # bytes; each slow reader has about two of them in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET" or any(name == b"range" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
            return
        file, piece = await asyncio.to_thread(self._begun)
        with file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while len(piece) == self.chunk_size:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await asyncio.to_thread(file.read, self.chunk_size)
            await send({"type": "http.response.body", "body": piece, "more_body": False})

    def _begun(self) -> tuple[BinaryIO, bytes]:
        file = Path(self.path).open("rb")  # noqa: SIM115 - closed when all of it is sent
        self.set_stat_headers(os.fstat(file.fileno()))
        return file, file.read(self.chunk_size)


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
