"""Figures for those who answer for the server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from signing_service import reports
from signing_service.cli.session import Session, held
from signing_service.errors import Invalid
from signing_service.inspection import Reader
from signing_service.reports import Monthly

app = typer.Typer(no_args_is_help=True, help="Figures for those who answer for the server.")
COLUMNS = ("agency_code", "document_type", "submitted", "signed", "refused", "withdrawn", "expired", "denied",
           "failed", "open", "median_seconds", "p90_seconds")


@app.command()
def monthly(
    context: typer.Context,
    month: Annotated[str, typer.Argument(help="Such as 2026-11", metavar="MONTH")],
    csv: Annotated[Path | None, typer.Option(help="Write the lines to this file, for a spreadsheet")] = None,
) -> None:
    """What was submitted and signed in a month, and which certificates end soon."""
    session = held(context)
    made = reports.monthly(session.db, Reader(session.actor), session.now(), month, session.settings.timezone)
    if csv is not None:
        _write(csv, reports.as_csv(made))
    if session.screen.as_json:
        session.screen.record("", asdict(made))
    else:
        _show(session, made)


def _show(session: Session, made: Monthly) -> None:
    session.screen.rows(f"{made.month} ({made.timezone})", COLUMNS, [asdict(line) for line in made.lines])
    session.screen.say(f"{made.turned_away} submissions were turned away by the policy.")
    columns = ("credential_id", "agency_code", "signatory", "not_after")
    session.screen.rows("Certificates that end soon", columns, [asdict(each) for each in made.expiring])


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}.", code="file") from error
