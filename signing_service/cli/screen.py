"""Showing: tables for people, one JSON document for programs. Nothing shown can steer the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from signing_service.errors import Denied, Invalid, NotAuthorized, SigningError

Row = Mapping[str, Any]
WIDE = 250  # characters of a line in a file or a pipe: ids stay whole for grep


class Screen:
    """Where a command shows its answer: standard output; everything said on the way goes to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def record(self, title: str, row: Row) -> None:
        """One thing with its properties."""
        if self.as_json:
            self._dump(row)
            return
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        for name, value in row.items():
            table.add_row(Text(name if name.isupper() else name.replace("_", " "), style="dim"), Text(plain(value)))
        self.out.print(table)

    def rows(self, title: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Many things of one kind."""
        listed = list(rows)
        if self.as_json:
            self._dump([{name: row[name] for name in columns} for row in listed])
            return
        table = Table(title=f"{title} ({len(listed)})", title_justify="left", title_style="bold", header_style="dim")
        for name in columns:
            table.add_column(name.replace("_", " "), overflow="fold")
        for row in listed:
            table.add_row(*(Text(plain(row[name])) for name in columns))
        self.out.print(table)

    def text(self, text: str) -> None:
        """Words as they are: a PEM, a policy's explanation."""
        print("\n".join(plain(line) for line in text.splitlines()))

    def say(self, sentence: str, style: str = "") -> None:
        """Something for the person who watches; programs do not see it."""
        if not self.as_json:
            self.err.print(Text(plain(sentence), style=style))

    def refusal(self, error: SigningError) -> None:
        """Why not, in full."""
        details = list(_details(error))
        if self.as_json:
            self._dump({"error": {"code": error.code, "message": error.message, "details": details}})
            return
        self.err.print(f"[red]✗[/red] {escape(plain(error.message))}")
        for detail in details:
            self.err.print(f"  [dim]·[/dim] {escape(plain(detail))}")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        """A bar with one task; silent for programs and where nobody looks."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.err, disable=self.as_json or not self.err.is_terminal) as bar:
            bar.add_task(what, total=total)
            yield bar

    def _dump(self, value: Any) -> None:
        json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=_jsonable)
        sys.stdout.write("\n")


def plain(value: object) -> str:
    """Text for a terminal: escape sequences and characters that change the direction of writing are spelled out."""
    if value is None:
        return "–"
    text = _jsonable(value) if isinstance(value, datetime) else str(value)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _jsonable(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _details(error: SigningError) -> Iterator[str]:
    if isinstance(error, Invalid):
        yield from (f"{field.field}: {field.message}" for field in error.errors if field.message not in error.message)
    if isinstance(error, Denied):
        yield from (f"{reason.rule}: {reason.why}" for reason in error.findings)
    if isinstance(error, NotAuthorized) and error.tries_left is not None:
        yield f"tries left: {error.tries_left}"
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        yield f"try again in {retry_after} s"
