"""A statement compiled for one dialect, with the functions that convert its parameters and its rows."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from akidb.sql.damage import FAULTS, RowCheck
from akidb.sql.row_functions import RowMaker, binder
from akidb.sql.types import JsonObject

Statement = sa.Select[Any] | sa.Insert | sa.Update | sa.Delete

ROW_BYTES = 512
"""About what a row has in an answer, without its wide columns."""
_NARROW = frozenset({"name", "slug", "email", "external_id"})
"""Texts that have at most 1 KB."""


class Compiled:
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
        self.check = RowCheck(columns, converters, dialect, joined=not kinds)
        self._maker = RowMaker(kinds, columns, dialect, self.check)
        self.sound = self._maker.sound()
        """Converts a row. Raises one of FAULTS if the schema forbids a value in it."""
        self._wide = [at for at, column in enumerate(columns) if _is_wide(column)]
        self.is_wide = bool(self._wide)
        """Whether rows may have more than a few hundred bytes."""
        self._statement = statement
        self._dialect = dialect

    @cached_property
    def make(self) -> Callable[[tuple[Any, ...]], Any]:
        """Converts a row without a look at the types in it."""
        return self._maker.any()

    @cached_property
    def all_sound(self) -> Callable[[Sequence[tuple[Any, ...]]], list[Any]]:
        """Converts rows as `sound` does."""
        return self._maker.all_sound()

    @cached_property
    def bytes_of(self) -> Callable[[Sequence[tuple[Any, ...]]], list[int]]:
        """Returns about how many bytes each row has in an answer."""
        return self._maker.sizes(self._wide, ROW_BYTES)

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

    def made(self, row: tuple[Any, ...], parameters: Mapping[str, Any]) -> Any:
        """Convert a row. Raises Damaged if the schema forbids a value in it."""
        try:
            return self.sound(row)
        except FAULTS:
            # Without the cause, which quotes the row.
            raise self.check.damage(row, parameters) from None


def _is_wide(column: Any) -> bool:
    """Whether the values of a column may have many KB."""
    if not isinstance(column, sa.Column) or not isinstance(column.type, JsonObject | sa.Text):
        return False
    return isinstance(column.type, JsonObject) or column.name not in _NARROW
