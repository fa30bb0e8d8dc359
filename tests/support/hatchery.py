"""Our processes, forked from one that has prepared everything: a killed one is back in a fraction of a second.

    hatchery = Hatchery({"PATH": ..., "PYTHONPATH": ...})
    process = hatchery.hatch(["signer"], environment, log, armed)    # as `killing` runs it; like a Popen
    hatchery.workers(process.pid)                                    # a front's pdf workers, forked as well (`nursery`)
    hatchery.close()                                                 # whoever is left is killed

What is forked has imported modules, read the signatures of all commands and compiled the screens, and has neither
threads nor files, sockets or a device yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from pathlib import Path

from tests.support import nursery

PARTS = ("signing_service.cli.main", "signing_service.cli.web", "signing_service.signer.process",
         "signing_service.front.jobs", "signing_service.front.runtime", "signing_service.front.app",
         "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.psycopg", "uvicorn.server",
         "uvicorn.protocols.http.h11_impl", "tests.support.killing", *nursery.PARTS)
PR_SET_PDEATHSIG = 1  # prctl(2)


class Hatched:
    """One forked process, as much like `subprocess.Popen` as its users need."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """None while it lives. How it ended only its parent knows: -1."""
        return self._ended(0)

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._handle], [], [], seconds)[0]:
            self.returncode = -1
            os.close(self._handle)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        ended = self._ended(timeout)
        if ended is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return ended

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Hatchery:
    """The process that forks; it ends, and all of its own with it, when we do."""

    def __init__(self, environment: dict[str, str], cwd: Path, directory: Path) -> None:
        self._nursery = directory / "nursery.sock"
        self._parent = subprocess.Popen([sys.executable, "-m", "tests.support.hatchery", str(self._nursery)], cwd=cwd,
                                        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def hatch(self, command: list[str], environment: dict[str, str], log: Path, armed: Path, group: int = 0) -> Hatched:
        """Into the process group `group`, or one of its own."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        order = {"command": command, "environment": environment | {"KILLING_NURSERY": str(self._nursery)},
                 "log": str(log), "armed": str(armed), "group": group}
        self._parent.stdin.write(json.dumps(order).encode() + b"\n")
        self._parent.stdin.flush()
        return Hatched(int(self._parent.stdout.readline()))

    def workers(self, front: int) -> list[int]:
        """The process ids of those of this front that look at, prepare and complete documents."""
        return nursery.workers(self._nursery, front)

    def close(self) -> None:
        self._parent.communicate()


def main() -> None:
    import importlib

    for part in PARTS:
        importlib.import_module(part)
    _prepare()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they must not stay as zombies
    hatched = [_nurse(sys.argv[1])]
    for line in sys.stdin:
        hatched.append(_fork(json.loads(line)))
        print(hatched[-1], flush=True)
    for pid in hatched:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _prepare() -> None:
    """What each of them would do again at its start, and what no crash can change."""
    import gc

    from signing_service.cli import main as commands
    from signing_service.front.web import pages

    commands._command()
    list(pages.warmed())
    gc.collect()
    gc.freeze()  # the pages of memory stay shared


def _nurse(path: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)
    try:
        nursery.nurse(path)
    finally:
        os._exit(70)


def _fork(order: dict[str, object]) -> int:
    pid, group = os.fork(), order["group"]
    assert isinstance(group, int)
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has died, or its group has: see `_become`
            os.setpgid(pid, group or pid)  # here as well: who is forked next may join it at once
        return pid
    try:
        _become(order)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)  # never back into the loop above


def _become(order: dict[str, object]) -> None:
    group = order["group"]
    assert isinstance(group, int)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whoever ended the hatchery did not mean to leave us
    with contextlib.suppress(ProcessLookupError, PermissionError):  # its members have died: a group of its own
        os.setpgid(0, group)
    if os.getpgid(0) == os.getpgid(os.getppid()):
        os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for new, old in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(new, old)
    os.environ.clear()
    os.environ.update(order["environment"])  # type: ignore[call-overload]  # of strings, as `hatch` wrote it
    from tests.support import killing

    try:
        killing.main(str(order["armed"]), *order["command"])  # type: ignore[misc]  # a list, as `hatch` wrote it
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 1)


if __name__ == "__main__":
    main()
