"""How many refusals are put on record: a front that was taken over does not fill the log with them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta

AT_ONCE = 30                    # refusals on record without a pause
EVERY = timedelta(seconds=10)   # then one in so long: 8,640 a day, whoever sends how many


@dataclass
class Bound:
    """What is left of the places on record; the rest is counted and told with the next one."""

    left: float = AT_ONCE
    at: datetime | None = None
    unrecorded: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def admits(self, now: datetime) -> int | None:
        """How many were left out since the last one that was admitted; None where this one is left out, too."""
        with self.lock:
            if self.at is not None:
                self.left = min(AT_ONCE, self.left + max(0.0, (now - self.at) / EVERY))
            self.at = now
            if self.left < 1:
                self.unrecorded += 1
                return None
            self.left -= 1
            missed, self.unrecorded = self.unrecorded, 0
            return missed
