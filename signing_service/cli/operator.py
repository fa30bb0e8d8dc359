"""Operators: the people who run the server, each with a code of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signing_service import register
from signing_service.cli.acts import act
from signing_service.cli.enrolment import check_new, show_seed
from signing_service.cli.session import Session, held
from signing_service.wire.client import ask_once
from signing_service.wire.messages import AddOperator, Bootstrap, Done, SetOperatorState

app = typer.Typer(no_args_is_help=True, help="The people who run the server.")
Who = Annotated[str, typer.Argument(help="An operator's id or name", metavar="OPERATOR")]
Picture = Annotated[Path | None, typer.Option("--qr", help="Write the QR code to this PNG file as well")]


def bootstrap(
    context: typer.Context, name: Annotated[str, typer.Argument(help="The first operator's name")], qr: Picture = None,
) -> None:
    """Make the first operator. Works once, on a database that has none.

    Scan what is shown, then `signing-service code complete ID CODE` proves that the phone has it.
    """
    session = held(context)
    check_new(qr)
    result = ask_once(session.settings.admin_socket, Bootstrap(name=name), Done).results[0]
    show_seed(session, "First operator", result, qr)


@app.command()
def add(context: typer.Context, name: Annotated[str, typer.Argument(help="Their name")], qr: Picture = None) -> None:
    """Add an operator and show the seed of their codes, this once."""
    session = held(context)
    check_new(qr)
    show_seed(session, "Operator", act(session, f"Add the operator {name}", AddOperator(name=name))[0], qr)


@app.command("list")
def show(context: typer.Context) -> None:
    """Every operator."""
    session = held(context)
    session.screen.rows("Operators", ("id", "name", "state", "created_at"), register.operators(session.db))


@app.command()
def suspend(context: typer.Context, who: Who) -> None:
    """Take an operator's rights away. The last active one stays."""
    _set_state(held(context), who, "suspended")


@app.command()
def resume(context: typer.Context, who: Who) -> None:
    """Give a suspended operator their rights back."""
    _set_state(held(context), who, "active")


def _set_state(session: Session, who: str, state: str) -> None:
    found = register.find_operator(session.db, who)
    act(session, f"{found.name} becomes {state}", SetOperatorState(operator_id=found.id, state=state))
    session.screen.record("Operator", {"id": found.id, "name": found.name, "state": state})
