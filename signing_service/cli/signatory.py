"""Signatories: the people who sign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signing_service import register
from signing_service.cli import enrolment, exits
from signing_service.cli.acts import act, attempt
from signing_service.cli.roster import CHUNK, Person, read_roster
from signing_service.cli.session import Session, held
from signing_service.wire.messages import AddSignatory, EnrolCode, Result, SetSignatoryState

app = typer.Typer(no_args_is_help=True, help="The people who sign.")
Who = Annotated[str, typer.Argument(help="A signatory's id or reference", metavar="SIGNATORY")]
Why = Annotated[str, typer.Option("--reason", help="Stands in the log")]


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Their full name")],
    agency: Annotated[str, typer.Option(help="The code of their agency")],
    office: Annotated[str, typer.Option(help="A word that policies ask for, such as chairman, deputy, head, clerk")],
    reference: Annotated[str | None, typer.Option(help="Their number in the city's own systems")] = None,
) -> None:
    """Enter a person. They sign nothing before they have a credential and a code."""
    session = held(context)
    command = AddSignatory(name=name, agency_code=agency, office=office, reference=reference)
    result = act(session, f"Add the signatory {name}", command)[0]
    session.screen.record("Signatory", {"id": result.id, "name": name, "agency_code": agency, "office": office})


@app.command("list")
def show(
    context: typer.Context, agency: Annotated[str | None, typer.Option(help="Only of this agency")] = None,
) -> None:
    """Every signatory."""
    session = held(context)
    columns = ("id", "name", "agency_code", "office", "reference", "state")
    session.screen.rows("Signatories", columns, register.signatories(session.db, agency))


@app.command()
def suspend(context: typer.Context, who: Who, reason: Why) -> None:
    """From this moment nothing is signed in this person's name."""
    _set_state(held(context), who, "suspended", reason)


@app.command()
def resume(context: typer.Context, who: Who, reason: Why = "") -> None:
    """Let a suspended person sign again."""
    _set_state(held(context), who, "active", reason)


@app.command("import")
def enter_many(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV (UTF-8) with the columns name, agency, office, reference")],
    codes: Annotated[Path | None, typer.Option(help="Draw their codes too; QR codes go to this new folder")] = None,
) -> None:
    """Enter many people under one of your codes for each 500; what failed is listed row by row."""
    session = held(context)
    enrolment.check_new(codes)
    people = read_roster(file)
    entered = _enter(session, people)
    failed = [(person, result) for person, result in entered if result.error]
    rows = [{"row": person.row, "name": person.name, "error": result.error} for person, result in failed]
    session.screen.say(f"{len(people) - len(failed)} of {len(people)} people were entered.")
    session.screen.rows("Rows that failed", ("row", "name", "error"), rows)
    if codes is not None:  # last: what happened so far is told also when the second code does not come
        _draw_codes(session, [(person, result.id) for person, result in entered if not result.error], codes)
    if failed:
        raise typer.Exit(exits.FALSE)


def _enter(session: Session, people: list[Person]) -> list[tuple[Person, Result]]:
    entered: list[tuple[Person, Result]] = []
    with session.screen.progress("Entering people", len(people)) as bar:
        for begin in range(0, len(people), CHUNK):
            part = people[begin:begin + CHUNK]
            commands = [person.command() for person in part]
            entered += zip(part, attempt(session, f"Add {len(part)} signatories", *commands), strict=True)
            bar.advance(bar.task_ids[0], len(part))
    return entered


def _draw_codes(session: Session, people: list[tuple[Person, str]], folder: Path) -> None:
    """A picture for each person, to be handed to them in person or printed for them."""
    folder.mkdir(mode=0o700)
    with session.screen.progress("Drawing codes", len(people)) as bar:
        for begin in range(0, len(people), CHUNK):
            part = people[begin:begin + CHUNK]
            commands = [EnrolCode(owner=owner) for _, owner in part]
            results = attempt(session, f"Draw the codes of {len(part)} signatories", *commands)
            for (person, owner), result in zip(part, results, strict=True):
                if result.uri:
                    enrolment.write_picture(folder / f"{person.row:05d}-{owner}.png", result.uri)
                bar.advance(bar.task_ids[0])


def _set_state(session: Session, who: str, state: str, reason: str) -> None:
    owner_id, name = register.find_owner(session.db, who)
    act(session, f"{name} becomes {state}", SetSignatoryState(signatory_id=owner_id, state=state, reason=reason))
    session.screen.record("Signatory", {"id": owner_id, "name": name, "state": state})
