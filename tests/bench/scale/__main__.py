"""`python -m tests.bench.scale`: does it stay as fast when it has grown, and does it go on when half of it is killed?

    python -m tests.bench.scale [--only people,logs,nodes] [--quick]

Ten signatories against 100,000; a log that just began against one of 1,000,000 and one of 5,000,000 entries, on SQLite
and PostgreSQL; two nodes on one token and one PostgreSQL, one of them killed under load. A whole run is kept in
`var/proof/scale.json`; it takes some twenty minutes and 25 GB of disk.
"""

from __future__ import annotations

from dataclasses import asdict

from tests.bench import aims, running
from tests.bench.figures import as_json, table
from tests.bench.scale import logs, nodes, people
from tests.support import campaign

PARTS: dict[str, running.Part] = {"people": people.measure, "logs": logs.measure, "nodes": nodes.measure}


def main() -> None:
    asked = running.options("python -m tests.bench.scale", str(__doc__), list(PARTS))
    told = running.measured(PARTS, asked)
    judged = aims.of_scale(told)
    print(table(told) + "\n\n" + aims.table(judged))
    keep = campaign.keep if running.is_whole(asked, PARTS) else campaign.tell
    keep("scale", **as_json(told), aims=[asdict(each) for each in judged])
    running.end()


if __name__ == "__main__":
    main()
