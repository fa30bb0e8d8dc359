"""`signing-service`: every command, the options they share, and what a refusal looks like."""

from __future__ import annotations

import os
import sys
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
    operator,
    phone,
    policy,
    processes,
    report,
    running,
    signatory,
    ticket,
)
from signing_service.cli.demo.command import demo
from signing_service.cli.session import Session

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
    as_json: Annotated[bool, typer.Option(running.JSON, help="Answer with JSON; may stand anywhere")] = False,
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
    """One command; its exit code."""
    return running.run(_command, arguments)


@cache
def _command() -> Any:
    """Built once: reading the signatures of all commands takes longer than most commands."""
    return get_command(app)


def main() -> None:
    """Any command, as it was typed. The program begins in `start`."""
    sys.exit(run(sys.argv[1:]))
