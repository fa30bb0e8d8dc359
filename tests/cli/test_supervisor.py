from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from signing_service.cli import supervisor
from signing_service.cli.supervisor import GIVE_UP, Child, Supervisor, bind

SECONDS = 30
# A child that notes its life in a file: "name start", and "name end" when it is told to end.
LIFE = """
import signal, sys, time
name, diary, ending = sys.argv[1], sys.argv[2], float(sys.argv[3])
def note(word):
    with open(diary, "a") as file: file.write(f"{name} {word}\\n")
def end(*_):
    time.sleep(ending); note("end"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("start")
time.sleep(60)
"""


def child(name: str, diary: Path, program: str = LIFE, ending: float = 0.0) -> Child:
    return Child(name, (name, str(diary), str(ending)), program=(sys.executable, "-c", program))


def lines(diary: Path) -> list[str]:
    return diary.read_text().splitlines() if diary.exists() else []


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not true():  # noqa: ASYNC110 - it is other processes that make it true
            await asyncio.sleep(0.02)


def supervised(
    inner: Sequence[Child], fronts: Sequence[Child], story: Callable[[], object], later: Sequence[Child] = (),
    ready: Callable[[], bool] = lambda: True,
) -> int:
    """Run it, let the story happen, then ask it to end as systemd does."""

    async def run() -> int:
        running = asyncio.create_task(Supervisor(inner, fronts, later).run(ready, lambda: None))
        await story()  # type: ignore[misc]  # a coroutine function
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)
        return await asyncio.wait_for(running, SECONDS)

    return asyncio.run(run())


def test_it_stops_from_the_outside_in_and_waits_for_what_is_under_way(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    signer, jobs = child("signer", diary), child("jobs", diary, ending=0.2)
    fronts = [child("front", diary, ending=0.4), child("front", diary)]

    async def all_started() -> None:
        await until(lambda: len(lines(diary)) == 4)

    assert supervised([signer, jobs], fronts, all_started) == 0
    assert lines(diary)[4:] == ["front end", "front end", "jobs end", "signer end"]


def test_who_can_wait_starts_when_the_others_are_ready_and_ends_between_them(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    jobs, asked = child("jobs", diary), []

    def ready() -> bool:
        asked.append(jobs.process)
        return len(lines(diary)) == 2 and len(asked) > 3

    async def all_started() -> None:
        await until(lambda: len(lines(diary)) == 3)

    inner, fronts = [child("signer", diary)], [child("front", diary)]
    assert supervised(inner, fronts, all_started, [jobs], ready) == 0
    assert len(asked) > 3  # it was not there before they were ready
    assert asked == [None] * len(asked)
    assert lines(diary)[2:] == ["jobs start", "front end", "jobs end", "signer end"]


def test_who_can_wait_does_not_wait_for_ever_nor_start_while_all_is_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    diary = tmp_path / "diary"

    async def nothing() -> None:
        await until(lambda: lines(diary) == ["front start"])

    async def started() -> None:
        await until(lambda: "jobs start" in lines(diary))

    assert supervised([], [child("front", diary)], nothing, [child("jobs", diary)], lambda: False) == 0
    assert "jobs start" not in lines(diary)
    monkeypatch.setattr(supervisor, "LATEST", 0.1)
    assert supervised([], [], started, [child("jobs", diary)], lambda: False) == 0


def test_what_dies_is_started_again(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    front = child("front", diary)

    async def killed() -> None:
        await until(lambda: len(lines(diary)) == 1)
        assert front.process is not None
        front.process.send_signal(signal.SIGKILL)
        await until(lambda: len(lines(diary)) == 2)

    assert supervised([], [front], killed) == 0
    assert front.deaths == 1


def test_what_dies_at_once_is_started_again_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    assert list(supervisor.BACK_OFF) == sorted(supervisor.BACK_OFF)
    diary = tmp_path / "diary"
    broken = child("jobs", diary, program=LIFE.replace("time.sleep(60)", "sys.exit(70)"))

    async def three_times() -> None:
        await until(lambda: broken.deaths == 3)

    begun = time.monotonic()
    supervised([broken], [], three_times)
    assert time.monotonic() - begun >= sum(supervisor.BACK_OFF[:2])


def test_a_child_whose_settings_are_wrong_is_not_tried_again_and_ends_everything(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    signer = child("signer", diary, program=LIFE.replace("time.sleep(60)", f"sys.exit({GIVE_UP})"))
    front = child("front", diary)

    async def given_up() -> None:
        await until(lambda: signer.process is not None and signer.process.returncode is not None)

    assert supervised([signer], [front], given_up) == GIVE_UP
    assert lines(diary).count("signer start") == 1


def test_one_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PATIENCE", 0.3)
    diary = tmp_path / "diary"
    stubborn = child("front", diary, ending=50)

    async def started() -> None:
        await until(lambda: lines(diary) == ["front start"])

    assert supervised([], [stubborn], started) == 0
    assert stubborn.process is not None
    assert stubborn.process.returncode == -signal.SIGKILL


ORPHAN = """
import asyncio, sys
from signing_service.cli.supervisor import Child, Supervisor
program = (sys.executable, "-c", sys.argv[2])
child = Child("front", (sys.argv[1],), program=program)
asyncio.run(Supervisor([child], []).run(lambda: True, lambda: None))
"""
FOLLOWER = """
import os, sys, time
from signing_service.cli.supervisor import end_with_supervisor
end_with_supervisor()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(60)
"""


def test_children_do_not_outlive_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(noted), FOLLOWER])
    _await(lambda: noted.exists() and noted.read_text() != "")
    follower = int(noted.read_text())
    parent.kill()
    parent.wait()
    _await(lambda: not _lives(follower))


def _await(true: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def _lives(process: int) -> bool:
    """A zombie that nobody collected is dead, too."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_listening_socket_is_bound_once_and_a_second_server_is_refused() -> None:
    with bind("127.0.0.1", 0) as listener:
        with pytest.raises(OSError, match="in use"):
            bind("127.0.0.1", listener.getsockname()[1])
        with socket.create_connection(listener.getsockname(), 5):
            pass


def test_a_process_says_that_its_database_is_empty_instead_of_failing_later(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s" * 32)
    settings = {
        "SIGNING_PROFILE": "development", "SIGNING_DATABASE_URL": f"sqlite:///{tmp_path}/none.db",
        "SIGNING_DOCUMENTS": str(tmp_path), "SIGNING_FRONT_SECRET_FILE": str(tmp_path / "secret"),
    }
    ended = subprocess.run([sys.executable, "-m", "signing_service", "jobs"], env=os.environ | settings,
                           capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 6
    assert "database migrate" in ended.stderr


def test_a_process_waits_for_a_database_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s" * 32)
    settings = {
        "SIGNING_PROFILE": "development", "SIGNING_DATABASE_URL": f"postgresql://nobody@/none?host={tmp_path}",
        "SIGNING_DOCUMENTS": str(tmp_path), "SIGNING_FRONT_SECRET_FILE": str(tmp_path / "secret"),
    }
    process = subprocess.Popen([sys.executable, "-m", "signing_service", "jobs"], env=os.environ | settings,
                               stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "waiting for the database" not in process.stderr.readline():
        assert process.poll() is None
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=SECONDS)
