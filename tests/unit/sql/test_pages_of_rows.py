"""Pages of rows: they end before a number of bytes, few rows are read beyond, and wrong types are damage."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akidb.domain.errors import Damaged
from akidb.domain.ids import TenantId
from akidb.sql.compiled import ROW_BYTES
from akidb.sql.database import driver_of
from akidb.sql.files import create_file
from akidb.sql.prepared import MAX_WIDE_BYTES, WIDE_ROWS, Prepared, Readable
from akidb.sql.sqlite import SqliteFile
from akidb.sql.types import Enumerated, Id, Instant, JsonObject, Quota


class Colour(StrEnum):
    RED = "red"


things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("tenant_id", Id(TenantId), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("body", JsonObject, nullable=False),
    sa.Column("colour", Enumerated(Colour), nullable=False),
    sa.Column("quota", Quota, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("place", sa.Text),
    sa.Column("gone_at", Instant),
)


class Thing(msgspec.Struct):
    number: int
    tenant_id: TenantId
    at: datetime
    body: dict[str, Any]
    colour: Colour
    quota: int | None
    name: str
    place: str | None
    gone_at: datetime | None


ROW: dict[str, Any] = {
    "tenant_id": TenantId(b"\1" * 16),
    "at": datetime(2026, 1, 31, 9, 15, tzinfo=UTC),
    "body": {"k": "ä"},
    "colour": Colour.RED,
    "quota": None,
    "name": "n",
    "place": None,
    "gone_at": None,
}
LIST = Prepared(sa.select(things).order_by(things.c.number).limit(sa.bindparam("rows")), Thing)
ONE = Prepared(sa.select(things).where(things.c.number == sa.bindparam("number")), Thing)
SEEN = Prepared(
    sa.select(things.c.number, things.c.body)
    .where(sa.func.seen(things.c.number) == sa.literal_column("1"))
    .order_by(things.c.number)
    .limit(sa.bindparam("rows"))
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sa.Connection]:
    path = tmp_path / "things.db"
    create_file(path)
    file = SqliteFile(path)
    with file.write() as made:
        made.exec_driver_sql(  # any column takes any type, as in a damaged file
            "CREATE TABLE things (number INTEGER PRIMARY KEY, tenant_id, at, body, colour, quota, name,"
            " place, gone_at)"
        )
        yield made
    file.close()


def thing(number: int, body: str) -> Thing:
    return Thing(number, **ROW | {"body": {"k": body}})


def numbers(found: Readable) -> list[int | None]:
    shown = [None if row is None else row.number for row in found]
    return without_last(shown) if found.cut else shown


def without_last(shown: list[int | None]) -> list[int | None]:
    """Without a damaged row at the end of a page that goes on: the next one may have it too."""
    return shown[:-1] if shown[-1] is None else shown


def fill(connection: sa.Connection, bodies: list[str], damaged: int | None = None) -> None:
    connection.execute(sa.delete(things))
    for number, body in enumerate(bodies, start=1):
        connection.execute(sa.insert(things).values(number=number, **{**ROW, "body": {"k": body}}))
    if damaged is not None:
        connection.exec_driver_sql("UPDATE things SET body = '{' WHERE number = ?", (damaged,))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.one_of(st.text("aä🙂", max_size=5), st.just("ä" * 3000)), max_size=40),
    st.integers(1, 40_000),
    st.integers(1, 45),
    st.data(),
)
def test_page_has_the_rows_that_fit(
    connection: sa.Connection, bodies: list[str], most_bytes: int, rows: int, data: st.DataObject
) -> None:
    """But at least one; damaged ones have no bytes."""
    damaged = data.draw(st.none() | st.integers(1, len(bodies))) if bodies else None
    fill(connection, bodies, damaged)
    sizes = [
        0 if number == damaged else ROW_BYTES + len(f'{{"k":"{body}"}}'.encode())
        for number, body in enumerate(bodies[:rows], start=1)
    ]
    first = 2 if damaged == 1 else 1
    fitting = min(max(first, sum(total <= most_bytes for total in accumulate(sizes))), len(sizes))
    errors: list[Damaged] = []
    found = LIST.readable(connection, most_bytes=most_bytes, rows=rows, damaged=errors.append)
    cut = fitting < len(sizes)
    expected = [None if n == damaged else n for n in range(1, fitting + 1)]
    if expected[1:] and expected[-1] is None and found.cut:  # the damaged row may be left to the next page
        expected, cut = expected[:-1], True
    assert numbers(found) == (without_last(expected) if cut else expected)
    assert found.cut == cut
    assert len(errors) == found.count(None)
    assert all(row is None or row == thing(row.number, bodies[row.number - 1]) for row in found)


def test_few_rows_are_read_beyond_a_page(connection: sa.Connection) -> None:
    """Also where small ones come first, which let more be read at a time."""
    most_bytes = 3 * MAX_WIDE_BYTES + 2 * WIDE_ROWS * ROW_BYTES
    fill(connection, ["small"] * (2 * WIDE_ROWS) + ["x" * 2**20] * 20)
    seen: set[int] = set()

    def note(number: int) -> int:
        seen.add(number)
        return 1

    driver_of(connection).create_function("seen", 1, note)
    found = SEEN.readable(connection, most_bytes=most_bytes, rows=100)
    assert (len(found), found.cut) == (2 * WIDE_ROWS + 3, True)
    assert len(seen) <= len(found) + WIDE_ROWS


WRONG = [
    (column, literal)
    for column, literals in {
        "tenant_id": ("NULL", "7", "'abcdefghijklmnop'", "x'01'"),
        "at": ("NULL", "7", "x'323032362d30312d3031'", "'lost'"),
        "body": ("NULL", "7", "x'7b7d'", "'[]'", "'{'"),
        "colour": ("NULL", "7", "x'726564'", "'green'"),
        "quota": ("NULL", "'7'", "9223372036854775807.0", "x'07'"),
        "name": ("NULL", "7", "x'61'", "CAST(x'61ff62' AS TEXT)"),
        "place": ("7", "1.5", "x'61'", "CAST(x'61ff62' AS TEXT)"),
        "gone_at": ("7", "x'61'", "CAST(x'61ff62' AS TEXT)", "''"),
    }.items()
    for literal in literals
]


@pytest.mark.parametrize(("column", "literal"), WRONG)
def test_wrong_value_is_damage_however_it_is_read(
    connection: sa.Connection, column: str, literal: str
) -> None:
    fill(connection, ["a", "b", "c"])
    connection.exec_driver_sql(f"UPDATE things SET {column} = {literal} WHERE number = 2")
    for most_bytes in (None, 1, 10_000):
        errors: list[Damaged] = []
        found = LIST.readable(connection, most_bytes=most_bytes, rows=9, damaged=errors.append)
        assert numbers(found) == ([1] if most_bytes == 1 else [1, None, 3])
        assert [error.fields["damaged_field"] for error in errors] == [column] * found.count(None)
    for read in (lambda: ONE.first(connection, number=2), lambda: LIST.all(connection, rows=9)):
        with pytest.raises(Damaged) as caught:
            read()
        assert (caught.value.fields["id"], caught.value.fields["damaged_field"]) == ("2", column)
    assert ONE.first(connection, number=1) == thing(1, "a")
    assert [row.number for row in LIST.sound(connection, at_once=2, damaged=errors.append, rows=9)] == [1, 3]
    assert [error.fields["id"] for error in LIST.faults(connection, rows=9)] == ["2"]
