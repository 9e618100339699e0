"""Column types: stored and loaded values, through a real table."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akidb.domain.ids import DatabaseId, TenantId
from akidb.sql.files import create_file
from akidb.sql.prepared import Prepared
from akidb.sql.sqlite import SqliteFile
from akidb.sql.types import Enumerated, Id, Instant, JsonObject, format_instant


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("tenant_id", Id(TenantId)),
    sa.Column("at", Instant),
    sa.Column("body", JsonObject),
    sa.Column("colour", Enumerated(Colour)),
)
AWARE = st.datetimes(timezones=st.timezones())


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sa.Connection]:
    path = tmp_path / "things.db"
    create_file(path)
    file = SqliteFile(path)
    with file.write() as made:
        made.exec_driver_sql(
            "CREATE TABLE things ("
            "number INTEGER PRIMARY KEY, tenant_id BLOB, at TEXT, body TEXT, colour TEXT) STRICT"
        )
        yield made
    file.close()


def store(connection: sa.Connection, **values: Any) -> None:
    connection.execute(sa.delete(things))
    connection.execute(sa.insert(things).values(number=1, **values))


def raw(connection: sa.Connection, column: str) -> object:
    return connection.exec_driver_sql(f"SELECT {column} FROM things").scalar_one()


def test_values_round_trip(connection: sa.Connection) -> None:
    at = datetime(2026, 1, 31, 9, 15, 0, 123456, tzinfo=UTC)
    values = {"tenant_id": TenantId(b"\1" * 16), "at": at, "body": {"b": [1, None]}, "colour": Colour.BLUE}
    store(connection, **values)
    found = connection.execute(sa.select(things)).one()
    assert dict(found._mapping) == {"number": 1, **values}
    assert type(found.colour) is Colour
    assert raw(connection, "tenant_id") == b"\1" * 16
    assert raw(connection, "at") == "2026-01-31T09:15:00.123456Z"
    assert raw(connection, "body") == '{"b":[1,null]}'
    assert raw(connection, "colour") == "blue"


@pytest.mark.parametrize("column", ["tenant_id", "at", "colour"])
def test_none_is_stored_as_null_and_read_as_none(connection: sa.Connection, column: str) -> None:
    store(connection, **{column: None})
    assert raw(connection, column) is None
    assert connection.execute(sa.select(things.c[column])).scalar_one() is None


@pytest.mark.parametrize(
    "value", [DatabaseId(bytes(16)), bytes(16), "00000000-0000-0000-0000-000000000000", 7]
)
def test_id_of_wrong_type_is_refused(connection: sa.Connection, value: object) -> None:
    with pytest.raises((TypeError, sa.exc.StatementError), match="expected TenantId, not"):
        connection.execute(sa.insert(things).values(number=1, tenant_id=value))
    with pytest.raises((TypeError, sa.exc.StatementError), match="expected TenantId, not"):
        connection.execute(sa.select(things).where(things.c.tenant_id == value))
    prepared = Prepared(sa.select(things).where(things.c.tenant_id == sa.bindparam("tenant_id")))
    with pytest.raises(TypeError, match="expected TenantId, not"):
        prepared.all(connection, tenant_id=value)


def test_unknown_enum_value_is_refused(connection: sa.Connection) -> None:
    with pytest.raises((ValueError, sa.exc.StatementError), match="green"):
        connection.execute(sa.insert(things).values(number=1, colour="green"))


@given(AWARE)
def test_instant_has_fixed_width_and_round_trips(at: datetime) -> None:
    try:
        text = format_instant(at)
    except OverflowError:  # before the year 1 or after 9999 in UTC
        return
    assert len(text) == len("2026-01-31T09:15:00.123456Z")
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == at.astimezone(UTC)


@given(st.lists(AWARE.filter(lambda at: 1 < at.year < 9999)))
def test_instant_text_sorts_chronologically(instants: list[datetime]) -> None:
    assert sorted(map(format_instant, instants)) == [
        format_instant(each) for each in sorted(instants, key=lambda at: at.astimezone(UTC))
    ]


def test_time_in_other_zone_is_stored_as_utc() -> None:
    at = datetime(2025, 3, 2, 11, tzinfo=timezone(timedelta(hours=9)))
    assert format_instant(at) == "2025-03-02T02:00:00.000000Z"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(2**63), 2**63 - 1))
)
def test_json_object_is_stored_in_canonical_form(connection: sa.Connection, body: dict[str, int]) -> None:
    store(connection, body=dict(sorted(body.items(), reverse=True)))
    first = raw(connection, "body")
    store(connection, body=body)
    assert raw(connection, "body") == first
    assert connection.execute(sa.select(things.c.body)).scalar_one() == body


def test_prepared_statement_returns_same_rows_as_execute(connection: sa.Connection) -> None:
    store(connection, tenant_id=TenantId(b"\1" * 16), body={}, colour=Colour.RED)
    statement = sa.select(things).where(things.c.colour == sa.bindparam("colour"), things.c.number < 5)
    plain = connection.execute(statement, {"colour": Colour.RED}).one()
    prepared = Prepared(statement)
    assert prepared.first(connection, colour=Colour.RED) == list(plain)
    assert prepared.all(connection, colour=Colour.RED) == [list(plain)]
    assert prepared.first(connection, colour=Colour.BLUE) is None
    assert prepared.all(connection, colour=Colour.BLUE) == []
