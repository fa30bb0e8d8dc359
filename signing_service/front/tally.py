"""Counting what one caller did lately, in memory, within bounds."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

KEYS = 10_000  # remembered at most; the one that was quiet longest is forgotten first


class Tally:
    """At most `most` events of one key in any `seconds`. Not shared between processes: each front counts its own."""

    def __init__(self, most: int, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._events: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Seconds until this key may go on; 0 when it may now."""
        events = self._fresh(key)
        return events[0] + self._seconds - self._clock() if len(events) >= self._most else 0.0

    def add(self, key: str) -> None:
        """Count one event."""
        events = self._fresh(key)
        events.append(self._clock())
        self._events[key] = events
        self._events.move_to_end(key)
        if len(self._events) > KEYS:
            self._events.popitem(last=False)

    def forgive(self, key: str, count: int) -> None:
        """Forget the oldest `count` events: what went well pays for what went wrong."""
        events = self._fresh(key)
        for _ in range(min(count, len(events))):
            events.popleft()

    def _fresh(self, key: str) -> deque[float]:
        events = self._events.get(key, deque(maxlen=self._most))
        while events and events[0] <= self._clock() - self._seconds:
            events.popleft()
        return events
