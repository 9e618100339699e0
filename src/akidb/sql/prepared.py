"""Core statements that skip the machinery around them.

The text, the order of the parameters and the conversions of a statement do not change between calls,
so they are worked out once for each dialect. A read that costs 45 us through `Connection.execute` costs
10 us this way; what is written here is still the one statement for both databases.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any

import msgspec
import sqlalchemy as sa

from akidb.domain.errors import Internal
from akidb.observe.logs import logger
from akidb.sql.database import driver_of

Statement = sa.Select[Any] | sa.Insert | sa.Update | sa.Delete
Processor = Callable[[Any], Any] | None

STREAMED_ROWS = 1_000
"""Rows that PostgreSQL sends at a time where a whole table may be read."""

FAULTS = (ValueError, KeyError, TypeError, msgspec.MsgspecError)
"""What the conversions of a row raise when it holds what it must not."""

_cursor_numbers = count(1)
_logger = logger("akidb.sql")


def unreadable(error: Exception) -> Internal:
    """The error of a row that holds what no constraint lets in, such as a state that there is not."""
    return Internal(f"a row cannot be read ({error!r}): `akidb doctor` names it")


class _Compiled:
    """A statement for one dialect."""

    def __init__(self, statement: Statement, kinds: tuple[type, ...], dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        names = compiled.positiontup
        if names is None:
            raise NotImplementedError(f"{dialect.name} does not take parameters by position")
        self.names = names
        self.bind = _binder([compiled.binds[name] for name in names], dialect)
        columns = statement.selected_columns if isinstance(statement, sa.Select) else ()
        self.make = _maker(
            kinds, [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        )


class Prepared:
    """A statement to be run many times.

    A row comes as a list of converted values in the order of the columns. With `kinds`, which are Structs
    whose fields the columns are, one after the other, it comes as one of them, or as a tuple of several.
    """

    def __init__(self, statement: Statement, *kinds: type) -> None:
        self._statement = statement
        self._kinds = kinds
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> int:
        """Write; gives the number of rows.

        Raises SQLAlchemy's IntegrityError when a constraint is violated, as `execute` does.
        """
        compiled = self._of(connection)
        try:
            return int(self._execute(connection, compiled, parameters).rowcount)
        except connection.dialect.loaded_dbapi.IntegrityError as error:
            raise sa.exc.IntegrityError(compiled.text, None, error) from error

    def insert_many(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Insert rows in one go, where each parameter bears the name of its column. Raises as `run` does."""
        assert isinstance(self._statement, sa.Insert)
        compiled = self._of(connection)
        try:
            cursor = driver_of(connection).cursor()
            if connection.dialect.name == "postgresql":  # where a statement for each takes twice as long
                columns = ", ".join(compiled.names)
                with cursor.copy(f"COPY {self._statement.table.name} ({columns}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(compiled.bind(row))
            else:
                cursor.executemany(compiled.text, map(compiled.bind, rows))
        except connection.dialect.loaded_dbapi.IntegrityError as error:
            raise sa.exc.IntegrityError(compiled.text, None, error) from error

    def all(self, connection: sa.Connection, **parameters: Any) -> list[Any]:
        """Every row."""
        compiled = self._of(connection)
        rows = self._execute(connection, compiled, parameters).fetchall()
        try:
            return [compiled.make(row) for row in rows]
        except FAULTS as error:
            raise unreadable(error) from error

    def readable(self, connection: sa.Connection, **parameters: Any) -> list[Any]:
        """Every row, but None in place of one that cannot be read, which is said to the log."""
        compiled = self._of(connection)
        rows = self._execute(connection, compiled, parameters).fetchall()
        return [self._made(compiled, row) for row in rows]

    def first(self, connection: sa.Connection, **parameters: Any) -> Any:
        """The first row, None when there is none. The statement finds one at most."""
        compiled = self._of(connection)
        rows = self._execute(connection, compiled, parameters).fetchall()
        try:
            return compiled.make(rows[0]) if rows else None
        except FAULTS as error:
            raise unreadable(error) from error

    def stream(self, connection: sa.Connection, **parameters: Any) -> Iterator[Any]:
        """Every row, a bounded number of them in memory. On PostgreSQL it takes a transaction."""
        return map(self._of(connection).make, self._raw(connection, parameters))

    def faults(self, connection: sa.Connection, **parameters: Any) -> Iterator[tuple[Any, Exception]]:
        """The first value of each row that cannot be read, as the driver gives it, and what is wrong."""
        make = self._of(connection).make
        for row in self._raw(connection, parameters):
            try:
                make(row)
            except FAULTS as error:
                yield row[0], error

    def _raw(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        compiled = self._of(connection)
        if connection.dialect.name != "postgresql":
            yield from self._execute(connection, compiled, parameters)
            return
        name = f"akidb_{next(_cursor_numbers)}"
        with driver_of(connection).cursor(name=name, binary=True) as cursor:
            cursor.itersize = STREAMED_ROWS
            cursor.execute(compiled.text, compiled.bind(parameters))
            yield from cursor

    def _of(self, connection: sa.Connection) -> _Compiled:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, self._kinds, dialect)
        return compiled

    @staticmethod
    def _made(compiled: _Compiled, row: tuple[Any, ...]) -> Any:
        try:
            return compiled.make(row)
        except FAULTS as error:
            # Not what the error says: it quotes the row.
            _logger.warning("a row that cannot be read (%s) is left out of a list", type(error).__name__)
            return None

    @staticmethod
    def _execute(connection: sa.Connection, compiled: _Compiled, parameters: Mapping[str, Any]) -> Any:
        return driver_of(connection).execute(compiled.text, compiled.bind(parameters))


def _binder(
    parameters: list[sa.BindParameter[Any]], dialect: sa.Dialect
) -> Callable[[Mapping[str, Any]], list[Any]]:
    """A function that puts what is given into the order of the statement, converted."""
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
    """A function that converts a row, written out as namedtuple and dataclass write theirs.

    `lambda row: kind0(tenant_id=convert0(row[0]), name=row[1], ...)` makes a page of 100 tenants in
    70 us, where a list of converted values and keywords from a dictionary take 200 us.
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
    """The function that a source makes, which is of our own and the tables' names alone."""
    function: Callable[[Any], Any] = eval(source, names)  # noqa: S307
    return function
