"""What the signer knows of itself. Reporting never waits: the chores look, and this remembers, and for how long."""

from __future__ import annotations

import logging
import threading
import time

from signing_service.metrics import READY
from signing_service.wire.messages import Condition

log = logging.getLogger(__name__)

STALE = 60.0  # seconds: the longest round is over by then, so a chore that is silent hangs
NAMES = {"lease": "signer-database", "sequence": "log", "reconcile": "reconcile", "device": "device",
         "clock": "clock"}


class Watch:
    """The last word on each dependency; a condition nobody has looked at yet is not good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._conditions = {name: Condition(name, False, "not looked at yet") for name in NAMES.values()}
        self._heard = dict.fromkeys(NAMES.values(), time.monotonic())

    def went_well(self, chore: str) -> None:
        self._set(Condition(NAMES[chore], True, "ok"))

    def went_wrong(self, chore: str, why: str) -> None:
        self._set(Condition(NAMES[chore], False, why[:300]))

    def _set(self, condition: Condition) -> None:
        """Logged when it changes: a device that is away for a night is two lines."""
        with self._lock:
            before = self._conditions[condition.name]
            self._conditions[condition.name] = condition
            self._heard[condition.name] = time.monotonic()
        if (condition.ok, condition.detail) != (before.ok, before.detail):
            log.log(logging.INFO if condition.ok else logging.WARNING, "%s: %s", condition.name, condition.detail)
        READY.labels(condition.name).set(1 if condition.ok else 0)

    def conditions(self) -> tuple[Condition, ...]:
        with self._lock:
            oldest = time.monotonic() - STALE
            return tuple(each if self._heard[name] >= oldest else Condition(name, False, "silent for too long")
                         for name, each in self._conditions.items())
