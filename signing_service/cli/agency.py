"""Agencies: the bodies that issue documents."""

from __future__ import annotations

from typing import Annotated

import typer

from signing_service import register
from signing_service.cli.session import held
from signing_service.register import NewAgency

app = typer.Typer(no_args_is_help=True, help="The bodies that issue documents.")


@app.command()
def add(
    context: typer.Context,
    code: Annotated[str, typer.Argument(help="The agency's identification code, such as H26.1.2")],
    name: Annotated[str, typer.Argument(help="Its full name")],
    level: Annotated[str, typer.Option(help="A word that policies ask for, such as city, department, ward")],
    parent: Annotated[str | None, typer.Option(help="The code of the agency it belongs to")] = None,
) -> None:
    """Enter an agency. From now on documents can be issued in its name."""
    session = held(context)
    register.add_agency(session.db, session.actor, session.now(), NewAgency(code, name, level, parent))
    session.screen.record("Agency", {"code": code, "name": name, "level": level, "parent_code": parent})


@app.command("list")
def show(context: typer.Context) -> None:
    """Every agency, also those that have ended."""
    session = held(context)
    columns = ("code", "name", "level", "parent_code", "valid_from", "valid_to")
    session.screen.rows("Agencies", columns, register.agencies(session.db))


@app.command()
def close(context: typer.Context, code: Annotated[str, typer.Argument(help="The agency's code")]) -> None:
    """End an agency, as when it is merged: it issues nothing more, and its past stays."""
    session = held(context)
    register.close_agency(session.db, session.actor, session.now(), code)
    session.screen.record("Agency", {"code": code, "state": "closed"})
