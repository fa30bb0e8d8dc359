"""Running one command: what it is handed, and what becomes of a refusal."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from signing_service.cli import exits
from signing_service.cli.screen import Screen
from signing_service.cli.session import Session
from signing_service.errors import SigningError

log = logging.getLogger(__name__)
JSON = "--json"


def run(command: Callable[[], Any], arguments: Sequence[str]) -> int:
    """One of `command`'s; its exit code (`exits.py`). No exception escapes."""
    words = [word for word in arguments if word != JSON]
    session = Session(Screen(as_json=len(words) != len(arguments)))
    try:
        command().main(args=words, prog_name="signing-service", obj=session)
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or 0
        return _broken(session)  # with words instead of a code: they say that something went wrong
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


def _broken(session: Session) -> int:
    """Our fault: an id for the person, everything else for the log."""
    number = uuid.uuid4().hex[:12]
    log.exception("a command broke (%s)", number)
    session.screen.err.print(f"[red]✗[/red] This should not happen. The log says more under {number}.")
    return exits.BROKEN
