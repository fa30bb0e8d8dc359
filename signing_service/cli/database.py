"""The database: its shape and, on PostgreSQL, who may write what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signing_service.cli import reading
from signing_service.cli.session import held
from signing_service.db import migrate as migrations
from signing_service.db import roles as wall
from signing_service.errors import Invalid

app = typer.Typer(no_args_is_help=True, help="The database's shape and its roles.")
Url = Annotated[str | None, typer.Option(envvar="SIGNING_OWNER_DATABASE_URL",
                                         help="As the owner of the tables; else SIGNING_DATABASE_URL")]


@app.command()
def migrate(context: typer.Context, url: Url = None) -> None:
    """Bring the database to this version's shape. Repeatable."""
    session = held(context)
    revision = migrations.upgrade(url or session.settings.database_url)
    session.screen.record("Database", {"revision": revision, "state": "up to date"})


@app.command()
def roles(
    context: typer.Context,
    front: Annotated[str, typer.Option(help="The role of the front half")] = "signing_front",
    signer: Annotated[str, typer.Option(help="The role of the signer")] = "signing_signer",
    url: Url = None,
    create_roles: Annotated[bool, typer.Option("--create-roles", help="Make them, with passwords from files")] = False,
    front_password_file: Annotated[Path | None, typer.Option(help="With --create-roles")] = None,
    signer_password_file: Annotated[Path | None, typer.Option(help="With --create-roles")] = None,
) -> None:
    """PostgreSQL: give both halves exactly their rights. Run it after each `database migrate`."""
    session = held(context)
    owner = url or session.settings.database_url
    if create_roles:
        wall.create(owner, front, _password(front_password_file))
        wall.create(owner, signer, _password(signer_password_file))
    wall.grant(owner, front, signer)
    session.screen.record("Roles", {"front": front, "signer": signer, "state": "granted"})


def _password(file: Path | None) -> str:
    if file is None:
        raise Invalid("--create-roles needs --front-password-file and --signer-password-file.", code="roles")
    password = reading.read_text(file).strip()
    if not password:
        raise Invalid(f"{file} is empty.", code="roles")
    return password
