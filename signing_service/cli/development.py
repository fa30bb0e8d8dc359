"""For trying things out on one's own machine. Everything here refuses outside the development profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signing_service.cli import reading
from signing_service.cli.development_ca import DevelopmentCa
from signing_service.cli.session import Session, held
from signing_service.errors import WrongState
from signing_service.front.settings import Profile

app = typer.Typer(no_args_is_help=True, help="For development only: never on a real server.")
ca = typer.Typer(no_args_is_help=True, help="A certificate authority that nobody should trust.")
app.add_typer(ca, name="ca")
Directory = Annotated[Path, typer.Option(help="Where the authority's key and certificate are")]
PLACE = Path(".signing/ca")


@ca.command()
def init(context: typer.Context, directory: Directory = PLACE) -> None:
    """Make the authority."""
    session = held(context)
    _only_in_development(session)
    made = DevelopmentCa.make(directory, session.now())
    session.screen.record("Development CA", {
        "certificate": directory / "ca.pem", "subject": made.certificate.subject.rfc4514_string(),
    })


@ca.command()
def issue(
    context: typer.Context,
    request: Annotated[Path, typer.Argument(help="The request that `credential csr` wrote", metavar="CSR")],
    out: Annotated[Path, typer.Option(help="Where the certificate goes, the root behind it")],
    timestamping: Annotated[bool, typer.Option("--timestamping", help="For our own timestamp authority")] = False,
    directory: Directory = PLACE,
) -> None:
    """Issue a certificate for a request, marked DEVELOPMENT ONLY."""
    session = held(context)
    _only_in_development(session)
    issued = DevelopmentCa.open(directory).issue(reading.read_bytes(request), session.now(), timestamping=timestamping)
    out.write_bytes(issued)
    session.screen.record("Certificate", {"file": out, "for": "timestamps" if timestamping else "documents"})


def _only_in_development(session: Session) -> None:
    if session.settings.profile is not Profile.DEVELOPMENT:
        raise WrongState("This is for development only: it needs SIGNING_PROFILE=development.", code="profile")
