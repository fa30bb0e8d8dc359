"""What the signer knows of itself. Reporting never waits: the chores look, and this remembers."""

from __future__ import annotations

import threading

from hsm.errors import DeviceError
from signing_service.metrics import READY
from signing_service.signer.runtime import Runtime
from signing_service.wire.messages import Condition

NAMES = {"lease": "signer-database", "sequence": "log", "reconcile": "reconcile", "device": "device"}


class Watch:
    """The last word on each dependency; a condition nobody has looked at yet is not good."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._lock = threading.Lock()
        self._conditions = {name: Condition(name, False, "not looked at yet") for name in NAMES.values()}

    def went_well(self, chore: str) -> None:
        self._set(Condition(NAMES[chore], True, "ok"))

    def went_wrong(self, chore: str, why: str) -> None:
        self._set(Condition(NAMES[chore], False, why[:300]))

    def _set(self, condition: Condition) -> None:
        with self._lock:
            self._conditions[condition.name] = condition
        READY.labels(condition.name).set(1 if condition.ok else 0)

    def look_at_device(self) -> None:
        """Prove that the device signs, and reconnect where it was lost. Raises DeviceError."""
        try:
            self._rt.device.recover()
        except DeviceError:
            self.went_wrong("device", "the device does not answer")
            raise

    def conditions(self) -> tuple[Condition, ...]:
        with self._lock:
            return tuple(self._conditions.values())
