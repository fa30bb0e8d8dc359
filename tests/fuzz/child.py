"""One target in a process of its own, driven by atheris until its time is over. `__main__` starts it.

    python -m tests.fuzz.child TARGET FOLDER SECONDS

What comes out that is none of our kinds is kept in FOLDER/findings with its traceback, once for each place it comes
from, and the campaign goes on. What costs more than a pdf worker may cost is kept in FOLDER/costly.
"""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import atheris

from tests.fuzz.limits import TooCostly, limited
from tests.fuzz.target import TARGETS, Target, load

CPU_SECONDS: Final = 3.0    # as `Limits.look_cpu_seconds`, and counting branches makes everything some times slower
MEMORY: Final = 1 << 30     # beyond what is there when the target is loaded
SILENCE: Final = 5.0        # seconds between two notes of what was found


class Watched:
    """A target under limits, and what became of its inputs."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target, self._folder = target, folder
        self._words: collections.Counter[str] = collections.Counter()
        self._told = 0.0

    def __call__(self, data: bytes) -> None:
        try:
            with limited(CPU_SECONDS):
                word = self._target.run(data)
        except TooCostly:
            self._keep("costly", data, "cpu")
            word = "costly"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # anything that is not ours is why we are here, a library's panic too
            self._keep("findings", data, _where(error), traceback.format_exc())
            word = "finding"
        self._words[word] += 1
        self._tell()

    def _keep(self, kind: str, data: bytes, where: str, story: str = "") -> None:
        folder = self._folder / kind
        folder.mkdir(exist_ok=True)
        name = f"{where}-{hashlib.sha256(data).hexdigest()[:12]}"
        known = [path for path in folder.glob(f"{where}-*") if path.suffix != ".txt"]
        if len(known) < (1 if story else 40):
            (folder / name).write_bytes(data)
            (folder / f"{name}.txt").write_text(story, encoding="utf-8", errors="backslashreplace")

    def _tell(self) -> None:
        if time.monotonic() - self._told > SILENCE:
            self._told = time.monotonic()
            (self._folder / "words.json").write_text(json.dumps(self._words.most_common(40)), encoding="utf-8")


def _where(error: BaseException) -> str:
    """The kind of error and the innermost place, as a file's name."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}-{Path(frame.filename).stem}-{frame.lineno}"


def _mutator(target: Target) -> Callable[[bytes, int, int], bytes]:
    """Ours, which knows the format, and libFuzzer's, which knows what it has compared: half and half.

    One in four starts from a seed again: what a library in C makes of two of them looks alike from Python, and of
    what looks alike libFuzzer keeps one.
    """
    seeds = target.seeds()

    def mutated(data: bytes, size: int, seed: int) -> bytes:
        rng = Random(seed)
        data = rng.choice(seeds) if rng.random() < 0.25 else data
        changed: bytes = target.mutate(data, rng) if rng.random() < 0.5 else atheris.Mutate(data, size)
        return changed[:size]
    return mutated


def main() -> None:
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    logging.disable()
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=list(TARGETS[name].counted)):
        target = load(name)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, resource.RLIM_INFINITY))
    inputs = folder / "inputs"
    arguments: list[Any] = [
        sys.argv[0], str(inputs), f"-max_total_time={seconds}", f"-max_len={target.largest}", "-timeout=60",
        f"-rss_limit_mb={(used + 2 * MEMORY) >> 20}", f"-artifact_prefix={folder}/", "-print_final_stats=1",
        "-len_control=0",
    ]
    atheris.Setup(arguments, Watched(target, folder), custom_mutator=_mutator(target))
    atheris.Fuzz()


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
