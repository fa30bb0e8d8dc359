"""Statements of the hot paths: compiled once for each database, then run on the driver's own connection.

To run a statement that it has compiled already costs SQLAlchemy several times what it costs the driver. What it
promises is kept: values are converted as the columns say, errors are its own (so that a connection that broke is
taken out of the pool), who listens before statements are run hears these, and a transaction is begun where there is
none.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import BindParameter, Connection, Delete, Dialect, Insert, Select, Update, bindparam
from sqlalchemy.sql.compiler import SQLCompiler

from signing_service.db.columns import Instant

Statement = Select[Any] | Insert | Update | Delete
Values = Mapping[str, Any]
Convert = Callable[[Any], Any]
Read = Callable[[Sequence[Any]], Any]


class Compiled:
    """A statement whose parameters are its `bindparam`s; of an INSERT, the columns that its first values name.

    Values have exactly these names, or it is a KeyError. ValueError, when it is first run, for what is not the same
    text each time: lists of values (`CompiledList`), and columns whose value Python would make.
    """

    def __init__(self, statement: Statement | Mapping[str, Statement]) -> None:
        """`statement`: one for both databases, or one for each by the name of its dialect."""
        self._statement = statement
        self._ready: dict[str, _Ready] = {}

    def all(self, tx: Connection, values: Values) -> list[Any]:
        """Every row, with the columns as attributes."""
        ready = self._of(tx, values)
        cursor = _run(tx, ready, ready.parameters(values))
        read = ready.reader(cursor)
        return [read(each) for each in cursor.fetchall()]

    def first(self, tx: Connection, values: Values) -> Any:
        """The first row; None where there is none."""
        ready = self._of(tx, values)
        cursor = _run(tx, ready, ready.parameters(values))
        read, row = ready.reader(cursor), cursor.fetchone()
        cursor.close()
        return None if row is None else read(row)

    def run(self, tx: Connection, values: Values) -> int:
        """How many rows it concerned."""
        ready = self._of(tx, values)
        return int(_run(tx, ready, ready.parameters(values)).rowcount)

    def many(self, tx: Connection, rows: Sequence[Values]) -> int:
        """Once for each of these, in one go: how many rows it concerned altogether. Nothing where there are none."""
        if not rows:
            return 0
        ready = self._of(tx, rows[0])
        cursor = _run(tx, ready, [ready.parameters(each) for each in rows], many=True)
        return int(cursor.rowcount)

    def _of(self, tx: Connection, values: Values) -> _Ready:
        dialect = tx.dialect
        found = self._ready.get(dialect.name)
        if found is None:
            statement = self._statement
            chosen = statement[dialect.name] if isinstance(statement, Mapping) else statement
            found = self._ready[dialect.name] = _Ready.of(chosen, values, dialect)
        return found


class CompiledList:
    """A query with a list of values in it: `query` makes it from so many parameters (`column.in_(parameters)`).

    Compiled for few lengths: the last value is repeated until the list has one of them, which IN does not mind.
    """

    def __init__(self, query: Callable[[list[BindParameter[Any]]], Select[Any]]) -> None:
        self._query = query
        self._sized: dict[int, Compiled] = {}

    def all(self, tx: Connection, listed: Iterable[Any], values: Values = {}) -> list[Any]:  # noqa: B006 - only read
        """Every row; none where nothing is listed."""
        wanted = list(listed)
        if not wanted:
            return []
        size = 1 << (len(wanted) - 1).bit_length()
        wanted += wanted[-1:] * (size - len(wanted))
        return self._of(size).all(tx, {**values, **{f"listed_{n}": each for n, each in enumerate(wanted)}})

    def _of(self, size: int) -> Compiled:
        if size not in self._sized:
            self._sized[size] = Compiled(self._query([bindparam(f"listed_{n}") for n in range(size)]))
        return self._sized[size]


@dataclass
class _Ready:
    """What the driver is given, and how its values are converted."""

    sql: str
    asked: tuple[tuple[str, str, Convert | None], ...]  # the driver's name, ours, the conversion
    keys: frozenset[str]                                # ours, each once
    fixed: Mapping[str, Any]                            # values that stand in the statement itself
    order: tuple[str, ...] | None                       # the driver's names, where it wants them in this order
    shown: tuple[tuple[str, Any], ...]                  # the columns of a row, and their types
    dialect: Dialect
    read: Read | None = None                            # how, is known when the driver has said what it gives

    @classmethod
    def of(cls, statement: Statement, values: Values, dialect: Dialect) -> _Ready:
        columns = list(values) if isinstance(statement, Insert) else None
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        _check(compiled)
        names = compiled.bind_names
        return cls(
            sql=str(compiled), order=tuple(compiled.positiontup) if compiled.positiontup is not None else None,
            asked=tuple((names[each], each.key, _bound(each, dialect)) for each in names if each.required),
            keys=frozenset(each.key for each in names if each.required),
            fixed={names[each]: _converted(_bound(each, dialect), each.effective_value)
                   for each in names if not each.required},
            shown=tuple((each.key, each.type) for each in getattr(statement, "exported_columns", ())),
            dialect=dialect,
        )

    def parameters(self, values: Values) -> Any:
        if len(values) != len(self.keys):  # the same number, and each that is asked for is there
            raise KeyError(f"values are {sorted(values)}, not {sorted(self.keys)}")
        given = dict(self.fixed)
        for name, key, convert in self.asked:
            value = values[key]
            given[name] = value if convert is None else convert(value)
        return given if self.order is None else tuple(given[name] for name in self.order)

    def reader(self, cursor: Any) -> Read:
        """From a row as the driver gives it to one as the columns say."""
        if self.read is None:
            kinds = [kind.dialect_impl(self.dialect) for _, kind in self.shown]
            converts = [kind.result_processor(self.dialect, given[1])
                        for kind, given in zip(kinds, cursor.description, strict=True)]
            self.read = _reader([name for name, _ in self.shown], converts)
        return self.read


def _reader(names: list[str], converts: Sequence[Convert | None]) -> Read:
    made: Any = namedtuple("Row", names)  # type: ignore[misc]  # the columns are known only now
    make: Read = made._make
    converted = [(at, convert) for at, convert in enumerate(converts) if convert is not None]

    def read(row: Sequence[Any]) -> Any:
        values = list(row)
        for at, convert in converted:
            values[at] = convert(values[at])
        return make(values)

    return read if converted else make


def _check(compiled: SQLCompiler) -> None:
    if compiled.post_compile_params or compiled.literal_execute_params:
        raise ValueError("a list of values is not the same text each time")
    if compiled.insert_prefetch or compiled.update_prefetch:
        raise ValueError("a column that was left out gets its value from Python")


def _bound(parameter: BindParameter[Any], dialect: Dialect) -> Convert | None:
    convert: Convert | None = parameter.type.dialect_impl(dialect).bind_processor(dialect)
    return _once(convert) if convert is not None and isinstance(parameter.type, Instant) else convert


def _once(convert: Convert) -> Convert:
    """The rows of a transaction carry one moment, the very same object: it is converted for the first of them."""
    last: tuple[Any, Any] = (None, convert(None))  # one tuple, so that another thread's never mixes with ours

    def converted(value: Any) -> Any:
        nonlocal last
        known = last
        if value is not known[0]:
            last = known = (value, convert(value))
        return known[1]

    return converted


def _converted(convert: Convert | None, value: Any) -> Any:
    return value if convert is None else convert(value)


def run_plainly(tx: Connection, sql: str, parameters: Any = (), *, many: bool = False) -> Any:
    """Run this text as it stands, whether or not there is a transaction; the driver's cursor."""
    cursor = tx.connection.cursor()
    tx.engine.dispatch.before_cursor_execute(tx, cursor, sql, parameters, None, many)
    try:
        (cursor.executemany if many else cursor.execute)(sql, parameters)
    except Exception as error:
        _raise(tx, error, sql, parameters, cursor)
    return cursor


def _run(tx: Connection, ready: _Ready, parameters: Any, *, many: bool = False) -> Any:
    if not tx.in_transaction():
        tx.begin()
    return run_plainly(tx, ready.sql, parameters, many=many)


def _raise(tx: Connection, error: Exception, sql: str, parameters: Any, cursor: Any) -> NoReturn:
    """As SQLAlchemy does. What is public replaces one connection that broke, and not the pool's others with it;
    `tests/db/test_compiled.py` fails where this becomes another.
    """
    tx._handle_dbapi_exception(error, sql, parameters, cursor, None)
