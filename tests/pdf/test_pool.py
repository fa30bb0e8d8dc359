"""The pool: children that die, hang or eat too much are replaced, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from signing_service.errors import Invalid, TooMany, Unavailable
from signing_service.pdf import Limits, Look, Pool
from signing_service.pdf import aside as aside_module
from signing_service.pdf import pool as pool_module
from signing_service.pdf.aside import COSTLY
from signing_service.pdf.priority import BACK, step_back
from tests.support.hostile_documents import TRAPS
from tests.support.pdf_pool import aside_pids, endless, environment_of, killed_and_buried, with_pool, worker_pids
from tests.support.raw_pdf import document, one_page, page, stream
from tests.support.software_signatory import a_signatory

DOCUMENT = Path(__file__).parents[1] / "documents" / "ke-hoach.pdf"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.pdf"
    path.write_bytes(document(one_page()))
    return path


def test_a_document_is_looked_at_prepared_and_completed_in_the_workers(tmp_path: Path) -> None:
    signatory, stages = a_signatory(), []

    async def story(pool: Pool) -> Look:
        looked = await pool.look(DOCUMENT, client_id="documents")
        prepared = await pool.prepare(signatory.order(DOCUMENT, tmp_path / "tail"))
        assert prepared.document_digest == looked.digest
        order = signatory.completes(DOCUMENT, tmp_path / "tail", tmp_path / "signed.pdf", prepared)
        completed = await pool.complete(order)
        assert completed.size == (tmp_path / "signed.pdf").stat().st_size
        return looked

    looked = with_pool(story, observe=lambda stage, seconds: stages.append(stage))
    assert looked.pages == 2
    assert looked.title == "Kế hoạch triển khai ký số tập trung năm 2027"
    assert stages == ["pdf:wait", "pdf:look", "pdf:wait", "pdf:prepare", "pdf:wait", "pdf:complete"]


def test_workers_have_an_empty_environment_and_no_descriptors_but_their_three() -> None:
    async def story(pool: Pool) -> None:
        for pid in worker_pids():
            assert environment_of(pid) == b""
            assert sorted(os.listdir(f"/proc/{pid}/fd"), key=int) == ["0", "1", "2"]
            assert os.getpgid(pid) == pid

    with_pool(story)


def test_workers_inherit_nothing_on_the_event_loop_that_fronts_run_on() -> None:
    """A front has its listening socket open, and inheritable: its supervisor handed it on."""
    async def whole() -> list[list[str]]:
        with socket.socket() as listening:
            listening.set_inheritable(True)
            pool = Pool(2)
            await pool.start()
            try:
                return [os.listdir(f"/proc/{pid}/fd") for pid in worker_pids()]
            finally:
                await pool.close()

    held = uvloop.run(whole())
    assert [sorted(each) for each in held] == [["0", "1", "2"]] * len(held)
    assert len(held) >= 2


def test_a_pool_leaves_no_process_behind() -> None:
    others = set(worker_pids())  # of a pool that other tests share

    async def story(pool: Pool) -> None:
        assert len(set(worker_pids()) - others) == pool.size

    with_pool(story)
    assert set(worker_pids()) <= others


def test_a_refusal_of_a_worker_keeps_its_code_and_words(tmp_path: Path) -> None:
    path = tmp_path / "hello.pdf"
    path.write_bytes(b"hello")

    async def story(pool: Pool) -> None:
        with pytest.raises(Invalid) as refused:
            await pool.look(path)
        assert refused.value.code == "not-a-pdf"
        assert "%PDF-" in refused.value.message

    with_pool(story)


def test_a_killed_worker_is_replaced_and_its_document_refused(tmp_path: Path, good: Path) -> None:
    async def story(pool: Pool) -> None:
        before = set(worker_pids())
        looking = asyncio.create_task(pool.look(endless(tmp_path), client_id="a"))
        await asyncio.sleep(0)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(Invalid) as refused:
            await looking
        assert refused.value.code == "document-too-costly"
        assert (await looked_at_last(pool, good)).pages == 1
        assert not before & set(worker_pids())

    with_pool(story)


async def looked_at_last(pool: Pool, path: Path) -> Look:
    """Workers that were killed while idle are found out one by one, by whoever gets them."""
    for _ in range(pool.size):
        with suppress(Invalid):
            return await pool.look(path)
    return await pool.look(path)


def test_a_worker_that_was_killed_while_idle_costs_nobody_a_document(good: Path) -> None:
    async def story(pool: Pool) -> None:
        await killed_and_buried(worker_pids())
        for _ in range(pool.size):
            assert (await pool.look(good)).pages == 1

    with_pool(story)


def test_a_worker_that_hangs_is_killed_at_its_deadline(tmp_path: Path, good: Path) -> None:
    async def story(pool: Pool) -> None:
        with pytest.raises(Invalid) as refused:
            await pool.look(endless(tmp_path))
        assert refused.value.code == "document-too-costly"
        assert (await pool.look(good)).pages == 1

    with_pool(story, Limits(look_wall_seconds=0.3))


def test_work_of_ours_that_overruns_may_be_tried_again(tmp_path: Path) -> None:
    async def story(pool: Pool) -> None:
        with pytest.raises(Unavailable):
            await pool.prepare(a_signatory().order(endless(tmp_path), tmp_path / "tail"))
        assert not (tmp_path / "tail").exists()

    with_pool(story, Limits(work_wall_seconds=0.3))


def test_a_document_that_eats_the_memory_is_refused_and_the_worker_replaced(tmp_path: Path, good: Path) -> None:
    path = tmp_path / "bomb.pdf"
    objects = one_page(page=page(b"/Annots [%s]" % (b"1 " * 400_000)))
    path.write_bytes(document(objects))

    async def story(pool: Pool) -> None:
        with pytest.raises(Invalid) as refused:
            await pool.look(path)
        assert refused.value.code == "document-too-costly"
        for _ in range(pool.size):
            assert (await pool.look(good)).pages == 1

    with_pool(story, Limits(memory_bytes=128 << 20, look_cpu_seconds=60, look_wall_seconds=60))


def test_one_slot_is_left_for_what_was_confirmed_while_all_others_look(tmp_path: Path) -> None:
    signatory = a_signatory()
    tail, output = tmp_path / "tail", tmp_path / "signed.pdf"

    async def story(pool: Pool) -> None:
        hanging = [
            asyncio.create_task(pool.look(endless(tmp_path, f"{at}.pdf"), client_id=f"client-{at}"))
            for at in range(4)
        ]
        await asyncio.sleep(0)
        prepared = await pool.prepare(signatory.order(DOCUMENT, tail))
        await pool.complete(signatory.completes(DOCUMENT, tail, output, prepared))
        assert not any(task.done() for task in hanging)
        await given_up(hanging)

    with_pool(story)


def test_a_client_has_one_slot_for_looking_and_leaves_the_others_to_others(tmp_path: Path, good: Path) -> None:
    async def story(pool: Pool) -> None:
        hanging = [
            asyncio.create_task(pool.look(endless(tmp_path, f"{at}.pdf"), client_id="greedy")) for at in range(4)
        ]
        await asyncio.sleep(0)
        assert (await pool.look(good, client_id="modest")).pages == 1
        assert not any(task.done() for task in hanging)
        await given_up(hanging)

    with_pool(story, size=3)


def test_who_was_costly_is_read_aside_and_others_do_not_wait_behind_the_next_one(tmp_path: Path, good: Path) -> None:
    async def story(pool: Pool) -> None:
        with pytest.raises(Invalid):
            await pool.look(endless(tmp_path, "0.pdf"), client_id="costly")
        pool.limits = Limits(look_wall_seconds=600)
        next_one = asyncio.create_task(pool.look(endless(tmp_path, "1.pdf"), client_id="costly"))
        await asyncio.sleep(0)
        assert (await pool.look(good, client_id="honest")).pages == 1
        while not aside_pids():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.02)  # the one aside has just been started
        assert not next_one.done()
        await given_up([next_one])
        assert (await pool.look(good, client_id="costly")).pages == 1

    with_pool(story, Limits(look_wall_seconds=0.3))


def test_an_ordinary_document_puts_nobody_aside(good: Path) -> None:
    async def story(pool: Pool) -> None:
        for _ in range(20):
            await pool.look(good, client_id="honest")
        assert aside_pids() == []

    with_pool(story)


def test_a_first_document_that_turns_out_costly_steps_back_and_its_place_is_somebody_else_s(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One goes on aside with its worker; the next finds no room there, is begun again in its turn, and loses nothing
    but time. There is never more than one worker beside the ordinary ones.
    """
    monkeypatch.setattr(aside_module, "COSTLY", 0.1)
    path = tmp_path / "costly.pdf"
    path.write_bytes(TRAPS["a table of contents with entries of no width"].make())

    async def story(pool: Pool) -> None:
        first, second = (asyncio.create_task(pool.look(path, client_id=f"hostile-{at}")) for at in range(2))
        await looked_while(pool, good, first)
        assert len(aside_pids()) == 1
        assert len(worker_pids()) <= pool.size + 1
        await looked_while(pool, good, second)
        assert len(aside_pids()) == 1
        assert not first.done()
        await given_up([first, second])

    with_pool(story, Limits(look_cpu_seconds=600, look_wall_seconds=600))


async def looked_while(pool: Pool, path: Path, hostile: asyncio.Task[Look]) -> None:
    """Read for somebody honest, who came later."""
    await asyncio.sleep(0)
    looking = asyncio.create_task(pool.look(path, client_id="honest"))
    await asyncio.wait({looking, hostile}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert not hostile.done()
    assert (looking.done(), looking.done() and looking.result().pages) == (True, 1)


def test_what_others_left_no_time_for_is_not_called_too_costly(tmp_path: Path) -> None:
    async def story(pool: Pool) -> None:
        pool._aside.note("costly", COSTLY)
        with pytest.raises(Unavailable) as refused:
            await pool.look(endless(tmp_path), client_id="costly")
        assert (refused.value.code, refused.value.retry_after) == ("busy", 2)

    with_pool(story, Limits(aside_wall_seconds=0.2))


def test_who_steps_back_does_so_behind_every_session_of_the_machine() -> None:
    """A nice process is nice within its session only, where the kernel groups processes so."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        try:
            asyncio.run(step_back(process.pid))
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == BACK
            with suppress(FileNotFoundError):  # a kernel without such groups
                assert Path(f"/proc/{process.pid}/autogroup").read_text().split()[-1] == str(BACK)
        finally:
            process.kill()


async def given_up(tasks: list[asyncio.Task[Look]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_caller_that_goes_away_takes_the_worker_and_not_the_slot_with_it(tmp_path: Path, good: Path) -> None:
    async def story(pool: Pool) -> None:
        for at in range(4):
            looking = asyncio.create_task(pool.look(endless(tmp_path, f"{at}.pdf")))
            await asyncio.sleep(0)
            await given_up([looking])
        assert (await pool.look(good)).pages == 1

    with_pool(story)


def test_a_full_queue_says_when_to_come_back(tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_WAITING", 1)

    async def story(pool: Pool) -> None:
        hanging = [
            asyncio.create_task(pool.look(endless(tmp_path, f"{at}.pdf"), client_id=f"client-{at}"))
            for at in range(2)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as busy:
            await pool.look(good, client_id="one more")
        assert busy.value.retry_after > 0
        await given_up(hanging)

    with_pool(story)


def test_a_client_with_too_many_waiting_is_told_to_slow_down(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_WAITING_PER_CLIENT", 1)

    async def story(pool: Pool) -> None:
        hanging = asyncio.create_task(pool.look(endless(tmp_path), client_id="greedy"))
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await pool.look(good, client_id="greedy")
        assert (await pool.look(good, client_id="modest")).pages == 1
        await given_up([hanging])

    with_pool(story, size=3)


def test_a_file_that_is_not_there_is_our_trouble_and_not_the_clients(tmp_path: Path) -> None:
    async def story(pool: Pool) -> None:
        with pytest.raises(Unavailable):
            await pool.look(tmp_path / "swept.pdf")
        with pytest.raises(Unavailable):
            await pool.prepare(a_signatory().order(DOCUMENT, tmp_path / "no-folder" / "tail"))

    with_pool(story)


def test_a_relative_path_means_what_it_means_to_the_caller(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(good.parent)
    assert with_pool(lambda pool: pool.look(Path(good.name))).pages == 1


def test_closing_ends_what_is_under_way(tmp_path: Path) -> None:
    async def story(pool: Pool) -> None:
        looking = asyncio.create_task(pool.look(endless(tmp_path)))
        await asyncio.sleep(0)
        await pool.close()
        with pytest.raises(Invalid):
            await looking
        assert worker_pids() == []

    with_pool(story)


def test_a_worker_is_replaced_after_its_number_of_jobs(good: Path) -> None:
    async def story(pool: Pool) -> None:
        before = set(worker_pids())
        for _ in range(pool.size + 1):
            await pool.look(good)
        assert not before & set(worker_pids())

    with_pool(story, Limits(jobs_per_worker=1))


def test_a_pool_without_a_slot_for_finishing_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="at least two"):
        Pool(1)


def test_a_document_of_sixty_megabytes_is_signed_in_a_worker_that_could_not_hold_it_often(tmp_path: Path) -> None:
    objects = one_page()
    objects[5] = stream(os.urandom(1 << 20) * 60)
    path = tmp_path / "large.pdf"
    path.write_bytes(document(objects))
    signatory = a_signatory()

    async def story(pool: Pool) -> None:
        looked = await pool.look(path)
        prepared = await pool.prepare(signatory.order(path, tmp_path / "tail"))
        order = signatory.completes(path, tmp_path / "tail", tmp_path / "signed.pdf", prepared)
        completed = await pool.complete(order)
        assert completed.size == looked.size + prepared.tail_size

    with_pool(story, Limits(memory_bytes=256 << 20))
