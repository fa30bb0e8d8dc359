"""`signing-service`: every command, the options they share, and what a refusal looks like."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import typer
from typer.main import get_command

from signing_service.cli import (
    agency,
    audit,
    auditor,
    backup,
    client,
    code,
    credential,
    database,
    development,
    device,
    exits,
    operator,
    phone,
    policy,
    processes,
    report,
    signatory,
    ticket,
)
from signing_service.cli.demo.command import demo
from signing_service.cli.screen import Screen
from signing_service.cli.session import Session
from signing_service.errors import SigningError

log = logging.getLogger(__name__)
JSON = "--json"

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="A signing server: keys in a device, confirmed by one-time codes, on a provable record.",
)
for name, noun in (
    ("agency", agency.app), ("client", client.app), ("operator", operator.app), ("signatory", signatory.app),
    ("credential", credential.app), ("code", code.app), ("ticket", ticket.app), ("phone", phone.app),
    ("auditor", auditor.app), ("policy", policy.app), ("audit", audit.app),
    ("report", report.app), ("hsm", device.app),
    ("database", database.app), ("backup", backup.app), ("development", development.app),
):
    app.add_typer(noun, name=name)
app.command()(operator.bootstrap)
app.command()(demo)
for process in (processes.serve, processes.front, processes.jobs, processes.signer):
    app.command(rich_help_panel="Processes")(process)


@app.callback()
def shared(
    context: typer.Context,
    who: Annotated[str | None, typer.Option("--operator", envvar="SIGNING_OPERATOR", help="Your id or name")] = None,
    as_json: Annotated[bool, typer.Option(JSON, help="Answer with JSON; may stand anywhere")] = False,
) -> None:
    """What every command shares."""
    session = _session(context)
    session.operator_name = who
    session.code = os.environ.get("SIGNING_OPERATOR_CODE")


def _session(context: typer.Context) -> Session:
    if not isinstance(context.obj, Session):
        raise TypeError("commands run through run()")
    return context.obj


def run(arguments: Sequence[str]) -> int:
    """One command; its exit code (`exits.py`). Nothing but KeyboardInterrupt's kin escapes."""
    words = [word for word in arguments if word != JSON]
    session = Session(Screen(as_json=len(words) != len(arguments)))
    try:
        _command().main(args=words, prog_name="signing-service", obj=session)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0
    except SigningError as error:
        session.screen.refusal(error)
        return exits.of(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except Exception:
        return _broken(session)
    finally:
        session.close()
    return 0


@cache
def _command() -> Any:
    """Built once: reading the signatures of all commands takes longer than most commands."""
    return get_command(app)


def _broken(session: Session) -> int:
    """Our fault: an id for the person, everything else for the log."""
    number = uuid.uuid4().hex[:12]
    log.exception("a command broke (%s)", number)
    session.screen.err.print(f"[red]✗[/red] This should not happen. The log says more under {number}.")
    return exits.BROKEN


def main() -> None:
    """The entry point of the `signing-service` program."""
    sys.exit(run(sys.argv[1:]))
