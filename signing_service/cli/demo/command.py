"""`demo`: the whole story in a minute; `demo --stay`: the same server, for as long as somebody wants to try it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signing_service.cli.session import held


def demo(
    context: typer.Context,
    document: Annotated[Path, typer.Option(help="A PDF to be signed")] = Path("tests/documents/ke-hoach.pdf"),
    directory: Annotated[Path, typer.Option(help="Made afresh each time")] = Path("var/demo"),
    stay: Annotated[bool, typer.Option("--stay", help="Keep the server running, and say how to use it")] = False,
) -> None:
    """Set a server up, sign a document and have others judge it. Exits with 0 only if all of it is true."""
    from signing_service.cli.demo.story import play  # here: it brings every library of the front half

    play(held(context).screen.err, document, directory, stay=stay)
