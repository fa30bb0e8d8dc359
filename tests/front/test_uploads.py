"""Files of forms on their way to the disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from signing_service.documents import Documents
from signing_service.errors import Unavailable
from signing_service.front.uploads import WAITING, Upload
from tests.support import raw_pdf
from tests.support.world import Client, World, told

PIECE = os.urandom(1 << 16)


@asynccontextmanager
async def arriving(root: Path, pieces: int, reserve: int = 0) -> AsyncIterator[tuple[Documents, Upload]]:
    documents = Documents(root)
    upload = Upload(documents, reserve, "ke-hoach.pdf", Headers())
    for _ in range(pieces):
        await upload.write(PIECE)
    yield documents, upload
    await upload.close()


def tell(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await story()

    asyncio.run(whole())


SIZES = {"nothing": 0, "less than waits in memory": 3, "exactly what waits": WAITING >> 16, "many times that": 77}


@pytest.mark.parametrize("pieces", SIZES.values(), ids=SIZES)
def test_a_draft_has_the_bytes_that_came_and_their_digest(tmp_path: Path, pieces: int) -> None:
    async def story() -> None:
        async with arriving(tmp_path, pieces) as (documents, upload):
            draft = await upload.draft()
            assert draft.path.read_bytes() == PIECE * pieces
            assert (draft.digest, draft.size) == (hashlib.sha256(PIECE * pieces).hexdigest(), len(PIECE) * pieces)
            assert await upload.draft() == draft
            documents.keep(draft)
        assert documents.path(draft.digest).read_bytes() == PIECE * pieces
        assert list((tmp_path / "incoming").iterdir()) == []

    tell(story)


def test_what_nobody_kept_is_gone_when_the_form_is_closed(tmp_path: Path) -> None:
    async def story() -> None:
        async with arriving(tmp_path, 40) as (_, upload):
            assert len(list((tmp_path / "incoming").iterdir())) == 1
            await upload.draft()
        assert list((tmp_path / "incoming").iterdir()) == []

    tell(story)


def test_a_small_file_that_nobody_asks_for_is_never_on_disk(tmp_path: Path) -> None:
    async def story() -> None:
        async with arriving(tmp_path, 3):
            assert list((tmp_path / "incoming").iterdir()) == []

    tell(story)


def test_a_large_file_is_never_in_memory(tmp_path: Path) -> None:
    async def story() -> None:
        tracemalloc.start()
        try:
            async with arriving(tmp_path, 512) as (_, upload):  # 32 MiB
                assert (await upload.draft()).size == 32 << 20
            assert tracemalloc.get_traced_memory()[1] < 4 * WAITING
        finally:
            tracemalloc.stop()

    tell(story)


def test_no_room_is_told_when_the_file_is_asked_for_and_not_before(tmp_path: Path) -> None:
    """Or the form's parser would make a malformed form of it."""
    async def story() -> None:
        async with arriving(tmp_path, 40, reserve=1 << 62) as (_, upload):
            with pytest.raises(Unavailable) as refused:
                await upload.draft()
        assert refused.value.code == "disk-reserve"
        assert list((tmp_path / "incoming").iterdir()) == []

    tell(story)


def test_a_form_that_breaks_off_leaves_nothing(world: World, office: Client) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n' + PIECE * 40
    answer = office.asks("POST", "/api/v1/signing-requests", content=form + b"\r\n--b\r\nContent-Disposition: x\r\n",
                         headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert told(answer, 400)["code"] == "invalid"
    assert world.files() == []


def test_a_large_document_is_signed_and_fetched_piece_by_piece(world: World, office: Client) -> None:
    official = world.official()
    document = raw_pdf.document({**raw_pdf.one_page(), 5: raw_pdf.stream(os.urandom(3 << 20))})
    made = told(office.tries_to_submit(official, document, key="large"), 201)
    assert told(office.tries_to_submit(official, document, key="large"), 201) == made
    shown = office.asks("GET", f"/api/v1/signing-requests/{made['id']}/document")
    assert shown.content == document
    assert int(shown.headers["content-length"]) == len(document)
    part = office.asks("GET", f"/api/v1/signing-requests/{made['id']}/document", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, document[5:10])
