"""Tickets: links with which people enrol a phone or choose a password, each good for one person, once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from signing_service import register
from signing_service.cli.acts import act
from signing_service.cli.enrolment import as_blocks, check_new, write_picture
from signing_service.cli.session import held
from signing_service.wire.messages import IssueTicket

app = typer.Typer(no_args_is_help=True, help="Links with which people enrol a phone or choose a password.")
Owner = Annotated[str, typer.Argument(help="A signatory (id or reference), an auditor or an operator (id or name)")]


@app.command()
def issue(
    context: typer.Context, owner: Owner,
    hours: Annotated[int, typer.Option(min=1, max=168, help="It is worth nothing after so many")] = 24,
    keep_others: Annotated[bool, typer.Option("--keep-others", help="The person's other phones stay")] = False,
    png: Annotated[Path | None, typer.Option(help="Write the QR code to this PNG file as well")] = None,
) -> None:
    """Issue a link and show it once. Whoever opens it first has it: give it to the person and to nobody else.

    An official enrols a phone with it and gets new codes; an auditor gets codes and chooses a password; an operator
    chooses a password. Earlier links of the same person are void.
    """
    session = held(context)
    check_new(png)
    owner_id, name = register.find_owner(session.db, owner)
    command = IssueTicket(owner=owner_id, hours=hours, keeps_others=keep_others)
    result = act(session, f"A link for {name}", command)[0]
    link = f"{session.settings.public_url.rstrip('/')}/enrol/{result.data}"
    until = session.now() + timedelta(hours=hours)
    session.screen.record(f"A link for {name}", {"id": result.id, "owner": owner_id, "link": link, "until": until})
    if not session.screen.as_json:
        session.screen.out.print(as_blocks(link))
    if png is not None:
        write_picture(png, link)
        session.screen.say(f"QR code written to {png}: remove it when it was used.", style="yellow")
    session.screen.say("Shown only now, and good for the first who opens it.", style="yellow")
