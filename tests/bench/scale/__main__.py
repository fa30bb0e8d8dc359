"""`python -m tests.bench.scale`: does it stay as fast when it has grown, and does it go on when half of it is killed?

    python -m tests.bench.scale [--only residents,people,logs,nodes] [--keep FOLDER [--make]] [--quick]

Ten signatories against 100,000; a log that just began against one of 5,000,000 entries, on SQLite and PostgreSQL; two
nodes on one token and one PostgreSQL, one of them killed under load; and what it costs to keep keys in the device. A
whole run is kept in `var/proof/scale.json`.

Making people and entries takes some twenty minutes and 25 GB of disk, measuring them ten. With `--keep` what was made
stays in a folder and is used again; with `--make` as well it is made, and nothing is measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.bench import aims, running
from tests.bench.figures import as_json, table
from tests.bench.scale import logs, nodes, people, residents
from tests.bench.scale.kept import Kept
from tests.support import campaign

PARTS = {"residents": residents.measure, "people": people.measure, "logs": logs.measure, "nodes": nodes.measure}


def main() -> None:
    asking = running.asking("python -m tests.bench.scale", str(__doc__), list(PARTS))
    asking.add_argument("--keep", type=Path, help="a folder: what is made stays in it, what is in it is used again")
    asking.add_argument("--make", action="store_true", help="make what is to be kept, and measure nothing")
    told = asking.parse_args()
    asked = running.asked(asking, told, list(PARTS))
    with _kept(told.keep) as kept:
        if told.make:
            kept.make(people.MANY, logs.SIZES)
        else:
            _measure(kept, asked)


@contextmanager
def _kept(folder: Path | None) -> Iterator[Kept]:
    if folder is not None:
        yield Kept.staying(folder.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="scale-", ignore_cleanup_errors=True) as made:
        yield Kept(Path(made))


def _measure(kept: Kept, asked: set[str]) -> None:
    told = running.measured({name: partial(part, kept) for name, part in PARTS.items()}, asked)
    judged = aims.of_scale(told)
    print(table(told) + "\n\n" + aims.table(judged))
    keep = campaign.keep if running.is_whole(asked, PARTS) else campaign.tell
    keep("scale", **as_json(told), aims=[asdict(each) for each in judged])
    running.end()


if __name__ == "__main__":
    main()
