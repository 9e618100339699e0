"""Validation of names, slugs, labels, texts and numbers, and deriving slugs from names."""

import re
from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import DatabaseId, TenantId
from akidb.domain.names import (
    MAX_INTEGER,
    check_integer,
    check_label,
    check_name,
    check_slug,
    check_text,
    check_word,
    derive_slug,
    parse_reference,
)

UUID = "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"

WRONG_EVERYWHERE = [
    "",
    " ",
    "../x",
    "..",
    ".",
    "/",
    "a/b",
    "a b",
    "a\n",
    "\na",
    "a\0",
    "a\x7f",
    "a\ud800",
    "caf\u00e9",
    "\u65e5\u672c\u8a9e",
    "\uff41\uff42",
    "x" * 300,
    "-a",
]
NO_TEXT: list[Any] = [None, 7, True, b"aki", ["aki"]]


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize("slug", ["a", "7", "aki-labs", "a--b", "0-9", "x" * 63, UUID + "0", UUID[:-1]])
def test_valid_slug_is_accepted(slug: str) -> None:
    assert check_slug(slug) == slug


@pytest.mark.parametrize(
    "slug",
    [*WRONG_EVERYWHERE, *NO_TEXT, UUID, "Aki", "aki_labs", "aki.labs", "a-", "-", "x" * 64, UUID.upper()],
)
def test_invalid_slug_is_refused(slug: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_slug(slug)
    assert caught.value.field == "slug"


@pytest.mark.parametrize("name", ["a", "A", "7", "a_b", "a.b", "a-", "a..", "x" * 128, UUID[1:]])
def test_valid_name_is_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", [*WRONG_EVERYWHERE, *NO_TEXT, UUID, "_a", ".a", "x" * 129, UUID.upper(), "a:b", "a%2fb"]
)
def test_invalid_name_is_refused(name: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_name(name, "collection")
    assert caught.value.field == "collection"


@pytest.mark.parametrize(
    "label", ["A", "Aki Labs", " a ", "x" * 255, "\u65e5\u672c", "\U0001f9ea", "e\u0301", UUID]
)
def test_label_can_be_any_single_line_text(label: str) -> None:
    assert check_label(label, "name") == label


@pytest.mark.parametrize(
    "label", ["", " ", "\u3000", "x" * 256, "a\nb", "a\n", "\t", "a\0", "a\x9b", "\ud800", None, 7, b"a"]
)
def test_invalid_label_is_refused(label: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_label(label, "name")
    assert caught.value.field == "name"


def test_error_names_refused_character() -> None:
    with pytest.raises(InvalidArgument, match=r"U\+0085"):
        check_label("a\x85b", "name")


@pytest.mark.parametrize(
    ("text", "maximum_bytes"), [("", 0), ("abc", 3), ("\u00e9", 2), ("\U0001f9ea", 4), ("\n", 1)]
)
def test_text_of_maximum_bytes_is_accepted(text: str, maximum_bytes: int) -> None:
    assert check_text(text, "text", maximum_bytes=maximum_bytes) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("abcd", "must be at most 3 bytes of UTF-8, has 4"),
        ("\u00e9\u00e9", "must be at most 3 bytes of UTF-8, has 4"),
        ("a\0", "must not contain the character U+0000"),
        ("\ud800", "must not contain lone surrogates"),
        (b"abc", "must be text, not bytes"),
        (None, "must be text, not NoneType"),
    ],
)
def test_text_that_cannot_be_stored_is_refused(text: object, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_text(text, "text", maximum_bytes=3)
    assert caught.value.fields == {"field": "text", "reason": reason}


@pytest.mark.parametrize("value", [0, 1, MAX_INTEGER])
def test_integers_up_to_63_bits_are_accepted(value: int) -> None:
    assert check_integer(value, "limit") == value


@pytest.mark.parametrize("value", [np.int64(5), np.uint8(5), np.int32(5)])
def test_integers_of_numpy_are_accepted_as_plain_ones(value: object) -> None:
    assert type(check_integer(value, "limit")) is int
    assert check_integer(value, "limit", 5, 5) == 5


@pytest.mark.parametrize("value", [np.bool_(True), np.float64(1), np.int64(-1), np.array([1, 2])])
def test_other_values_of_numpy_are_refused_as_integers(value: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_integer(value, "limit")
    assert caught.value.field == "limit"


@pytest.mark.parametrize("value", [-1, MAX_INTEGER + 1, 1.0, True, False, "1", None])
def test_invalid_integer_is_refused(value: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_integer(value, "limit")
    assert caught.value.field == "limit"


@pytest.mark.parametrize("value", [1, 12])
def test_error_for_out_of_range_number_names_both_bounds(value: int) -> None:
    with pytest.raises(InvalidArgument, match="from 2 to 11"):
        check_integer(value, "limit", 2, 11)


def test_enum_value_can_be_member_or_text() -> None:
    assert check_word(Colour, "red", "colour") is Colour.RED
    assert check_word(Colour, Colour.BLUE, "colour") is Colour.BLUE


@pytest.mark.parametrize("value", ["Red", "RED", "", "red\n", None, 1, ["red"]])
def test_error_for_unknown_enum_value_lists_valid_values(value: object) -> None:
    with pytest.raises(InvalidArgument, match="colour: must be one of red, blue"):
        check_word(Colour, value, "colour")


def test_reference_can_be_id_id_text_or_name() -> None:
    tenant_id = TenantId.parse(UUID)
    assert parse_reference(TenantId, tenant_id) is tenant_id
    assert parse_reference(TenantId, UUID) == tenant_id
    assert parse_reference(TenantId, "aki-labs") == "aki-labs"
    assert parse_reference(DatabaseId, "Knowledge_Base.1") == "Knowledge_Base.1"


@pytest.mark.parametrize("value", [*WRONG_EVERYWHERE, *NO_TEXT, UUID.upper(), "{" + UUID + "}"])
@pytest.mark.parametrize("kind", [TenantId, DatabaseId])
def test_invalid_reference_is_refused(kind: type[TenantId | DatabaseId], value: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_reference(kind, value)
    assert caught.value.field == kind.entity


def test_tenant_reference_must_be_slug_or_id() -> None:
    with pytest.raises(InvalidArgument, match="neither a slug"):
        parse_reference(TenantId, "Aki_Labs")


def test_reference_by_id_of_wrong_type_is_refused() -> None:
    with pytest.raises(TypeError, match="expected DatabaseId, not TenantId"):
        parse_reference(DatabaseId, TenantId.parse(UUID))


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Aki Labs", "aki-labs"),
        ("Caf\u00e9", "cafe"),
        ("Caf\u00e9 \u65e5\u672c", "cafe-riben"),
        ("\u65e5\u672c\u8a9e", "ribenyu"),
        ("\u041c\u043e\u0441\u043a\u0432\u0430", "moskva"),
        ("A/B", "a-b"),
        ("  -- a --  ", "a"),
        ("...", "tenant"),
        ("\U0001f600", "grinning"),
        ("a" * 300, "a" * 63),
        ("a" * 62 + " b", "a" * 62),
        (UUID, "t-" + UUID),
        (UUID.upper(), "t-" + UUID),
    ],
)
def test_slug_is_derived_from_name(name: str, slug: str) -> None:
    assert derive_slug(name) == slug


@given(st.text())
def test_derived_slug_is_always_valid(name: str) -> None:
    slug = derive_slug(name)
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", slug)
    assert check_slug(slug) == slug
