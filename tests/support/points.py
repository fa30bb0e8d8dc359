"""The calls at which a process is to be killed, and those at which it was: several runs of a campaign add up.

    points = Points.of("signer", "sqlite", measure=lambda: story.calls("signer"))
    done = crashes(story, "signer", points.left(), within=60)
    points.add(done, story.settle())              # only what was looked at afterwards counts
    campaign.proven("crash-signer-sqlite", **points.figures)

They are counted once, when a campaign begins: the n-th call of a signing that nobody dies in. A life in which less
goes on beside it may end before its n-th call; such a point is tried again, TRIES times, and is then said to be out of
reach.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import campaign

KEPT = campaign.KEPT / "points"
TRIES = 4


@dataclass
class Done:
    """What one run did: the call that was not made, by its number, and the numbers that were not reached."""

    struck: dict[int, str] = field(default_factory=dict)
    missed: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def lives(self) -> int:
        return len(self.struck) + len(self.missed)


@dataclass
class Points:
    """Of one victim on one database."""

    path: Path
    calls: list[str]
    struck: dict[int, str] = field(default_factory=dict)
    missed: Counter[int] = field(default_factory=Counter)
    lives: int = 0
    seconds: float = 0.0
    settled: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, victim: str, database: str, measure: Callable[[], list[str]]) -> Points:
        """As the last run left them; else they are measured."""
        path = KEPT / f"{victim}-{database}.json"
        if not path.exists():
            return cls(path, measure())
        kept = json.loads(path.read_text())
        return cls(path, kept["calls"], _numbered(kept["struck"]), Counter(_numbered(kept["missed"])),
                   kept["lives"], kept["seconds"], kept["settled"])

    def left(self) -> list[int]:
        """In a drawn order, so that what is cut short has been everywhere; first those that were never tried."""
        numbers = [each for each in range(1, len(self.calls) + 1)
                   if each not in self.struck and self.missed[each] < TRIES]
        random.Random(str(self.path.name)).shuffle(numbers)
        return sorted(numbers, key=lambda each: self.missed[each])

    def add(self, done: Done, settled: dict[str, Any]) -> None:
        """`settled`: what was found when everything was looked at afterwards."""
        self.struck |= done.struck
        self.missed.update(done.missed)
        self.lives += done.lives
        self.seconds += done.seconds
        self.settled = _sum(self.settled, settled)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"calls": self.calls, "struck": self.struck, "missed": self.missed,
                                   "lives": self.lives, "seconds": self.seconds, "settled": self.settled}))
        new.rename(self.path)

    @property
    def figures(self) -> dict[str, object]:
        return {
            "points": len(self.calls), "killed_at": len(self.struck), "left": len(self.left()),
            "out_of_reach": sum(each not in self.struck and tries >= TRIES for each, tries in self.missed.items()),
            "kinds_of_call": len(set(self.calls)), "kinds_killed_at": dict(Counter(self.struck.values())),
            "lives": self.lives, "seconds_each": round(self.seconds / max(1, self.lives), 2), **self.settled,
        }


def _numbered(kept: dict[str, Any]) -> dict[int, Any]:
    return {int(number): value for number, value in kept.items()}


def _sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Figures added, also within figures."""
    return {name: _sum(one.get(name, {}), other.get(name, {})) if isinstance(one.get(name, other.get(name)), dict)
            else one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def less(all_of_it: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What has been added since, also within figures."""
    return {name: less(value, before.get(name, {})) if isinstance(value, dict) else value - before.get(name, 0)
            for name, value in all_of_it.items()}
