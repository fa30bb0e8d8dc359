"""Running some parts of the bench, or all of them: one after the other, each in a directory of its own."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from tests.bench.figures import Told
from tests.bench.short import QUICK

failed: list[str] = []  # parts of this run that did not come to their end
Part = Callable[[Path], Iterable[Told]]


def options(program: str, told: str, parts: list[str], quick: Collection[str] = ()) -> set[str]:
    """Which parts are asked for: all, or in a quick run those of `quick`."""
    parser = asking(program, told, parts)
    return asked(parser, parser.parse_args(), parts, quick)


def asking(program: str, told: str, parts: list[str]) -> argparse.ArgumentParser:
    """Options of every bench."""
    parser = argparse.ArgumentParser(prog=program, description=told.splitlines()[0])
    parser.add_argument("--only", default="", help=f"some of {','.join(parts)}")
    parser.add_argument("--quick", action="store_true", help="a little of each, to see that it runs")
    return parser


def asked(parser: argparse.ArgumentParser, told: argparse.Namespace, parts: list[str],
          quick: Collection[str] = ()) -> set[str]:
    named = set(filter(None, told.only.split(",")))
    if unknown := named - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    return named or set(quick if QUICK and quick else parts)


def is_whole(asked: set[str], parts: Collection[str]) -> bool:
    """Only such a run is kept, and only if all parts came to their end."""
    return asked >= set(parts) and not QUICK and not failed


def end() -> None:
    """Says by the exit code whether all parts came to their end."""
    if failed:
        sys.exit(f"these parts failed: {', '.join(failed)}")


def measured(parts: Mapping[str, Part], asked: set[str]) -> list[Told]:
    """What each part told. Each line is said as soon as it is known, on the standard error.

    A part that fails is said aloud and costs the others nothing: a run of many minutes keeps what it measured.
    """
    told: list[Told] = []
    for name in (each for each in parts if each in asked):
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as directory:
            try:
                for each in parts[name](Path(directory)):
                    told.append(each)
                    print(each, file=sys.stderr, flush=True)
            except Exception:
                failed.append(name)
                traceback.print_exc()
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    return told
