"""Run a story in a process of its own: because it breaks the device, or might crash the process.

The function is found by name in the child, so it lives in a module under `tests/support/`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_child(story: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the story returns or raises; a child that crashed raises BrokenProcessPool. Spawned, never forked."""
    return in_child_for(120, story, *args, **kwargs)


def in_child_for(seconds: float, story: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for a story that may take so long."""
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        return pool.submit(story, *args, **kwargs).result(timeout=seconds)
