"""What every command is handed: the settings, the database, the screen, and who sits there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import typer

from signing_service.cli.screen import Screen
from signing_service.cli.settings import read_front_settings
from signing_service.db.engine import Database
from signing_service.errors import NotAuthorized
from signing_service.front.settings import FrontSettings
from signing_service.register import Operator, find_operator


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Session:
    """One run of a command. Settings are read and the database is opened when they are first needed."""

    screen: Screen
    operator_name: str | None = None
    code: str | None = None  # from the environment, for scripts; else it is asked for
    now: Callable[[], datetime] = utc_now
    _closing: list[Database] = field(default_factory=list)

    @cached_property
    def settings(self) -> FrontSettings:
        return read_front_settings()

    @cached_property
    def db(self) -> Database:
        database = Database(self.settings.database_url, pool_size=2)
        self._closing.append(database)
        return database

    @cached_property
    def operator(self) -> Operator:
        """Who acts. Raises NotAuthorized where nobody was named, or somebody who may not."""
        if not self.operator_name:
            raise NotAuthorized("Say who you are: set SIGNING_OPERATOR to your operator id or name, or use "
                                "--operator.", code="operator-missing")
        operator = find_operator(self.db, self.operator_name)
        if operator.state != "active":
            raise NotAuthorized(f"The operator {operator.name} is {operator.state}.", code="operator-state")
        return operator

    @property
    def actor(self) -> str:
        return f"operator:{self.operator.id}"

    def close(self) -> None:
        while self._closing:
            self._closing.pop().close()


def held(context: typer.Context) -> Session:
    """The session of a command."""
    session = context.obj
    if not isinstance(session, Session):
        raise TypeError("a command without a session")
    return session
