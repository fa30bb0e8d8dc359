"""Clients: the systems that submit documents, and auditors' programs."""

from __future__ import annotations

from typing import Annotated

import typer

from signing_service import register
from signing_service.cli.session import Session, held
from signing_service.register import ClientSecret, NewClient

app = typer.Typer(no_args_is_help=True, help="The systems that submit documents.")
ClientId = Annotated[str, typer.Argument(help="The client's id, cl_…", metavar="CLIENT")]


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What people call the system")],
    agency: Annotated[list[str], typer.Option(help="A code it may submit for; repeat it, or * for every agency")],
    role: Annotated[str, typer.Option(help=f"One of {', '.join(register.ROLES)}")] = "submitter",
    webhook: Annotated[str | None, typer.Option(help="Where it wants to be told, https://…")] = None,
) -> None:
    """Register a system. Its secrets are shown this once."""
    session = held(context)
    if webhook is not None:
        _check_webhook(session, webhook)
    new = NewClient(name, role, tuple(agency), webhook)
    _show(session, register.add_client(session.db, session.actor, session.now(), new))


@app.command("list")
def show(context: typer.Context) -> None:
    """Every client, without its secrets."""
    session = held(context)
    columns = ("id", "name", "role", "agencies", "webhook_url", "state", "created_at")
    session.screen.rows("Clients", columns, register.clients(session.db))


@app.command()
def suspend(context: typer.Context, client_id: ClientId) -> None:
    """Refuse a client from this moment, with tokens it already has too."""
    _set_state(held(context), client_id, "suspended")


@app.command()
def resume(context: typer.Context, client_id: ClientId) -> None:
    """Let a suspended client in again."""
    _set_state(held(context), client_id, "active")


@app.command("rotate-secret")
def rotate_secret(context: typer.Context, client_id: ClientId) -> None:
    """Give a client a new secret; the old one stops working at once."""
    session = held(context)
    _show(session, register.rotate_secret(session.db, session.actor, session.now(), client_id))


def _check_webhook(session: Session, url: str) -> None:
    """Invalid for what could never be called; a word about what is not called yet."""
    from signing_service.front.outbound import AllowList, Destination  # here: it brings the whole front with it

    named = Destination.of(url)
    if not AllowList.of(session.settings.outbound_hosts).names(named):
        session.screen.say(f"{named.host}:{named.port} is not in SIGNING_OUTBOUND_HOSTS: until it is, nothing is sent "
                           "there.", style="yellow")


def _set_state(session: Session, client_id: str, state: str) -> None:
    register.set_client_state(session.db, session.actor, session.now(), client_id, state)
    session.screen.record("Client", {"id": client_id, "state": state})


def _show(session: Session, drawn: ClientSecret) -> None:
    from signing_service.front.webhooks import webhook_secret  # here: it brings the whole front with it

    session.screen.record("Client", {
        "client_id": drawn.client_id,
        "client_secret": drawn.secret,
        "webhook_secret": webhook_secret(session.settings.front_secret(), drawn.client_id),
    })
    session.screen.say("These secrets are shown only now. Hand them over on a way of their own.", style="yellow")
