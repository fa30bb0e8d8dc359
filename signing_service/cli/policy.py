"""Policies: who may sign what, in a file that people can read and sign off."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from policies.document import SHIPPED, Policy, PolicyInvalid, explain, load
from signing_service import register
from signing_service.cli import reading
from signing_service.cli.acts import act
from signing_service.cli.session import held
from signing_service.errors import Invalid, NotFound
from signing_service.wire.messages import ActivatePolicy

app = typer.Typer(no_args_is_help=True, help="Who may sign what.")
File = Annotated[str, typer.Argument(help=f"A TOML file, or one of ours: {', '.join(SHIPPED)}", metavar="FILE")]


@app.command()
def check(context: typer.Context, file: File) -> None:
    """Does the file load, and do its own examples hold?"""
    loaded = _load(file)[0]
    held(context).screen.record("Policy", {
        "name": loaded.name, "title": loaded.title, "sha256": loaded.hash, "examples": len(loaded.examples),
    })


@app.command("explain")
def say(context: typer.Context, file: File) -> None:
    """Every rule in words."""
    held(context).screen.text(explain(_load(file)[0]))


@app.command()
def activate(context: typer.Context, file: File) -> None:
    """Make it the policy in force, on record. What nobody has confirmed yet is decided anew by it."""
    session = held(context)
    loaded, text = _load(file)
    act(session, f"Activate {loaded.title} ({loaded.hash[:12]}…)", ActivatePolicy(name=loaded.name, text=text))
    session.screen.record("Policy", {"name": loaded.name, "title": loaded.title, "sha256": loaded.hash, "active": True})


@app.command()
def show(
    context: typer.Context,
    sha256: Annotated[str | None, typer.Argument(help="Of an earlier policy; the one in force when left out")] = None,
) -> None:
    """The policy in force, or an earlier one that entries of the log name, as text."""
    session = held(context)
    for row in register.policies(session.db):
        if row["hash"] == sha256 or (sha256 is None and row["active"]):
            if session.screen.as_json:
                session.screen.record("Policy", row)
            else:
                session.screen.text(str(row["text"]))
            return
    raise NotFound("There is no such policy." if sha256 else "No policy is in force: nothing can be signed.")


@app.command("list")
def show_all(context: typer.Context) -> None:
    """Every policy that was ever in force."""
    session = held(context)
    columns = ("hash", "name", "active", "activated_at", "activated_by")
    session.screen.rows("Policies", columns, register.policies(session.db))


def _load(file: str) -> tuple[Policy, str]:
    """A file of the administrator's, or a shipped one by its name."""
    try:
        text = _shipped_text(file) if file in SHIPPED else reading.read_text(Path(file))
        return load(text, Path(file).stem), text
    except PolicyInvalid as error:
        raise Invalid(f"{file}: {error}", code="policy") from error


def _shipped_text(name: str) -> str:
    return resources.files("policies").joinpath(f"{name}.toml").read_text(encoding="utf-8")
