"""A corpus made smaller: of all inputs that a campaign reached something with, as few as take the same branches.

Branches as any Python can count them, from line to line; libFuzzer's own merging needs the build that it instrumented.
"""

from __future__ import annotations

import logging
import sys
import warnings
from types import FrameType
from typing import Any

from tests.fuzz import corpora
from tests.fuzz.campaign import FOLDER
from tests.fuzz.limits import TooCostly, limited
from tests.fuzz.target import TARGETS, Target, load

Branch = tuple[str, int, int]


class Branches:
    """From which line to which the counted modules ran."""

    def __init__(self, counted: tuple[str, ...]) -> None:
        self._counted = counted
        self.taken: set[Branch] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not str(frame.f_globals.get("__name__", "")).startswith(self._counted):
            return None
        last, name, taken = [-1], frame.f_code.co_filename, self.taken

        def line(here: FrameType, what: str, value: Any) -> Any:
            if what == "line":
                taken.add((name, last[0], here.f_lineno))
                last[0] = here.f_lineno
            return line
        return line


def keep(name: str) -> int:
    """Put what the last campaign reached under corpus/, the smallest inputs first; says how many are left."""
    logging.disable()
    warnings.simplefilter("ignore")
    target = load(name)
    inputs = {path.read_bytes() for path in (FOLDER / name / "inputs").iterdir()} | set(corpora.inputs(name))
    return corpora.keep(name, _needed(target, inputs - set(target.seeds()), TARGETS[name].counted))


def _needed(target: Target, inputs: set[bytes], counted: tuple[str, ...]) -> list[bytes]:
    seen: set[Branch] = set()
    for each in target.seeds():
        seen |= _taken(target, each, counted)
    needed = []
    for each in sorted(inputs, key=lambda data: (len(data), data)):
        taken = _taken(target, each, counted)
        if taken - seen:
            seen |= taken
            needed.append(each)
    return needed


def _taken(target: Target, data: bytes, counted: tuple[str, ...]) -> set[Branch]:
    """None for what costs too much: a corpus is replayed in every run of the tests."""
    branches = Branches(counted)
    sys.settrace(branches)
    try:
        with limited(1.0):
            target.run(data)
    except TooCostly:
        return set()
    finally:
        sys.settrace(None)
    return branches.taken
