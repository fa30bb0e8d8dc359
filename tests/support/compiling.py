"""Statements that this process compiles once, for whichever database they are.

Every story has a database of its own, and with it an engine that has compiled nothing yet: a quarter of what a story
costs was that. A server compiles a statement once as well; it has one database.

    patch.setattr(engine, "create_engine", compiling.once(create_engine))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from sqlalchemy import Engine


class Compiled(MutableMapping[Any, Any]):
    """As SQLAlchemy keeps them for one engine, but under the kind of database instead of this one's dialect."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        return self._kept[_kind(key)]

    def __setitem__(self, key: Any, compiled: Any) -> None:
        self._kept[_kind(key)] = compiled

    def __delitem__(self, key: Any) -> None:
        del self._kept[_kind(key)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _kind(key: Any) -> Any:
    dialect, *statement = key
    return (type(dialect), *statement)


def once(create_engine: Callable[..., Engine]) -> Callable[..., Engine]:
    """The same, and all engines that it makes share what they compiled."""
    compiled = Compiled()

    def created(*args: Any, **more: Any) -> Engine:
        engine = create_engine(*args, **more)
        engine._compiled_cache = compiled
        return engine

    return created
