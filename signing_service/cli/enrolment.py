"""Showing the seed of somebody's codes: once, on the terminal, to be scanned by their phone."""

from __future__ import annotations

import io
import os
from pathlib import Path

import segno

from signing_service.cli.session import Session
from signing_service.errors import Invalid
from signing_service.wire.messages import Result

MODULE_PIXELS = 8  # of one black square; a phone reads it from a screen at arm's length


def show_seed(session: Session, title: str, result: Result, picture: Path | None) -> None:
    """The otpauth URI of a result, as text and as a QR code. Whoever sees it can make this person's codes."""
    uri = result.uri or ""
    session.screen.record(title, {"id": result.id, "uri": uri})
    if not uri:
        return
    if not session.screen.as_json:
        session.screen.out.print(as_blocks(uri))
    if picture is not None:
        write_picture(picture, uri)
        session.screen.say(f"QR code written to {picture}: remove it when it was scanned.", style="yellow")
    session.screen.say(f"Shown only now. Prove that the phone has it: signing-service code complete {result.id} CODE",
                       style="yellow")


def check_new(path: Path | None) -> Path | None:
    """Before anything is drawn: a seed that could not be written down would be lost. Raises Invalid."""
    if path is not None and os.path.lexists(path):
        raise Invalid(f"{path} is there already: name a new one.", code="file")
    if path is not None and not os.access(path.absolute().parent, os.W_OK):
        raise Invalid(f"Nothing can be written into {path.absolute().parent}.", code="file")
    return path


def as_blocks(uri: str) -> str:
    drawn = io.StringIO()
    segno.make(uri, error="m").terminal(drawn, compact=True)
    return drawn.getvalue()


def write_picture(picture: Path, uri: str) -> None:
    """Readable by nobody else, and never over a file that is there."""
    drawn = io.BytesIO()
    segno.make(uri, error="m").save(drawn, kind="png", scale=MODULE_PIXELS)
    descriptor = os.open(picture, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(drawn.getvalue())
