"""`make bench`: what one signature costs at each layer, side by side in one run, as ratios of figures of that run.

    python -m tests.bench [--only device,signer,http,stock,pdfbox,memory,searching,screens] [--quick]

Machines are noisy and unlike each other, so a rate alone says little; ratios say what is left of the device's own
rate, and how others do on the same files with the same device. Everything is real: SoftHSM, a database that waits
for the disk, HTTP, PDF workers. Nothing is left out to reach a figure. A whole run is kept in `var/proof/bench.json`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from tests.bench import aims, device, large, over_http, pdfbox, screens, searching, signing, stock
from tests.bench.figures import Told, as_json, table
from tests.bench.short import QUICK
from tests.support import campaign

PARTS: dict[str, Callable[[Path], Iterable[Told]]] = {
    "device": device.measure, "signer": signing.measure, "stock": stock.measure, "pdfbox": pdfbox.measure,
    "http": over_http.measure, "memory": large.measure,
}
OF_THEIR_OWN: dict[str, Callable[[], None]] = {"searching": searching.main, "screens": screens.main}


def main() -> None:
    asked = _options()
    told: list[Told] = []
    for part in (each for each in PARTS if each in asked):
        told += _measured(part)
    print(table(told))
    judged = aims.verdicts(told)
    print("\n" + aims.table(judged))
    keep = campaign.keep if asked == {*PARTS, *OF_THEIR_OWN} and not QUICK else campaign.tell
    keep("bench", **as_json(told), aims=[asdict(each) for each in judged])
    for part in (each for each in OF_THEIR_OWN if each in asked):
        OF_THEIR_OWN[part]()


def _options() -> set[str]:
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    known = [*PARTS, *OF_THEIR_OWN]
    options.add_argument("--only", default="", help=f"some of {','.join(known)}")
    options.add_argument("--quick", action="store_true", help="a little of each, to see that it runs")
    given = options.parse_args()
    asked = set(filter(None, given.only.split(","))) or set(PARTS if given.quick else known)
    if unknown := asked - set(known):
        options.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return asked


def _measured(part: str) -> list[Told]:
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        told = list(PARTS[part](Path(directory)))
    print(f"{part}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    return told


if __name__ == "__main__":
    main()
