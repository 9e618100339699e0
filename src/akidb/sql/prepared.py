"""Precompiled SQLAlchemy Core statements.

The text, the parameter order and the conversions of a statement do not change between calls, so they are
computed once per dialect. A read that takes 45 us through `Connection.execute` takes 10 us this way, and
there is still one statement for both databases.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from itertools import chain, count, islice
from time import perf_counter
from typing import Any

import sqlalchemy as sa

from akidb.domain.errors import Damaged
from akidb.observe.interrupts import checkpoint
from akidb.observe.logs import logger
from akidb.sql.damage import FAULTS, RowCheck, decoded
from akidb.sql.database import driver_of
from akidb.sql.errors import is_undecodable
from akidb.sql.row_functions import binder, maker
from akidb.sql.types import JsonObject

Statement = sa.Select[Any] | sa.Insert | sa.Update | sa.Delete

STREAMED_ROWS = 1_000
"""Rows that PostgreSQL sends at a time when streaming, as a whole table may be read."""
FIRST_ROWS, FETCHED_ROWS = 4, 50
"""Rows read at a time from a file, at first and at most."""
FETCH_SECONDS = 0.001
"""If reading takes longer, since rows may have megabytes, fewer are read at a time.

Callers look at limits between two reads, and let short requests go first.
"""

WIDE_ROWS = 8
"""Rows with JSON that are read at a time."""
ROW_BYTES = 512
"""About what a row has in an answer, without its wide columns."""
_NARROW = frozenset({"name", "slug", "email", "external_id"})
"""Texts that have at most 1 KB."""

_cursor_numbers = count(1)
_logger = logger("akidb.sql")


@contextmanager
def lenient(connection: sa.Connection) -> Iterator[None]:
    """Let a connection to SQLite return damaged text as `Undecodable`, where it raises otherwise."""
    driver = driver_of(connection)
    before, driver.text_factory = driver.text_factory, decoded
    try:
        yield
    finally:
        driver.text_factory = before


class _Compiled:
    """A statement compiled for one dialect."""

    def __init__(self, statement: Statement, kinds: tuple[type, ...], dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        names = compiled.positiontup
        if names is None:
            raise NotImplementedError(f"{dialect.name} does not support positional parameters")
        self.names = names
        self.bind = binder([compiled.binds[name] for name in names], dialect)
        columns = tuple(statement.selected_columns) if isinstance(statement, sa.Select) else ()
        converters = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self.make = maker(kinds, converters)
        self.check = RowCheck(columns, converters, dialect, joined=not kinds)
        self._known_types: set[tuple[type, ...]] = set()
        self._wide = [at for at, column in enumerate(columns) if _is_wide(column)]
        self.is_wide = bool(self._wide)
        """Whether rows may have more than a few hundred bytes."""
        self._statement = statement
        self._dialect = dialect

    @cached_property
    def sizes(self) -> str:
        """A statement with the same parameters for the sizes of its rows, on PostgreSQL."""
        assert isinstance(self._statement, sa.Select)
        columns = tuple(self._statement.selected_columns)
        wide = (
            sa.func.coalesce(sa.func.octet_length(columns[at]), sa.literal_column("0")) for at in self._wide
        )
        size: sa.ColumnElement[int] = sum(wide, sa.literal_column(str(ROW_BYTES), sa.Integer))
        sizes = self._statement.with_only_columns(size, maintain_column_froms=True)
        compiled = sizes.compile(dialect=self._dialect)
        assert compiled.positiontup == list(self.names)
        return str(compiled)

    def size(self, row: tuple[Any, ...]) -> int:
        """Return about how many bytes a row has in an answer."""
        size = ROW_BYTES
        for at in self._wide:
            value = row[at]
            if isinstance(value, str):
                size += len(value) if value.isascii() else len(value.encode())
        return size

    def sound(self, row: tuple[Any, ...]) -> Any:
        """Convert a row. Raises one of FAULTS if the schema forbids a value in it."""
        types = tuple(map(type, row))
        if types not in self._known_types:
            self.check.require(types)
            self._known_types.add(types)
        return self.make(row)

    def made(self, row: tuple[Any, ...], parameters: Mapping[str, Any]) -> Any:
        """Convert a row. Raises Damaged if the schema forbids a value in it."""
        try:
            if tuple(map(type, row)) in self._known_types:  # `sound`, without a call
                return self.make(row)
            return self.sound(row)
        except FAULTS:
            # Without the cause, which quotes the row.
            raise self.check.damage(row, parameters) from None


class Rows:
    """Rows that are read while they are used: once, and closed unless that was to the end.

    An unfinished statement would keep its snapshot of the store.
    """

    __slots__ = ("_made", "_raw")

    def __init__(self, make: Callable[[Any], Any], raw: Generator[tuple[Any, ...], None, None]) -> None:
        self._raw = raw
        self._made = map(make, raw)

    def __iter__(self) -> Iterator[Any]:
        return self._made

    def close(self) -> None:
        """Finish the statement."""
        self._raw.close()


class Readable(list[Any]):
    """Rows, with None in place of each damaged one."""

    cut = False
    """Whether there are more, which did not fit."""


class Prepared:
    """A statement for repeated use.

    A row is returned as a list of converted values in column order. With `kinds`, which are Structs whose
    fields match the columns in order, a row is returned as a Struct, or as a tuple of several.
    """

    def __init__(self, statement: Statement, *kinds: type) -> None:
        self._statement = statement
        self._kinds = kinds
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> int:
        """Run a write and return the number of rows.

        Raises SQLAlchemy's IntegrityError if a constraint is violated, as `execute` does.
        """
        compiled = self._of(connection)
        try:
            return int(self._execute(connection, compiled, parameters).rowcount)
        except connection.dialect.loaded_dbapi.IntegrityError as error:
            raise sa.exc.IntegrityError(compiled.text, None, error) from error

    def insert_many(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Bulk-insert rows; each parameter has the name of its column. Raises the errors of `run`."""
        assert isinstance(self._statement, sa.Insert)
        compiled = self._of(connection)
        try:
            cursor = driver_of(connection).cursor()
            if connection.dialect.name == "postgresql":  # single statements would take twice as long
                columns = ", ".join(compiled.names)
                with cursor.copy(f"COPY {self._statement.table.name} ({columns}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(compiled.bind(row))
            else:
                cursor.executemany(compiled.text, map(compiled.bind, rows))
        except connection.dialect.loaded_dbapi.IntegrityError as error:
            raise sa.exc.IntegrityError(compiled.text, None, error) from error

    def all(self, connection: sa.Connection, **parameters: Any) -> list[Any]:
        """Return every row. Raises Damaged for the first with a value that the schema forbids."""
        compiled = self._of(connection)
        return [compiled.made(row, parameters) for row in self._fetched(connection, compiled, parameters)]

    def rows(self, connection: sa.Connection, **parameters: Any) -> list[Any]:
        """Return every row, also one with damaged text, which is `Undecodable` there.

        Only for columns without conversions.
        """
        compiled = self._of(connection)
        return self._fetched(connection, compiled, parameters)

    def readable(
        self,
        connection: sa.Connection,
        *,
        most_bytes: int | None = None,
        damaged: Callable[[Damaged], object] | None = None,
        **parameters: Any,
    ) -> "Readable":
        """Return every row, with None in place of a damaged one, which is logged, or given to `damaged`.

        With `most_bytes`, they end before their values have more bytes, but after at least one.
        """
        compiled = self._of(connection)
        if most_bytes is None or not compiled.is_wide:
            with suppress(*FAULTS):  # all rows are readable, as a rule
                return Readable(map(compiled.sound, self._fetched(connection, compiled, parameters)))
        found = Readable()
        size = 0
        rows = self._narrow(connection, compiled, parameters, most_bytes, found)
        with closing(rows):
            for row in rows:
                try:
                    made = compiled.sound(row)
                except FAULTS:
                    found.append(None)
                    _left_out(compiled.check.damage(row, parameters), damaged)
                    continue
                if most_bytes is not None:
                    size += compiled.size(row)
                    if size > most_bytes and any(each is not None for each in found):
                        found.cut = True
                        break
                found.append(made)
        if found.cut and not any(each is not None for each in found):  # nothing to go on after
            return self.readable(connection, damaged=damaged, **parameters)
        return found

    def first(self, connection: sa.Connection, **parameters: Any) -> Any:
        """Return the row, or None. The statement must return at most one. Raises Damaged as `all` does."""
        compiled = self._of(connection)
        rows = self._fetched(connection, compiled, parameters)
        return compiled.made(rows[0], parameters) if rows else None

    def stream(self, connection: sa.Connection, *, at_once: int = STREAMED_ROWS, **parameters: Any) -> Rows:
        """Return every row, with bounded memory: PostgreSQL sends `at_once`, and requires a transaction.

        Damaged text is `Undecodable`.
        """
        return Rows(self._of(connection).make, self._raw(connection, parameters, at_once))

    def sound(
        self,
        connection: sa.Connection,
        *,
        at_once: int,
        damaged: Callable[[Damaged], object] | None = None,
        **parameters: Any,
    ) -> Generator[Any, None, None]:
        """Yield the rows, with bounded memory; requires a transaction on PostgreSQL.

        A damaged one is given to `damaged`; without it, raises Damaged.
        """
        compiled = self._of(connection)
        with closing(self._raw(connection, parameters, at_once)) as rows:
            for row in rows:
                try:
                    found = compiled.sound(row)
                except FAULTS:
                    error = compiled.check.damage(row, parameters)
                    if damaged is None:
                        raise error from None
                    damaged(error)
                else:
                    yield found

    def faults(self, connection: sa.Connection, **parameters: Any) -> Iterator[Damaged]:
        """Yield the error of each damaged row."""
        compiled = self._of(connection)
        with closing(self._raw(connection, parameters, STREAMED_ROWS)) as rows:
            for row in rows:
                try:
                    compiled.sound(row)
                except FAULTS:
                    yield compiled.check.damage(row, parameters)

    def _narrow(
        self,
        connection: sa.Connection,
        compiled: _Compiled,
        parameters: Mapping[str, Any],
        most_bytes: int | None,
        found: Readable,
    ) -> Generator[tuple[Any, ...], None, None]:
        """Yield rows, also damaged ones, so that not many more than `most_bytes` are in memory at a time.

        Sets `found.cut` if there are more.
        """
        if most_bytes is None or not compiled.is_wide:
            yield from self._fetched(connection, compiled, parameters)
        elif connection.dialect.name != "postgresql":
            yield from self._raw(connection, parameters, WIDE_ROWS)
        else:
            driver = driver_of(connection)
            number = size = 0
            stopped = False
            for (bytes_of_row,) in driver.execute(compiled.sizes, compiled.bind(parameters)):
                number, size = number + 1, size + bytes_of_row
                if size > most_bytes and number > 1:  # the last one is only to show that there are more
                    stopped = True
                    break
            if number:
                bound = {**parameters, "rows": number}
                yield from driver.execute(compiled.text, compiled.bind(bound)).fetchall()
                found.cut = stopped

    def _raw(
        self, connection: sa.Connection, parameters: Mapping[str, Any], at_once: int
    ) -> Generator[tuple[Any, ...], None, None]:
        compiled = self._of(connection)
        if connection.dialect.name != "postgresql":
            done = 0
            try:
                for rows in self._parts(connection, compiled, parameters, at_once):
                    yield from rows
                    done += len(rows)
            except Exception as error:
                if not is_undecodable(error):
                    raise
                with lenient(connection):
                    again = self._parts(connection, compiled, parameters, at_once)
                    yield from islice(chain.from_iterable(again), done, None)
            return
        name = f"akidb_{next(_cursor_numbers)}"
        with driver_of(connection).cursor(name=name, binary=True) as cursor:
            cursor.execute(compiled.text, compiled.bind(parameters))
            while rows := cursor.fetchmany(at_once):
                checkpoint()
                yield from rows

    def _parts(
        self, connection: sa.Connection, compiled: _Compiled, parameters: Mapping[str, Any], at_once: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        with closing(self._execute(connection, compiled, parameters)) as cursor:
            most = min(at_once, FETCHED_ROWS)
            number, began = min(most, FIRST_ROWS), perf_counter()
            while rows := cursor.fetchmany(number):
                checkpoint()
                is_slow = perf_counter() - began > FETCH_SECONDS
                number = max(1, number // 4) if is_slow else min(number * 2, most)
                yield rows
                began = perf_counter()

    def _fetched(
        self, connection: sa.Connection, compiled: _Compiled, parameters: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Return every row as the driver does, with damaged text as `Undecodable`."""
        try:
            return self._execute(connection, compiled, parameters).fetchall()  # type: ignore[no-any-return]
        except Exception as error:
            if not is_undecodable(error):
                raise
        with lenient(connection):
            return self._execute(connection, compiled, parameters).fetchall()  # type: ignore[no-any-return]

    def _of(self, connection: sa.Connection) -> _Compiled:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, self._kinds, dialect)
        return compiled

    @staticmethod
    def _execute(connection: sa.Connection, compiled: _Compiled, parameters: Mapping[str, Any]) -> Any:
        return driver_of(connection).execute(compiled.text, compiled.bind(parameters))


def _is_wide(column: Any) -> bool:
    """Whether the values of a column may have many KB."""
    if not isinstance(column, sa.Column) or not isinstance(column.type, JsonObject | sa.Text):
        return False
    return isinstance(column.type, JsonObject) or column.name not in _NARROW


def _left_out(error: Damaged, damaged: Callable[[Damaged], object] | None) -> None:
    if damaged is None:
        _logger.warning("left out of a list: %s", error.message)
    else:
        damaged(error)
