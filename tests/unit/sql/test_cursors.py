"""Cursors: opaque, and valid only for the list they were made for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.domain import cursors
from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import TenantId

TENANT = TenantId(b"\1" * 16)
CURSOR = cursors.encode("notes", "collections", TENANT, False)


def test_cursor_round_trips_its_position() -> None:
    assert cursors.decode(CURSOR, str, "collections", TENANT, False) == "notes"


@given(st.text())
def test_any_text_round_trips_as_position(name: str) -> None:
    cursor = cursors.encode(name, "documents")
    assert cursors.decode(cursor, str, "documents") == name
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "binding",
    [
        ("databases", TENANT, False),
        ("collections", TenantId(b"\2" * 16), False),
        ("collections", TENANT, True),
        ("collections", TENANT),
        ("collections", f"{TENANT}, False"),
    ],
)
def test_cursor_from_another_list_is_refused(binding: tuple[object, ...]) -> None:
    refused(CURSOR, str, *binding)


@pytest.mark.parametrize("length", range(len(CURSOR)))
def test_truncated_cursor_is_refused(length: int) -> None:
    refused(CURSOR[:length], str, "collections", TENANT, False)


@pytest.mark.parametrize("at", range(len(CURSOR) - 1))
def test_tampered_cursor_is_refused(at: int) -> None:
    other = "B" if CURSOR[at] != "B" else "C"
    refused(CURSOR[:at] + other + CURSOR[at + 1 :], str, "collections", TENANT, False)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "=",
        "====",
        "!",
        CURSOR + "\n",
        CURSOR + "====",
        CURSOR + "AAAA",
        " " + CURSOR,
        CURSOR[:-1] + "\u00e9",
        "\uff21" * 16,
        "\ud800",
        "A" * 1_000_000,
        CURSOR + "A" * 1_000_000,
        b"AAAA",
        7,
    ],
)
def test_malformed_cursor_is_refused(cursor: Any) -> None:
    refused(cursor, str, "collections", TENANT, False)


def test_position_of_wrong_type_is_refused() -> None:
    refused(cursors.encode(7, "collections"), str, "collections")


def refused(cursor: Any, kind: type, *binding: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        cursors.decode(cursor, kind, *binding)
    assert caught.value.fields == {"field": "cursor", "reason": "is not a cursor of this list"}
