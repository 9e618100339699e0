"""Cursors: opaque, and good for nothing but the list that they were made for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.domain import cursors
from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import TenantId

TENANT = TenantId(b"\1" * 16)
CURSOR = cursors.encode("notes", "collections", TENANT, False)


def test_a_cursor_gives_its_position_back() -> None:
    assert cursors.decode(CURSOR, str, "collections", TENANT, False) == "notes"


@given(st.text())
def test_any_name_can_be_a_position(name: str) -> None:
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
def test_a_cursor_of_another_list_is_refused(binding: tuple[object, ...]) -> None:
    refused(CURSOR, str, *binding)


@pytest.mark.parametrize("length", range(len(CURSOR)))
def test_a_truncated_cursor_is_refused(length: int) -> None:
    refused(CURSOR[:length], str, "collections", TENANT, False)


@pytest.mark.parametrize("at", range(len(CURSOR) - 1))
def test_an_altered_cursor_is_refused(at: int) -> None:
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
def test_what_is_no_cursor_is_refused(cursor: Any) -> None:
    refused(cursor, str, "collections", TENANT, False)


def test_a_position_of_another_shape_is_refused() -> None:
    refused(cursors.encode(7, "collections"), str, "collections")


def refused(cursor: Any, kind: type, *binding: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        cursors.decode(cursor, kind, *binding)
    assert caught.value.fields == {"field": "cursor", "reason": "is not a cursor of this list"}
