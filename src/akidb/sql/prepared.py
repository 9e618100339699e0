"""Precompiled SQLAlchemy Core statements.

The text, the parameter order and the conversions of a statement do not change between calls, so they are
computed once per dialect. A read that takes 45 us through `Connection.execute` takes 10 us this way, and
there is still one statement for both databases.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import accumulate, chain, count, islice
from time import perf_counter
from typing import Any

import sqlalchemy as sa

from akidb.domain.errors import Damaged
from akidb.domain.json import MAX_OBJECT_BYTES
from akidb.observe.interrupts import checkpoint
from akidb.observe.logs import logger
from akidb.sql.compiled import Compiled, Statement
from akidb.sql.damage import FAULTS, decoded
from akidb.sql.database import driver_of
from akidb.sql.errors import is_undecodable

STREAMED_ROWS = 1_000
"""Rows that PostgreSQL sends at a time when streaming, as a whole table may be read."""
FIRST_ROWS, FETCHED_ROWS = 4, 50
"""Rows read at a time from a file, at first and at most."""
FETCH_SECONDS = 0.001
"""If reading takes longer, since rows may have megabytes, fewer are read at a time.

Callers look at limits between two reads, and let short requests go first.
"""

WIDE_ROWS = 8
"""Rows with JSON that are read at a time, at first and if they are large."""
SMALL_BYTES = 4096
"""If they have less, as many are read as fit into the answer whatever they have."""
MAX_WIDE_BYTES = MAX_OBJECT_BYTES + 16 * 1024
"""The most that a row with JSON has in an answer."""

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
        self._compiled: dict[str, Compiled] = {}

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
        rows = self._fetched(connection, compiled, parameters)
        try:
            return compiled.all_sound(rows)
        except FAULTS:
            return [compiled.made(row, parameters) for row in rows]

    def rows(self, connection: sa.Connection, **parameters: Any) -> list[Any]:
        """Return every row, also one with damaged text, which is `Undecodable` there.

        Only for columns without conversions.
        """
        return self._fetched(connection, self._of(connection), parameters)

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
        try:  # all rows are readable, as a rule
            if most_bytes is None or not compiled.is_wide:
                return Readable(compiled.all_sound(self._fetched(connection, compiled, parameters)))
            if connection.dialect.name != "postgresql":
                return self._sound_page(connection, compiled, parameters, most_bytes)
        except FAULTS:
            pass
        except Exception as error:
            if not is_undecodable(error):
                raise
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
                    size += compiled.bytes_of([row])[0]
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
        if not rows:
            return None
        try:
            return compiled.sound(rows[0])
        except FAULTS:
            # Without the cause, which quotes the row.
            raise compiled.check.damage(rows[0], parameters) from None

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

    def _sound_page(
        self, connection: sa.Connection, compiled: Compiled, parameters: Mapping[str, Any], most_bytes: int
    ) -> Readable:
        """Return rows of a file as `readable` does. Raises one of FAULTS or SQLite's error if one is damaged.

        No more are read at a time than fit into an answer, or WIDE_ROWS.
        """
        found = Readable()
        size, number = 0, WIDE_ROWS
        with closing(self._execute(connection, compiled, parameters)) as cursor:
            while rows := cursor.fetchmany(number):
                checkpoint()
                sizes = compiled.bytes_of(rows)
                total = sum(sizes)
                if size + total > most_bytes:
                    room = most_bytes - size
                    fitting = sum(each <= room for each in accumulate(sizes)) or int(not found)
                    if fitting < len(rows) or cursor.fetchone():
                        found.cut = True
                    found += compiled.all_sound(rows[:fitting])
                    return found
                found += compiled.all_sound(rows)
                if len(rows) < number:
                    break
                size += total
                number = WIDE_ROWS
                if total < SMALL_BYTES * len(rows):
                    number = max(number, (most_bytes - size) // MAX_WIDE_BYTES)
        return found

    def _narrow(
        self,
        connection: sa.Connection,
        compiled: Compiled,
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

    def slices(
        self, connection: sa.Connection, *, at_once: int, **parameters: Any
    ) -> Generator[list[tuple[Any, ...]], None, None]:
        """Yield the rows as `rows` returns them, up to `at_once` in a list.

        PostgreSQL requires a transaction. Close it when it is not read to its end.
        """
        return self._slices(connection, parameters, at_once)

    def _raw(
        self, connection: sa.Connection, parameters: Mapping[str, Any], at_once: int
    ) -> Generator[tuple[Any, ...], None, None]:
        with closing(self._slices(connection, parameters, at_once)) as slices:
            for rows in slices:
                yield from rows

    def _slices(
        self, connection: sa.Connection, parameters: Mapping[str, Any], at_once: int
    ) -> Generator[list[tuple[Any, ...]], None, None]:
        compiled = self._of(connection)
        if connection.dialect.name != "postgresql":
            done = 0
            try:
                for rows in self._parts(connection, compiled, parameters, at_once):
                    yield rows
                    done += len(rows)
            except Exception as error:
                if not is_undecodable(error):
                    raise
                with lenient(connection):
                    again = self._parts(connection, compiled, parameters, at_once)
                    rest = islice(chain.from_iterable(again), done, None)
                    while rows := list(islice(rest, FIRST_ROWS)):
                        yield rows
            return
        name = f"akidb_{next(_cursor_numbers)}"
        with driver_of(connection).cursor(name=name, binary=True) as cursor:
            cursor.execute(compiled.text, compiled.bind(parameters))
            while rows := cursor.fetchmany(at_once):
                checkpoint()
                yield rows

    def _parts(
        self, connection: sa.Connection, compiled: Compiled, parameters: Mapping[str, Any], at_once: int
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
        self, connection: sa.Connection, compiled: Compiled, parameters: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Return every row as the driver does, with damaged text as `Undecodable`."""
        bound = compiled.bind(parameters)
        try:
            return driver_of(connection).execute(compiled.text, bound).fetchall()  # type: ignore[no-any-return]
        except Exception as error:
            if not is_undecodable(error):
                raise
        with lenient(connection):
            return self._execute(connection, compiled, parameters).fetchall()  # type: ignore[no-any-return]

    def _of(self, connection: sa.Connection) -> Compiled:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = Compiled(self._statement, self._kinds, dialect)
        return compiled

    @staticmethod
    def _execute(connection: sa.Connection, compiled: Compiled, parameters: Mapping[str, Any]) -> Any:
        return driver_of(connection).execute(compiled.text, compiled.bind(parameters))


def _left_out(error: Damaged, damaged: Callable[[Damaged], object] | None) -> None:
    if damaged is None:
        _logger.warning("left out of a list: %s", error.message)
    else:
        damaged(error)
