"""A campaign against one target: seeds and kept inputs go in, figures and a smaller corpus come out.

Everything lies in var/fuzz/<target>: inputs/ (all that reached something new), findings/, costly/, log-<n>.txt.
"""

from __future__ import annotations

import hashlib
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fuzz import corpora
from tests.fuzz.target import load

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "var" / "fuzz"
STATUS: Final = re.compile(r"^#(\d+)\s+\S+.*?cov: (\d+) ft: (\d+)", re.MULTILINE)
ENDED: Final = re.compile(r"^stat::number_of_executed_units:\s+(\d+)", re.MULTILINE)
GRACE: Final = 1_200  # seconds beyond its time that a child may take to load, replay and end


@dataclass
class Figures:
    """What a campaign did. `edges` is libFuzzer's count of branches reached; `deaths` are ends of the process."""

    executions: int = 0
    seconds: int = 0
    cpu_seconds: int = 0
    edges: int = 0
    features: int = 0
    deaths: int = 0
    costly: int = 0
    findings: list[str] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)


def run(target: str, seconds: int, below: Path = FOLDER) -> Figures:
    """Fuzz for so long, in as many processes, one after the other, as it takes."""
    folder = below / target
    for name in ("inputs", "findings", "costly"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    for each in {*load(target).seeds(), *corpora.kept(target)}:
        (folder / "inputs" / hashlib.sha256(each).hexdigest()[:20]).write_bytes(each)
    figures, started, used = Figures(), time.monotonic(), _used()
    while (left := seconds - round(time.monotonic() - started)) > 0:
        figures.deaths += _one(target, folder, left, figures)
    figures.seconds = round(time.monotonic() - started)
    figures.cpu_seconds = round(_used() - used)
    _conclude(folder, figures)
    return figures


def _used() -> float:
    """Seconds of the processor that children have had: beside others a campaign gets less than its time."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _one(target: str, folder: Path, seconds: int, figures: Figures) -> bool:
    """One process; says whether it died before its time."""
    path = folder / f"log-{figures.deaths}.txt"
    with path.open("wb") as log:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.child", target, str(folder), str(seconds)], cwd=ROOT, stdout=log,
            stderr=subprocess.STDOUT, timeout=seconds + GRACE, check=False)
    told = path.read_text(encoding="utf-8", errors="replace")
    counts = [tuple(map(int, each)) for each in STATUS.findall(told)]
    words = folder / "words.json"
    if words.exists():
        figures.words.update(dict(json.loads(words.read_text(encoding="utf-8"))))
        words.unlink()
    total = ENDED.search(told)
    figures.executions += int(total[1]) if total else max((count[0] for count in counts), default=0)
    figures.edges = max([figures.edges, *(count[1] for count in counts)])
    figures.features = max([figures.features, *(count[2] for count in counts)])
    if not counts:
        raise RuntimeError(f"the campaign against {target} did not begin:\n{told[-2000:]}")
    return ended.returncode != 0


def _conclude(folder: Path, figures: Figures) -> None:
    figures.costly = len([path for path in (folder / "costly").iterdir() if path.suffix != ".txt"])
    died = [path.name for pattern in ("crash-*", "timeout-*", "oom-*") for path in folder.glob(pattern)]
    raised = [path.name for path in (folder / "findings").iterdir() if path.suffix != ".txt"]
    figures.findings = sorted([*died, *raised])
