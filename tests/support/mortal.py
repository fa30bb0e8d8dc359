"""A service whose processes are killed by the hundred, at calls that are counted, and are back at once.

    service = Mortal(directory, url)
    service.start()
    service.boards["signer"].begin(fatal=17)      # the signer dies instead of making its 17th call
    service.everyone.begin(fatal=17)              # all of them do, instead of the 17th call of any of them
    ...
    service.revive()                              # whoever is dead is started again

Every signature is also in the device's own log: `ground_truth.joined(service.spy_logs, service.db)`.
"""

from __future__ import annotations

import os
from pathlib import Path

from signing_service.errors import SigningError
from signing_service.wire.client import ask_once
from signing_service.wire.messages import Health, HealthReport
from tests.support.hatchery import Hatchery
from tests.support.last_call import Board, compiled
from tests.support.service import ROOT, Running, Service, until


class Mortal(Service):
    """Forked from one process that has imported everything. Boards count what each calls."""

    def __init__(self, directory: Path, url: str, *, fronts: int = 1, spied: bool = True,
                 told: dict[str, dict[str, str]] | None = None) -> None:
        """`told`: what is in the environment of one process, by its name, and of no other."""
        super().__init__(directory, url, fronts=fronts, spied=spied)
        self._told = told or {}
        names = ("signer", "jobs", *(f"front{number}" for number in range(fronts)))
        self.boards = {name: Board(directory / f"{name}.board") for name in names}
        self.everyone = Board(directory / "everyone.board")
        self._hatchery = Hatchery({"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default",
                                   "LD_PRELOAD": str(compiled(directory))}, ROOT, directory)
        self._group = 0

    def run(self, name: str) -> Running:
        environment = self.environment() | {"LAST_CALL": str(self.boards[name].path),
                                            "LAST_CALL_OF_ALL": str(self.everyone.path)} | self._told.get(name, {})
        if name.startswith("front"):
            environment["SIGNING_LISTEN_PORT"] = str(self.ports[int(name.removeprefix("front"))])
        log = self.directory / f"{name}.log"
        process = self._hatchery.hatch([name.rstrip("0123456789")], environment, log, self._armed(name), self._group)
        self._group = self._group or process.pid
        self.running[name] = Running(process, log)
        return self.running[name]

    @property
    def dead(self) -> list[str]:
        return [name for name, running in self.running.items() if running.process.poll() is not None]

    def revive(self) -> list[str]:
        """Start again whoever is dead, and wait until they answer. Returns who that was."""
        dead = self.dead
        if len(dead) == len(self.running):
            self._group = 0
        for name in dead:
            self.run(name)
        if "signer" in dead:
            until(self._signer_answers, what="the signer answers")
        for name in dead:
            if name.startswith("front"):
                self.await_ready(int(name.removeprefix("front")))
        return dead

    def workers(self, front: str) -> list[int]:
        """The process ids of those that look at, prepare and complete documents for this front."""
        return self._hatchery.workers(self.running[front].process.pid)

    def _signer_answers(self) -> bool:
        try:
            ask_once(self.directory / "sign.sock", Health(), HealthReport, deadline=5)
        except SigningError:
            assert not self.dead, self.running["signer"].log.read_text()[-3000:]
            return False
        return True

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._hatchery.close()

