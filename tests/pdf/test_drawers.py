"""Who draws: nobody waits behind a picture, and a document that takes its worker over finds itself and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signing_service.errors import Invalid, TooMany, Unavailable, WrongState
from signing_service.pdf import Limits, Picture, PictureOrder, Pool, Wall, Width, drawers
from signing_service.pdf.drawer import Drawer
from signing_service.pdf.messages import Answer, Outcome, ProtocolError, decoded, encoded
from signing_service.pdf.work import PageOrder
from tests.support.endless_page import forms_in_forms
from tests.support.pdf_pool import drawer_pids, endless, killed_and_buried, status_of, with_pool, worker_pids

ROOT = Path(__file__).parents[2]
PLAN = Path(__file__).parents[1] / "documents" / "ke-hoach.pdf"


OTHERS: set[int] = set()


@pytest.fixture(autouse=True)
def _others() -> None:
    """A pool that other tests of this process share has workers of its own, which come and go."""
    OTHERS.clear()
    OTHERS.update(drawer_pids())


def own_drawers() -> list[int]:
    return [pid for pid in drawer_pids() if pid not in OTHERS]


def page_of(path: Path) -> PictureOrder:
    return PictureOrder(path, 1, Width.LIST)


def copies(folder: Path, number: int) -> list[Path]:
    """As many documents, each another one."""
    made = [folder / f"{at}.pdf" for at in range(number)]
    for at, path in enumerate(made):
        path.write_bytes(PLAN.read_bytes() + b"%% %d\n" % at)
    return made


def holders(path: Path) -> list[int]:
    """The drawing workers that were given this document."""
    return [pid for pid in own_drawers() if _holds(pid, path)]


def _holds(pid: int, path: Path) -> bool:
    try:
        return str(path) in {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}
    except FileNotFoundError:  # it ended meanwhile
        return False


async def gone(pid: int) -> bool:
    for _ in range(1000):
        if pid not in own_drawers():
            return True
        await asyncio.sleep(0.02)
    return False


def test_a_look_and_another_viewers_page_are_ready_before_a_page_that_never_will_be(tmp_path: Path) -> None:
    bomb = forms_in_forms(tmp_path / "bomb.pdf")

    async def story(pool: Pool) -> None:
        drawing = [asyncio.create_task(pool.picture(page_of(bomb), f"viewer {at}")) for at in range(6)]
        await pool.picture(page_of(PLAN), "somebody else")  # six ask for the bomb: it takes one place
        for _ in range(pool.size):
            assert (await pool.look(PLAN)).pages == 2
        assert not any(each.done() for each in drawing)
        for each in drawing:
            each.cancel()
        assert {type(each) for each in await asyncio.gather(*drawing, return_exceptions=True)} == {
            asyncio.CancelledError}

    with_pool(story, Limits(draw_cpu_seconds=60, draw_wall_seconds=60))


def test_a_worker_that_drew_one_document_draws_no_other(tmp_path: Path) -> None:
    documents = copies(tmp_path, 3)

    async def story(pool: Pool) -> None:
        served = []
        for path in documents:
            await pool.survey(path, "a")
            (first,) = holders(path)
            await pool.picture(page_of(path), "b")
            assert holders(path) == [first]  # the same document: the same worker
            served.append(first)
        assert len(set(served)) == len(documents)

    with_pool(story)


def test_workers_are_bounded_and_whoever_was_asked_last_stays(tmp_path: Path) -> None:
    documents = copies(tmp_path, 10)

    async def story(pool: Pool) -> None:
        await pool.picture(page_of(documents[0]), "a")
        (first,) = holders(documents[0])
        for path in documents[1:]:
            await pool.picture(page_of(path), "a")
        assert await gone(first)
        assert sum(len(holders(path)) for path in documents) <= 8
        assert holders(documents[-1])

    with_pool(story)


def test_a_worker_that_nobody_asks_any_more_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawers, "_IDLE", 0.0)
    (document,) = copies(tmp_path, 1)

    async def story(pool: Pool) -> None:
        before = own_drawers()
        await pool.picture(page_of(document), "a")
        for _ in range(1000):
            if set(before) - set(own_drawers()):
                break
            await asyncio.sleep(0.02)
        assert len(set(before) - set(own_drawers())) == 1  # and the other one is still a spare

    with_pool(story)


def probed(folder: Path, walls: bool) -> dict[str, str]:
    own, other, draft = (folder / name for name in ("own.pdf", "other.pdf", "draft"))
    for path in (own, other, draft):
        shutil.copyfile(PLAN, path)
    ours, theirs = socket.socketpair()
    setting = json.dumps({"own": str(own), "other": str(other), "draft": str(draft), "walls": walls})
    with ours, theirs, own.open("rb") as document:
        socket.send_fds(ours, [b"d"], [document.fileno()])
        done = subprocess.run([sys.executable, "-m", "tests.support.drawing_probe", setting], cwd=ROOT, stdin=theirs,
                              capture_output=True, text=True, check=True, env={})
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_a_worker_that_was_taken_over_reads_its_own_document_and_no_other_and_writes_nothing(tmp_path: Path) -> None:
    free, walled = probed(tmp_path, walls=False), probed(tmp_path, walls=True)
    assert {name for name, came in free.items() if came == "refused"} == {"write into its own document"}
    assert {name for name, came in walled.items() if came == "done"} == {"read its own document"}


def test_all_who_draw_stand_behind_walls_before_they_are_given_anything() -> None:
    async def story(pool: Pool) -> None:
        assert {Wall.CALLS, Wall.FILES} <= pool.walls
        assert len(own_drawers()) == 2
        for pid in own_drawers():
            assert "Seccomp:\t2\n" in status_of(pid)
        assert not set(own_drawers()) & set(worker_pids())

    with_pool(story)


def lying(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., Any]:
    """A worker that was taken over: it answers something else than what it drew."""
    honest = Drawer.ask

    async def ask(self: Drawer, *order: Any) -> Answer:
        told = await honest(self, *order)
        body = change(msgspec.msgpack.decode(told.body))
        return Answer(told.outcome, msgspec.Raw(encoded(body)))

    return ask


LIES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "the digest of another document": ({"digest": "0" * 64}, WrongState, "digest-changed"),
    "a page of HTML": ({"media_type": "text/html"}, Invalid, "page-too-costly"),
}


@pytest.mark.parametrize(("lie", "kind", "code"), LIES.values(), ids=LIES.keys())
def test_a_worker_that_lies_is_not_believed(
    lie: dict[str, Any], kind: type[Exception], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pool: Pool) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Drawer, "ask", lying(lambda body: body | lie))
            with pytest.raises(kind) as refused:
                await pool.picture(page_of(PLAN), "a")
        assert getattr(refused.value, "code", None) == code
        assert (await pool.picture(page_of(PLAN), "a")).digest == hashlib.sha256(PLAN.read_bytes()).hexdigest()

    with_pool(story)


def test_a_survey_whose_sizes_are_none_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drawer, "ask", lying(lambda body: body | {"pages": [[595.0, float("nan")]]}))

    async def story(pool: Pool) -> None:
        with pytest.raises(Invalid):
            await pool.survey(PLAN, "a")

    with_pool(story)


def test_a_file_that_was_written_again_is_another_document(tmp_path: Path) -> None:
    (document,) = copies(tmp_path, 1)

    async def story(pool: Pool) -> None:
        before = await pool.picture(page_of(document), "a")
        document.write_bytes(document.read_bytes() + b"% more\n")
        after = await pool.picture(page_of(document), "a")
        assert before.digest != after.digest
        assert after.digest == hashlib.sha256(document.read_bytes()).hexdigest()

    with_pool(story)


def test_what_is_no_file_is_our_trouble(tmp_path: Path) -> None:
    async def story(pool: Pool) -> None:
        for path in (tmp_path / "swept.pdf", endless(tmp_path), tmp_path):
            with pytest.raises(Unavailable):
                await pool.survey(path, "a")

    with_pool(story)


def test_a_viewer_who_asks_for_too_many_pages_is_told_to_slow_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawers, "_WAITING_PER_VIEWER", 1)
    bomb = forms_in_forms(tmp_path / "bomb.pdf")

    async def story(pool: Pool) -> None:
        drawing = asyncio.create_task(pool.picture(page_of(bomb), "greedy"))
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await pool.picture(page_of(PLAN), "greedy")
        assert (await pool.picture(page_of(PLAN), "modest")).width == 480
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)

    with_pool(story, Limits(draw_cpu_seconds=60, draw_wall_seconds=60))


def test_spares_that_were_killed_while_they_waited_cost_nobody_a_page() -> None:
    async def story(pool: Pool) -> None:
        await killed_and_buried(own_drawers())
        drawn: Picture = await pool.picture(page_of(PLAN), "a")
        assert drawn.width == 480

    with_pool(story)


def test_only_the_widths_of_the_set_reach_a_worker() -> None:
    with pytest.raises(ProtocolError):
        decoded(encoded({"page": 1, "width": 100_000}), PageOrder)


def test_a_worker_that_answers_with_text_that_is_none_has_broken_the_protocol() -> None:
    with pytest.raises(ProtocolError):
        decoded(encoded(Answer(Outcome.REFUSED, code="a")).replace(b"\xa1a", b"\xa1\xff"), Answer)
