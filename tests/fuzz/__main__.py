"""Coverage-guided fuzzing of what parses: `python -m tests.fuzz TARGET --seconds 600`, or `--list`.

Afterwards `--keep` makes the campaign's inputs smaller and puts them under corpus/, where the tests replay them.
"""

from __future__ import annotations

import argparse
import json

from tests.fuzz import campaign, smaller
from tests.fuzz.target import TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep", action="store_true", help="only keep what an earlier campaign found")
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args()
    if asked.list or asked.target is None:
        print("\n".join(TARGETS))
    elif asked.keep:
        print(smaller.keep(asked.target), "inputs kept")
    else:
        print(json.dumps(vars(campaign.run(asked.target, asked.seconds)), ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
