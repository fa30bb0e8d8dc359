"""Backups: making one, putting it back, and the operator's word with which the service goes on from it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from signing_service import backups, recovery
from signing_service.cli import reading
from signing_service.cli.acts import act
from signing_service.cli.session import Session, held
from signing_service.db.engine import Database
from signing_service.errors import Invalid, SigningError, WrongState
from signing_service.wire.client import ask_once
from signing_service.wire.messages import Health, HealthReport, Restored

app = typer.Typer(no_args_is_help=True, help="Backups, and what has to happen before the service goes on from one.")
Folder = Annotated[Path, typer.Argument(help="The folder of the backup")]
Url = Annotated[str | None, typer.Option(envvar="SIGNING_OWNER_DATABASE_URL",
                                         help="As the owner of the tables; else SIGNING_DATABASE_URL")]
COLUMNS = ("at", "event", "actor", "signatory_id", "credential_id", "data")


@app.command()
def make(context: typer.Context, folder: Folder, url: Url = None) -> None:
    """Back up the database and then the documents, while the service runs. A second backup only adds documents.

    The device is backed up by its vendor's own means: without it no key can be used.
    """
    session = held(context)
    made = backups.make(url or session.settings.database_url, session.settings.documents, folder, session.now())
    session.screen.record("Backup", asdict(made))


@app.command()
def restore(
    context: typer.Context, folder: Folder, url: Url = None,
    entries: Annotated[Path | None, typer.Option(help="An export of the log (jsonl) from after the backup")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The newest checkpoint that was kept elsewhere")] = None,
) -> None:
    """Put a backup back, with the service stopped and an empty database.

    With an export and a checkpoint from after the backup the log's lost entries come back as well. Then start the
    service, and say `backup go-on`: until then nothing is signed.
    """
    session = held(context)
    if (entries is None) != (checkpoint is None):
        raise Invalid("--entries and --checkpoint go together.", code="recover")
    _check_stopped(session)
    address = url or session.settings.database_url
    found = backups.restore(address, session.settings.documents, folder, session.now())
    session.screen.record("Restored", asdict(found))
    if entries is not None and checkpoint is not None:
        _recover(session, address, entries, checkpoint)


@app.command("go-on")
def go_on(
    context: typer.Context, why: Annotated[str, typer.Option(help="What happened, for the record")],
) -> None:
    """An operator's word that the service may go on from a restored database. What waited for a signature has ended."""
    session = held(context)
    epoch = act(session, "The service goes on from a restored database", Restored(why=why))[0].id
    session.screen.record("Epoch", {"number": epoch, "why": why})
    session.screen.say("Whatever was taken away since the backup (credentials, phones, rights) has to be taken again.")


def _recover(session: Session, url: str, entries: Path, checkpoint: Path) -> None:
    with closing(Database(url, pool_size=1)) as db, _opened(entries) as lines:
        found = recovery.recover(db, lines, reading.read_text(checkpoint), session.now())
    session.screen.record("Log", {"first": found.first, "end": found.end, "acts to be done again": len(found.to_do)})
    session.screen.rows("To be done again", COLUMNS, [_row(each) for each in found.to_do])


def _row(body: Any) -> dict[str, Any]:
    return {name: body.get(name) for name in COLUMNS}


def _opened(file: Path) -> Any:
    try:
        return file.open("rb")
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}.", code="file") from error


def _check_stopped(session: Session) -> None:
    try:
        ask_once(session.settings.sign_socket, Health(), HealthReport, deadline=2)
    except SigningError:
        return
    raise WrongState("The signer is running. Stop the service first.", code="running")
