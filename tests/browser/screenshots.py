"""`make screenshots`: every page and state as the stories of this folder come across them, on one sheet.

    python -m tests.browser.screenshots [--directory var/screenshots] [--pictures docs/pictures]

The stories are told with an album open (`tests.support.browser.ALBUM`), so a picture shows what a test has just judged.
With `--pictures` a few of them are made small and put where the guides find them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from tests.support.browser import ALBUM

ROOT = Path(__file__).parents[2]
LARGEST = 60_000  # bytes of a picture in the guides
COLOURS = 64
CHOSEN = {  # name in the guides -> name in the album, and how much of it is shown
    "waiting.png": ("waiting.phone.vi.light.png", 740),
    "document.png": ("document.phone.vi.light.png", 1160),
    "signed.png": ("signed.phone.vi.light.png", 740),
    "search.png": ("search-results.desktop.en.light.png", 1400),
    "story.png": ("story.desktop.en.light.png", 1000),
    "trust.png": ("trust-proven.desktop.en.light.png", 850),
    "figures.png": ("figures.desktop.en.light.png", 1000),
}

SHEET = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Every page and state</title><style>
body {{ font: 15px system-ui, sans-serif; margin: 1.5rem; background: #eceff2; color: #15202b }}
section {{ margin: 0 0 2rem }} h2 {{ font-size: 1.05rem }} div {{ display: flex; flex-wrap: wrap; gap: 1rem }}
figure {{ margin: 0 }} figcaption {{ font-size: .8rem; color: #445 }}
img {{ height: 380px; max-width: 620px; object-fit: cover; object-position: top; border: 1px solid #aab }}
</style></head><body><h1>Every page and state</h1><p>{count} pictures of {pages} states.</p>{sections}</body></html>
"""


@dataclass(frozen=True)
class Picture:
    """One screenshot; its file is named state.glass.language.scheme.png."""

    file: Path

    @property
    def state(self) -> str:
        return self.file.name.split(".")[0]

    @property
    def caption(self) -> str:
        return " · ".join(self.file.name.split(".")[1:-1])


def main() -> int:
    """0 when every story held: a picture of what is wrong is still made, but not called good."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--directory", type=Path, default=ROOT / "var" / "screenshots")
    asked.add_argument("--pictures", type=Path)
    asked.add_argument("--workers", default="2")
    options = asked.parse_args()
    held = take(options.directory, options.workers)
    print(f"{write_sheet(options.directory)} shows {len(pictures(options.directory))} pictures")
    if options.pictures:
        for name, (shot, height) in CHOSEN.items():
            made = shrink(options.directory / shot, options.pictures / name, height)
            print(f"{made}: {made.stat().st_size:,} bytes")
    return held


def take(directory: Path, workers: str) -> int:
    """Tell every story with the album open, into an empty directory. The exit code of the tests."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "--dist", "loadfile", "tests/browser",
               "--ignore=tests/browser/test_the_judge.py"]  # its pages are none of ours
    return subprocess.run(command, cwd=ROOT, env=os.environ | {ALBUM: str(directory.resolve())}, check=False).returncode


def pictures(directory: Path) -> list[Picture]:
    return [Picture(file) for file in sorted(directory.glob("*.*.*.*.png"))]


def write_sheet(directory: Path) -> Path:
    """`index.html`: a row for each state, with all its pictures."""
    states: defaultdict[str, list[Picture]] = defaultdict(list)
    for picture in pictures(directory):
        states[picture.state].append(picture)
    sections = "\n".join(_section(state, found) for state, found in sorted(states.items()))
    sheet = directory / "index.html"
    count = sum(map(len, states.values()))
    sheet.write_text(SHEET.format(count=count, pages=len(states), sections=sections), encoding="utf-8")
    return sheet


def _section(state: str, found: list[Picture]) -> str:
    figures = "".join(
        f'<figure><a href="{escape(each.file.name)}"><img src="{escape(each.file.name)}" loading="lazy" '
        f'alt="{escape(state)}"></a><figcaption>{escape(each.caption)}</figcaption></figure>' for each in found)
    return f'<section id="{escape(state)}"><h2>{escape(state)}</h2><div>{figures}</div></section>'


def shrink(shot: Path, target: Path, height: int) -> Path:
    """A picture for the guides: its upper part in few colours, and smaller until it is small enough."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(shot) as opened:
        image = opened.convert("RGB").crop((0, 0, opened.width, min(height, opened.height)))
    while True:
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
        if target.stat().st_size <= LARGEST:
            return target
        image = image.resize((image.width * 9 // 10, image.height * 9 // 10), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    sys.exit(main())
