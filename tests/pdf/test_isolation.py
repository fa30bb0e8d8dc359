"""What a taken-over pdf worker could not do: each attempt works without the walls, and fails behind them."""

from __future__ import annotations

import json
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from signing_service.pdf import Pool, Wall, landlock, seccomp
from tests.support.pdf_pool import status_of, with_pool, worker_pids

ROOT = Path(__file__).parents[2]
ATTEMPTS = 16
CONNECT = """
import socket, sys
if sys.argv[2] == "isolated":
    from signing_service.pdf.sandbox import leave_the_network
    if not leave_the_network():
        print("refused by the kernel")
        raise SystemExit
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2).close()
    print("connected")
except OSError:
    print("nothing there")
"""


def tries_to_connect(port: int, how: str) -> str:
    done = subprocess.run([sys.executable, "-c", CONNECT, str(port), how], cwd=ROOT, capture_output=True, text=True,
                          check=True, env={"PYTHONPATH": str(ROOT)})
    return done.stdout.strip()


def test_a_worker_reaches_no_network_where_the_kernel_grants_a_namespace() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert tries_to_connect(port, "plain") == "connected"  # the same attempt, without the wall
        assert tries_to_connect(port, "isolated") in ("nothing there", "refused by the kernel")


def probed(how: str, folder: Path) -> dict[str, Any]:
    inside = folder / how
    inside.mkdir()
    database = folder / "service.db"
    database.write_bytes(b"secrets")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(inside / "sign.sock"))
        listener.listen()
        setting = {"socket": str(inside / "sign.sock"), "database": str(database),
                   "outside": str(folder / f"outside-{how}"), "inside": str(inside / "draft")}
        done = subprocess.run([sys.executable, "-m", "tests.support.walls_probe", how, json.dumps(setting)], cwd=ROOT,
                              capture_output=True, text=True, check=True, env={})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the probe makes raw calls by their x86_64 numbers")
def test_what_anybody_may_do_a_walled_worker_may_not_and_still_it_writes_its_drafts(tmp_path: Path) -> None:
    free, walled = probed("plain", tmp_path), probed("walled", tmp_path)
    assert set(free["came of it"].values()) <= {"done", "not there"}, free
    assert len(free["came of it"]) == ATTEMPTS
    assert {Wall.CALLS, Wall.FILES} <= set(walled["walls"])
    assert {name for name, came in walled["came of it"].items() if came != "refused"} == set()
    assert not (tmp_path / "outside-walled").exists()


def test_every_worker_of_a_pool_stands_behind_the_walls_that_the_pool_names() -> None:
    async def story(pool: Pool) -> None:
        assert {Wall.CALLS, Wall.FILES} <= pool.walls
        for pid in worker_pids():
            status = status_of(pid)
            assert "Seccomp:\t2\n" in status
            assert "NoNewPrivs:\t1\n" in status

    with_pool(story)


def test_a_pool_that_knows_no_folder_says_that_no_wall_stands_around_files() -> None:
    async def story(pool: Pool) -> None:
        assert Wall.FILES not in pool.walls
        assert Wall.CALLS in pool.walls

    with_pool(story, folders=())


def test_a_pool_without_workers_claims_no_walls() -> None:
    assert Pool(2).walls == frozenset()


def test_a_machine_we_have_no_numbers_for_gets_no_filter() -> None:
    assert not seccomp.allow_only_the_needed(machine="riscv64")
    assert seccomp.program("riscv64") == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 exists on x86_64")
def test_a_call_with_the_numbers_of_another_architecture_kills() -> None:
    program = ("import ctypes\nfrom signing_service.pdf.sandbox import raise_walls\nraise_walls(())\n"
               "ctypes.CDLL(None).syscall(0x40000000 + 39)\n")  # getpid, in x32
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, env={})
    assert done.returncode == -signal.SIGSYS


def test_a_kernel_without_landlock_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_CREATE_RULESET", 9999)  # a call that no kernel has
    assert not landlock.restrict((), ())
