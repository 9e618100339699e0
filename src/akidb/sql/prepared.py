"""Precompiled SQLAlchemy Core statements.

The text, the parameter order and the conversions of a statement do not change between calls, so they are
computed once per dialect. A read that takes 45 us through `Connection.execute` takes 10 us this way, and
there is still one statement for both databases.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import chain, count, islice
from typing import Any

import msgspec
import sqlalchemy as sa

from akidb.domain.errors import Internal
from akidb.observe.interrupts import checkpoint
from akidb.observe.logs import logger
from akidb.sql.database import driver_of
from akidb.sql.errors import is_undecodable

Statement = sa.Select[Any] | sa.Insert | sa.Update | sa.Delete
Processor = Callable[[Any], Any] | None

STREAMED_ROWS = 1_000
"""Rows that PostgreSQL sends at a time when streaming, as a whole table may be read."""
FETCHED_ROWS = 50
"""Rows read at a time from a file; a row may have megabytes."""

FAULTS = (ValueError, KeyError, TypeError, msgspec.MsgspecError)
"""Errors that row conversions raise for invalid values."""

_cursor_numbers = count(1)
_logger = logger("akidb.sql")


def unreadable(error: Exception) -> Internal:
    """Return the error for a row with a value that the constraints forbid, such as an unknown state.

    It has no message of `error`, which quotes the row.
    """
    return Internal(f"a row cannot be read ({type(error).__name__}); run `akidb doctor` to find it")


class Undecodable(bytes):
    """Text of a damaged row, which is not UTF-8."""


class _Damaged(list[Any]):
    """Rows of which some may have values that are `Undecodable`."""


def decoded(data: bytes) -> str | Undecodable:
    """Return text of SQLite that may not be UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Undecodable(data)


@contextmanager
def lenient(connection: sa.Connection) -> Iterator[None]:
    """Let a connection to SQLite return damaged text as `Undecodable`, where it raises otherwise."""
    driver = driver_of(connection)
    driver.text_factory = decoded
    try:
        yield
    finally:
        driver.text_factory = str


class _Compiled:
    """A statement compiled for one dialect."""

    def __init__(self, statement: Statement, kinds: tuple[type, ...], dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        names = compiled.positiontup
        if names is None:
            raise NotImplementedError(f"{dialect.name} does not support positional parameters")
        self.names = names
        self.bind = _binder([compiled.binds[name] for name in names], dialect)
        columns = statement.selected_columns if isinstance(statement, sa.Select) else ()
        self.make = _maker(
            kinds, [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        )


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
        """Return every row."""
        compiled = self._of(connection)
        rows = self._fetched(connection, compiled, parameters)
        try:
            return [compiled.make(row) for row in rows]
        except FAULTS as error:
            raise unreadable(error) from error

    def rows(self, connection: sa.Connection, **parameters: Any) -> list[Any]:
        """Return every row, also one with damaged text, which is `Undecodable` there.

        Only for columns without conversions.
        """
        compiled = self._of(connection)
        rows: list[Any] = self._fetched(connection, compiled, parameters, damaged=True)
        return rows

    def readable(self, connection: sa.Connection, **parameters: Any) -> list[Any]:
        """Return every row, with None in place of an unreadable one, which is logged."""
        compiled = self._of(connection)
        rows = self._fetched(connection, compiled, parameters, damaged=True)
        if type(rows) is not _Damaged:
            with suppress(*FAULTS):  # all rows are readable, as a rule
                return [compiled.make(row) for row in rows]
        return [self._made(compiled, row) for row in rows]

    def first(self, connection: sa.Connection, **parameters: Any) -> Any:
        """Return the row, or None. The statement must return at most one."""
        compiled = self._of(connection)
        rows = self._fetched(connection, compiled, parameters)
        try:
            return compiled.make(rows[0]) if rows else None
        except FAULTS as error:
            raise unreadable(error) from error

    def stream(self, connection: sa.Connection, *, at_once: int = STREAMED_ROWS, **parameters: Any) -> Rows:
        """Return every row, with bounded memory: PostgreSQL sends `at_once`, and requires a transaction.

        Damaged text is `Undecodable`.
        """
        return Rows(self._of(connection).make, self._raw(connection, parameters, at_once))

    def faults(self, connection: sa.Connection, **parameters: Any) -> Iterator[tuple[Any, Exception]]:
        """Yield the first raw value of each unreadable row, and the error."""
        make = self._of(connection).make
        with closing(self._raw(connection, parameters, STREAMED_ROWS)) as rows:
            for row in rows:
                try:
                    make(_readable(row))
                except FAULTS as error:
                    yield row[0], error

    def _raw(
        self, connection: sa.Connection, parameters: Mapping[str, Any], at_once: int
    ) -> Generator[tuple[Any, ...], None, None]:
        compiled = self._of(connection)
        if connection.dialect.name != "postgresql":
            done = 0
            try:
                for rows in self._parts(connection, compiled, parameters):
                    yield from rows
                    done += len(rows)
            except Exception as error:
                if not is_undecodable(error):
                    raise
                with lenient(connection):
                    again = self._parts(connection, compiled, parameters)
                    yield from islice(chain.from_iterable(again), done, None)
            return
        name = f"akidb_{next(_cursor_numbers)}"
        with driver_of(connection).cursor(name=name, binary=True) as cursor:
            cursor.execute(compiled.text, compiled.bind(parameters))
            while rows := cursor.fetchmany(at_once):
                checkpoint()
                yield from rows

    def _parts(
        self, connection: sa.Connection, compiled: _Compiled, parameters: Mapping[str, Any]
    ) -> Iterator[list[tuple[Any, ...]]]:
        with closing(self._execute(connection, compiled, parameters)) as cursor:
            while rows := cursor.fetchmany(FETCHED_ROWS):
                checkpoint()
                yield rows

    def _fetched(
        self,
        connection: sa.Connection,
        compiled: _Compiled,
        parameters: Mapping[str, Any],
        *,
        damaged: bool = False,
    ) -> Any:
        """Return every row as the driver does. Raises Internal for damaged text, unless `damaged`."""
        try:
            return self._execute(connection, compiled, parameters).fetchall()
        except Exception as error:
            if not is_undecodable(error):
                raise
        with lenient(connection):
            rows = self._execute(connection, compiled, parameters).fetchall()
        try:
            return _Damaged(rows) if damaged else [_readable(row) for row in rows]
        except FAULTS as error:
            raise unreadable(error) from None

    def _of(self, connection: sa.Connection) -> _Compiled:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, self._kinds, dialect)
        return compiled

    @staticmethod
    def _made(compiled: _Compiled, row: tuple[Any, ...]) -> Any:
        try:
            return compiled.make(_readable(row))
        except FAULTS as error:
            # Not the error message, which quotes the row.
            _logger.warning("a row that cannot be read (%s) is left out of a list", type(error).__name__)
            return None

    @staticmethod
    def _execute(connection: sa.Connection, compiled: _Compiled, parameters: Mapping[str, Any]) -> Any:
        return driver_of(connection).execute(compiled.text, compiled.bind(parameters))


def _readable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the row. Raises ValueError for damaged text."""
    if Undecodable in map(type, row):
        raise ValueError("text is not UTF-8")
    return row


def _binder(
    parameters: list[sa.BindParameter[Any]], dialect: sa.Dialect
) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Return a function that converts named parameters and puts them in statement order."""
    names: dict[str, Any] = {}
    values: list[str] = []
    for at, parameter in enumerate(parameters):
        processor = parameter.type.dialect_impl(dialect).bind_processor(dialect)
        if not parameter.required:  # a constant of the statement
            value = parameter.effective_value
            names[f"value{at}"] = value if processor is None else processor(value)
            values.append(f"value{at}")
            continue
        given = f"given[{parameter.key!r}]"
        values.append(given if processor is None else f"convert{at}({given})")
        names[f"convert{at}"] = processor
    return _written_out(f"lambda given: [{', '.join(values)}]", names)


def _maker(kinds: tuple[type, ...], processors: list[Processor]) -> Callable[[tuple[Any, ...]], Any]:
    """Return a function that converts a row, generated as source like namedtuple and dataclass do.

    `lambda row: kind0(tenant_id=convert0(row[0]), name=row[1], ...)` converts a page of 100 tenants in
    70 us; a list of converted values and keywords from a dictionary take 200 us.
    """
    names: dict[str, Any] = {f"kind{at}": kind for at, kind in enumerate(kinds)}
    values: list[str] = []
    for at, processor in enumerate(processors):
        values.append(f"row[{at}]" if processor is None else f"convert{at}(row[{at}])")
        names[f"convert{at}"] = processor
    if not kinds:
        source = f"[{', '.join(values)}]"
    else:
        remaining = iter(values)
        made = [
            f"kind{at}({', '.join(f'{field}={next(remaining)}' for field in kind.__struct_fields__)})"  # type: ignore[attr-defined]
            for at, kind in enumerate(kinds)
        ]
        source = made[0] if len(made) == 1 else f"({', '.join(made)})"
    return _written_out(f"lambda row: {source}", names)


def _written_out(source: str, names: dict[str, Any]) -> Callable[[Any], Any]:
    """Evaluate generated source, which contains only names from this module and the tables."""
    function: Callable[[Any], Any] = eval(source, names)  # noqa: S307
    return function
