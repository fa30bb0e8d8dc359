"""One-time codes: enrolling, proving, unlocking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signing_service import accounts, register
from signing_service.cli.acts import act, checked
from signing_service.cli.enrolment import check_new, show_seed
from signing_service.cli.session import held
from signing_service.wire.client import ask_once
from signing_service.wire.messages import CompleteEnrolment, Done, EnrolCode, Unlock

app = typer.Typer(no_args_is_help=True, help="One-time codes of signatories, auditors and operators.")
Owner = Annotated[str, typer.Argument(help="A signatory (id or reference), an operator or an auditor (id or name)")]


@app.command()
def enrol(
    context: typer.Context, owner: Owner,
    qr: Annotated[Path | None, typer.Option(help="Write the QR code to this PNG file as well")] = None,
) -> None:
    """Draw a new seed and show it once. The old one works until the first right code of the new."""
    session = held(context)
    check_new(qr)
    owner_id, name = register.find_owner(session.db, owner)
    result = act(session, f"A new seed for {name}", EnrolCode(owner=owner_id))[0]
    show_seed(session, f"Codes of {name}", result, qr)


@app.command()
def complete(
    context: typer.Context, owner: Owner,
    code: Annotated[str | None, typer.Argument(help="The first code; asked for when it is left out")] = None,
) -> None:
    """The first right code of a new seed: from now on only the new seed counts."""
    session = held(context)
    owner_id, name = register.find_owner(session.db, owner)
    typed = code or typer.prompt(f"First code of {name}", hide_input=True, err=True)
    ask_once(session.settings.admin_socket, CompleteEnrolment(owner=owner_id, code=checked(typed)), Done)
    session.screen.record("Codes", {"owner": owner_id, "name": name, "state": "active"})


@app.command()
def unlock(context: typer.Context, owner: Owner) -> None:
    """Open a lock after too many wrong codes or passwords. Speak to the person first: somebody was guessing."""
    session = held(context)
    owner_id, name = register.find_owner(session.db, owner)
    act(session, f"Unlock the codes of {name}", Unlock(owner=owner_id))
    accounts.open_lock(session.db, owner_id)
    session.screen.record("Codes", {"owner": owner_id, "name": name, "state": "unlocked"})
