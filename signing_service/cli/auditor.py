"""Auditors: people who may read the record at the console, and change nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from signing_service import register
from signing_service.cli.acts import act
from signing_service.cli.session import Session, held
from signing_service.errors import Invalid
from signing_service.wire.messages import AddAuditor, SetAuditorState

app = typer.Typer(no_args_is_help=True, help="The people who may read the record.")
Who = Annotated[str, typer.Argument(help="An auditor's id or name", metavar="AUDITOR")]


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Their name")],
    agency: Annotated[list[str] | None, typer.Option(help="Whose record they may read, with those below it")] = None,
    every_agency: Annotated[bool, typer.Option("--every-agency", help="They may read everything")] = False,
) -> None:
    """Enter an auditor. They can sign in after they have opened the link of `ticket issue`."""
    session = held(context)
    if bool(agency) == every_agency:
        raise Invalid("Name the agencies, or say --every-agency.", code="agencies")
    agencies = (register.EVERY_AGENCY,) if every_agency else tuple(agency or ())
    result = act(session, f"Add the auditor {name}", AddAuditor(name=name, agencies=agencies))[0]
    session.screen.record("Auditor", {"id": result.id, "name": name, "agencies": list(agencies)})


@app.command("list")
def show(context: typer.Context) -> None:
    """Every auditor."""
    session = held(context)
    columns = ("id", "name", "agencies", "state", "created_at")
    session.screen.rows("Auditors", columns, register.auditors(session.db))


@app.command()
def suspend(context: typer.Context, who: Who) -> None:
    """From this moment they read nothing and cannot sign in."""
    _set_state(held(context), who, "suspended")


@app.command()
def resume(context: typer.Context, who: Who) -> None:
    """Let a suspended auditor read again."""
    _set_state(held(context), who, "active")


def _set_state(session: Session, who: str, state: str) -> None:
    auditor_id, name = register.find_auditor(session.db, who)
    act(session, f"{name} becomes {state}", SetAuditorState(auditor_id=auditor_id, state=state))
    session.screen.record("Auditor", {"id": auditor_id, "name": name, "state": state})
