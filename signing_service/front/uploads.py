"""Files of forms, streamed: hashed and written where documents are kept while they come in.

A small file stays in memory until somebody wants it, and is then written at once; a large one never has more than
a mebibyte in memory. Nothing is copied afterwards: what was received is the draft that is looked at and kept.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

from fastapi import Request, UploadFile
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from signing_service.documents import Arriving, Documents, Draft
from signing_service.errors import Unavailable

WAITING: Final = 1 << 20  # bytes in memory before they are written; one order to a thread for each such piece
MULTIPART: Final = b"multipart/form-data"


class Upload(UploadFile):
    """A file of a form. `draft` gives all of it; nothing of it is left when it is closed, unless it was kept."""

    def __init__(self, documents: Documents, reserve: int, filename: str, headers: Headers) -> None:
        super().__init__(io.BytesIO(), size=0, filename=filename, headers=headers)  # nobody reads from there
        self._documents, self._reserve = documents, reserve
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._arriving: Arriving | None = None
        self._problem: Unavailable | None = None

    async def write(self, data: bytes) -> None:
        """One piece, in the order in which they come. What goes wrong with the disk is told by `draft`."""
        self.size = (self.size or 0) + len(data)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= WAITING:
            with suppress(Unavailable):
                await asyncio.to_thread(self._flush)

    async def draft(self) -> Draft:
        """The whole file, as a draft; the same one when it is asked for again.

        Raises Unavailable (`disk-reserve`, `storage`) where there was no room for all of it.
        """
        if self._problem is not None:
            raise self._problem
        if self._waiting or self._arriving is None:
            await asyncio.to_thread(self._flush)
        assert self._arriving is not None
        return self._arriving.draft()

    async def seek(self, offset: int) -> None:
        """The parser goes to the beginning when all is there; a draft has no place to go to."""

    async def close(self) -> None:
        self._waiting.clear()
        if self._arriving is not None and self._arriving.is_there:
            await asyncio.to_thread(self._arriving.drop)

    def _flush(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        try:
            self._opened().write(waiting)
        except Unavailable as error:  # the parser would make a malformed form of it
            self._problem = error
            raise

    def _opened(self) -> Arriving:
        if self._problem is not None:
            raise self._problem
        if self._arriving is None:
            if self._documents.free_bytes() < self._reserve:
                raise Unavailable("There is no room for more documents.", code="disk-reserve", retry_after=60)
            self._arriving = self._documents.arriving()
        return self._arriving


class _Parser(MultiPartParser):
    """Starlette's parser, with files that go where documents are kept instead of to a temporary place."""

    def __init__(self, request: Request, stream: AsyncGenerator[bytes, None], **limits: Any) -> None:
        super().__init__(request.headers, stream, **limits)
        rt = request.app.state.rt
        self._documents, self._reserve = rt.documents, rt.settings.reserve_bytes
        self._uploads: list[Upload] = []

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None:
            upload = Upload(self._documents, self._reserve, part.file.filename or "", part.file.headers)
            part.file.file.close()
            part.file = upload
            self._uploads.append(upload)

    async def parse(self) -> FormData:
        try:
            return await super().parse()
        except BaseException:
            for upload in self._uploads:
                await upload.close()
            raise


class StreamedRequest(Request):
    """A request whose files are `Upload`s."""

    async def _get_form(self, **limits: Any) -> FormData:
        if self._form is None and parse_options_header(self.headers.get("content-type"))[0] == MULTIPART:
            try:
                async with aclosing(self.stream()) as stream:
                    self._form = await _Parser(self, stream, **limits).parse()
            except MultiPartException as error:
                raise HTTPException(400, error.message) from error
        return await super()._get_form(**limits)
