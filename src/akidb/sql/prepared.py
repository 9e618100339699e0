"""Core statements that skip the machinery around them.

The text, the order of the parameters and the conversions of a statement do not change between calls,
so they are worked out once for each dialect. A read that costs 45 us through `Connection.execute` costs
10 us this way; what is written here is still the one statement for both databases.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from akidb.sql.sqlite import driver_of

Row = list[Any]
Statement = sa.Select[Any] | sa.Insert | sa.Update
Processor = Callable[[Any], Any] | None


class _Compiled:
    """A statement for one dialect."""

    def __init__(self, statement: Statement, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        names = compiled.positiontup
        if names is None:
            raise NotImplementedError(f"{dialect.name} does not take parameters by position")
        constants = compiled.params
        self.parameters = [
            (name, constants[name], _binder(compiled.binds[name].type, dialect)) for name in names
        ]
        columns = statement.selected_columns if isinstance(statement, sa.Select) else ()
        self.processors = [
            (at, processor)
            for at, column in enumerate(columns)
            if (processor := column.type.dialect_impl(dialect).result_processor(dialect, None)) is not None
        ]

    def bind(self, given: Mapping[str, Any]) -> list[Any]:
        return [
            value if binder is None else binder(value)
            for value, binder in (
                (given.get(name, constant), binder) for name, constant, binder in self.parameters
            )
        ]


class Prepared:
    """A statement to be run many times."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
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

    def all(self, connection: sa.Connection, **parameters: Any) -> list[Row]:
        """Every row, as a list of converted values in the order of the columns."""
        compiled = self._of(connection)
        rows = self._execute(connection, compiled, parameters).fetchall()
        return [_convert(row, compiled) for row in rows]

    def first(self, connection: sa.Connection, **parameters: Any) -> Row | None:
        """The first row, None when there is none. The statement finds one at most."""
        compiled = self._of(connection)
        rows = self._execute(connection, compiled, parameters).fetchall()
        return _convert(rows[0], compiled) if rows else None

    def _of(self, connection: sa.Connection) -> _Compiled:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, dialect)
        return compiled

    @staticmethod
    def _execute(connection: sa.Connection, compiled: _Compiled, parameters: Mapping[str, Any]) -> Any:
        return driver_of(connection).execute(compiled.text, compiled.bind(parameters))


def _binder(kind: Any, dialect: sa.Dialect) -> Processor:
    processor: Processor = kind.dialect_impl(dialect).bind_processor(dialect)
    return processor


def _convert(row: tuple[Any, ...], compiled: _Compiled) -> Row:
    values = list(row)
    for at, processor in compiled.processors:
        values[at] = processor(values[at])
    return values
