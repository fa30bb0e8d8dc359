"""Reading a policy's TOML strictly: every value has a type, no key is ignored, every error names its line.

tomllib knows the line of a syntax error but not of a wrong value, so the text is scanned a second time,
statement by statement, for the line on which each key stands.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

Path = tuple[str | int, ...]
Choice = TypeVar("Choice", bound=StrEnum)

LONGEST_TEXT = 131_072   # characters; the policies we ship have a tenth of it
LONGEST_STATEMENT = 200  # lines; each is parsed again with every line that it grows by


class PolicyInvalid(Exception):
    """The policy's text cannot be used. `line` counts from 1; the message is safe to show."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line
        self.message = message


class Section:
    """One table of the file. Whatever has not been asked for when `finish` is called is refused."""

    def __init__(self, values: dict[str, Any], path: Path, lines: dict[Path, int]) -> None:
        self._values = values
        self._path = path
        self._lines = lines
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._values

    def fail(self, key: str, message: str) -> NoReturn:
        """Refuses the file at this key, or at its table when the key is not there."""
        raise PolicyInvalid(self._line((*self._path, key)), f"{self._dotted(key)}: {message}")

    def text(self, key: str) -> str:
        value = self._value(key, str, "a text")
        if not value.strip():
            self.fail(key, "must not be empty")
        return str(value)

    def integer(self, key: str, least: int, most: int) -> int:
        value = self._value(key, int, "a whole number")
        if not least <= value <= most:
            self.fail(key, f"must lie between {least} and {most}")
        return int(value)

    def flag(self, key: str) -> bool:
        return bool(self._value(key, bool, "true or false"))

    def moment(self, key: str) -> datetime:
        value = self._value(key, datetime, "a date and time")
        if value.tzinfo is None:
            self.fail(key, "must say its offset, as in 2026-03-02T09:00:00+07:00")
        return datetime.fromisoformat(value.isoformat())

    def day(self, key: str) -> date | None:
        """A local date, or None when the key is absent."""
        if key not in self:
            return None
        return date.fromisoformat(self._value(key, date, "a date, as 2026-03-02").isoformat())

    def clock(self, key: str) -> time | None:
        """A local time of day; None for 24:00, the end of the day."""
        value = self.text(key)
        if value == "24:00":
            return None
        if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
            self.fail(key, "must be a time from 00:00 to 24:00")
        return time.fromisoformat(value)

    def strings(self, key: str) -> tuple[str, ...]:
        value = self._value(key, list, "a list of texts")
        if not all(isinstance(item, str) and item.strip() for item in value):
            self.fail(key, "must be a list of texts, none of them empty")
        repeated = sorted({item for item in value if value.count(item) > 1})
        if repeated:
            self.fail(key, f"names {repeated[0]} twice")
        return tuple(value)

    def listing(self, key: str) -> frozenset[str]:
        """Texts of which there must be at least one: an empty list would silently match nothing."""
        value = self.strings(key)
        if not value:
            self.fail(key, "must not be empty")
        return frozenset(value)

    def choice(self, key: str, kind: type[Choice]) -> Choice:
        return self._member(key, self.text(key), kind)

    def choices(self, key: str, kind: type[Choice]) -> frozenset[Choice]:
        return frozenset(self._member(key, word, kind) for word in self.strings(key))

    def section(self, key: str) -> Section:
        return Section(self._value(key, dict, "a table"), (*self._path, key), self._lines)

    def sections(self, key: str) -> Iterator[Section]:
        value = self._value(key, list, f"tables, each begun with [[{key}]]")
        if not value or not all(isinstance(item, dict) for item in value):
            self.fail(key, f"must be tables, each begun with [[{key}]]")
        return (Section(item, (*self._path, key, at), self._lines) for at, item in enumerate(value))

    def keys(self) -> tuple[str, ...]:
        return tuple(self._values)

    def finish(self) -> None:
        """Refuses the first key that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                close = difflib.get_close_matches(key, sorted(self._asked), n=1)
                self.fail(key, "unknown key" + (f"; is {close[0]} meant?" if close else ""))

    def _value(self, key: str, kind: type[Any], what: str) -> Any:
        if key not in self:
            self.fail(key, f"is missing; it must be {what}")
        value = self._values[key]
        # type(), not isinstance: a bool is an int and a datetime is a date, and neither is meant
        if type(value) is not kind:
            self.fail(key, f"must be {what}")
        return value

    def _member(self, key: str, word: str, kind: type[Choice]) -> Choice:
        if word not in list(kind):
            self.fail(key, f"{word!r} is not one of {', '.join(kind)}")
        return kind(word)

    def _line(self, path: Path) -> int:
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _dotted(self, key: str) -> str:
        return ".".join(str(part + 1 if isinstance(part, int) else part) for part in (*self._path, key))


def parse(text: str) -> Section:
    """The whole file as a section. PolicyInvalid for a syntax error, with its line."""
    if len(text) > LONGEST_TEXT:
        raise PolicyInvalid(1, f"the text is longer than {LONGEST_TEXT} characters")
    try:
        text.encode()  # half a surrogate pair has no bytes, so it could not be hashed
        values = tomllib.loads(text)
    except ValueError as error:
        raise PolicyInvalid(_line_of(error, text), str(error)) from error
    except RecursionError as error:
        raise PolicyInvalid(1, "values are nested too deeply") from error
    return Section(values, (), _locate(text))


def _line_of(error: ValueError, text: str) -> int:
    found = re.search(r"\(at line (\d+),", str(error))
    return int(found[1]) if found else text.rstrip("\n").count("\n") + 1


def _locate(text: str) -> dict[Path, int]:
    """The line on which each table and key begins."""
    lines: dict[Path, int] = {}
    table: Path = ()
    latest: dict[Path, int] = {}  # how far each array of tables has come
    for number, statement in _statements(text):
        parsed = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _header(parsed, statement.lstrip().startswith("[["), latest)
            lines.setdefault(table, number)
            if isinstance(table[-1], int):
                lines.setdefault(table[:-1], number)  # a list of tables begins with its first
        else:
            for path in _paths(parsed):
                lines.setdefault((*table, *path), number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Headers and assignments, each with its first line; a value may go on over several lines."""
    first, statement = 1, ""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        first, statement = (number, line) if not statement else (first, f"{statement}\n{line}")
        if number - first >= LONGEST_STATEMENT:
            raise PolicyInvalid(first, f"this value goes on for more than {LONGEST_STATEMENT} lines")
        if _complete(statement):
            yield first, statement
            statement = ""


def _complete(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _header(parsed: dict[str, Any], is_array: bool, latest: dict[Path, int]) -> Path:
    names: list[str] = []
    node: Any = parsed
    while node:
        node = node[0] if isinstance(node, list) else node
        names += list(node)[:1]
        node = next(iter(node.values()), None)
    path: Path = ()
    for name in names[:-1]:
        path = _within((*path, name), latest)
    path = (*path, names[-1])
    if not is_array:
        return path
    latest[path] = latest.get(path, -1) + 1
    return (*path, latest[path])


def _within(path: Path, latest: dict[Path, int]) -> Path:
    return (*path, latest[path]) if path in latest else path


def _paths(node: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _paths(value, (*path, key))
    if isinstance(node, list):
        for at, value in enumerate(node):
            yield from _paths(value, (*path, at))
