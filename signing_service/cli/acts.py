"""An operator's act: one message to the signer with the operator's own code, which is spent by it."""

from __future__ import annotations

import re
from typing import NoReturn

import typer

from signing_service import errors
from signing_service.cli.session import Session
from signing_service.wire.client import ask_once
from signing_service.wire.messages import Act, Command, Done, Result

SIX_DIGITS = re.compile(r"^[0-9]{6}$")
ACT_SECONDS = 180.0  # 500 seeds and rows, each on record
KINDS = {kind.code: kind for kind in (errors.NotFound, errors.NotAuthorized, errors.Denied, errors.Invalid)}


def act(session: Session, what: str, *commands: Command) -> tuple[Result, ...]:
    """Carry out the commands under one code. Raises the first refusal; what came before it has happened."""
    results = attempt(session, what, *commands)
    for result in results:
        if result.error is not None:
            refuse(result)
    return results


def attempt(session: Session, what: str, *commands: Command) -> tuple[Result, ...]:
    """The same, but a refused command is a result like any other: for bulk work that reports each row."""
    operator = session.operator
    code = session.code or ask_code(session, f"{what}. Code of {operator.name}")
    session.code = None  # a code is spent by one act, so a second act of this command asks again
    message = Act(operator_id=operator.id, code=checked(code), commands=commands)
    return ask_once(session.settings.admin_socket, message, Done, deadline=ACT_SECONDS).results


def ask_code(session: Session, question: str) -> str:
    """Ask at the terminal, without an echo. Raises NotAuthorized where nobody can answer."""
    if session.screen.as_json or not session.screen.err.is_terminal:
        raise errors.NotAuthorized("A code is needed: set SIGNING_OPERATOR_CODE, or use a terminal.",
                                   code="code-missing")
    return str(typer.prompt(question, hide_input=True, err=True))


def checked(code: str) -> str:
    typed = code.replace(" ", "")
    if not SIX_DIGITS.match(typed):
        raise errors.Invalid("A code is six digits.", code="code-form")
    return typed


def refuse(result: Result) -> NoReturn:
    kind = KINDS.get(result.error_code or "", errors.WrongState)
    raise kind(result.error or "The signer refused.", code=result.error_code)
