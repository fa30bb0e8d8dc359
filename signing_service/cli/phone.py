"""Officials' phones: which there are, and taking one out of use."""

from __future__ import annotations

from typing import Annotated

import typer

from signing_service import register
from signing_service.cli.acts import act
from signing_service.cli.session import held
from signing_service.wire.messages import RetirePhone

app = typer.Typer(no_args_is_help=True, help="The phones that officials confirm with.")


@app.command("list")
def show(
    context: typer.Context,
    owner: Annotated[str | None, typer.Argument(help="Only of this signatory (id or reference)")] = None,
) -> None:
    """Every phone, also those that were retired."""
    session = held(context)
    signatory_id = register.find_owner(session.db, owner)[0] if owner is not None else None
    columns = ("id", "signatory_id", "name", "label", "state", "created_at", "ended_at")
    session.screen.rows("Phones", columns, register.phones(session.db, signatory_id))


@app.command()
def retire(
    context: typer.Context,
    phone: Annotated[str, typer.Argument(help="A phone's id")],
    reason: Annotated[str, typer.Option("--reason", help="Stands in the log")] = "",
) -> None:
    """From this moment it confirms nothing. Nobody can bring it back: the person enrols it again with a new link."""
    session = held(context)
    act(session, f"{phone} is retired", RetirePhone(phone_id=phone, reason=reason))
    session.screen.record("Phone", {"id": phone, "state": "retired"})
