"""The parts of a document that a response has, and chosen fields of its metadata."""

from collections.abc import Collection
from typing import Any

import pytest

from akidb.domain.documents import Include
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import canonical
from akidb.domain.parts import MAX_FIELDS, Parts, check_include

METADATA: dict[str, Any] = {
    "year": 2020,
    "nothing": None,
    "author": {"name": "Aki", "born": {"year": 1990, "month": 2}},
    "parts": [{"n": 1, "m": 2}, {"m": 3}, 7, [{"n": 9}], {"n": {"x": 1}}],
    "service.name": "api",
    "service": {"name": "other", "port": 80},
    "tags": ["a", "b"],
    "a.b.c": {"d": 1, "e": 2},
    "": 1,
}

CHOSEN: list[tuple[list[str], dict[str, Any]]] = [
    (["year"], {"year": 2020}),
    (["nothing", "missing"], {"nothing": None}),
    (["author"], {"author": METADATA["author"]}),
    (["author.name"], {"author": {"name": "Aki"}}),
    (["author.born.year", "author.name"], {"author": {"name": "Aki", "born": {"year": 1990}}}),
    (["author.born", "author.born.year"], {"author": {"born": METADATA["author"]["born"]}}),
    (["author.born.year", "author"], {"author": METADATA["author"]}),
    (["author.death", "author.name.first", "year.x", "tags.0"], {}),
    (["parts.n"], {"parts": [{"n": 1}, {"n": {"x": 1}}]}),
    (["parts.n.x"], {"parts": [{"n": {"x": 1}}]}),
    (["service.name"], {"service.name": "api"}),
    (["service.name", "service.port"], {"service.name": "api", "service": {"port": 80}}),
    (["service"], {"service": METADATA["service"]}),
    (["a.b.c", "a.b"], {"a.b.c": METADATA["a.b.c"]}),
    (["tags", "x..y", "."], {"tags": ["a", "b"]}),
]


def parts(*fields: str) -> Parts:
    return Parts.of(check_include([f"metadata.{field}" for field in fields]))


@pytest.mark.parametrize(("fields", "expected"), CHOSEN, ids=[" ".join(each[0]) for each in CHOSEN])
def test_chosen_fields_keep_their_places(fields: list[str], expected: dict[str, Any]) -> None:
    for order in (fields, fields[::-1]):
        assert parts(*order).metadata_of(canonical(METADATA).decode()) == expected


def test_size_is_that_of_what_is_returned() -> None:
    stored = canonical({"long": "x" * 10_000, "year": 2020}).decode()
    assert parts("year").size("id", "text", stored, None) == len('id{"year":2020}')
    assert Parts.of({Include.METADATA}).size("id", "text", stored, b"1234") == len(stored) + 2 + 12
    assert Parts.of(()).size("id", "text", stored, None) == 2
    assert parts("year").size("id", None, "damaged", None) == 2


def test_whole_metadata_includes_its_fields() -> None:
    assert check_include(["metadata.a", "metadata", "text"]) == {"metadata", "text"}
    assert check_include(frozenset({"text"})) == {Include.TEXT}
    assert all(type(part) is Include for part in check_include(frozenset({"text", "vector"})))
    assert check_include(iter_once(["metadata.a"])) == {"metadata.a"}


def iter_once(parts: list[str]) -> Collection[str]:
    return dict.fromkeys(parts).keys()


WRONG: list[tuple[object, str]] = [
    ("text", "must be a list of text, metadata, vector or metadata.FIELD"),
    (None, "must be a list of text, metadata, vector or metadata.FIELD"),
    ([1], "must be a list of text, metadata, vector or metadata.FIELD"),
    ([["text"]], "must be a list of text, metadata, vector or metadata.FIELD"),
    (["score"], "must be one of text, metadata, vector or metadata.FIELD"),
    (["metadata."], "must be one of text, metadata, vector or metadata.FIELD"),
    (["text.a"], "must be one of text, metadata, vector or metadata.FIELD"),
    (["metadata.a\0"], "a field must not contain U+0000"),
    (["metadata.\ud800"], "a field must not contain a lone surrogate"),
    (["metadata." + "é" * 257], "a field must have at most 512 bytes of UTF-8"),
    (["metadata.a,b"], "a field must not contain a comma, which separates them in a URL"),
    ([f"metadata.{n}" for n in range(MAX_FIELDS + 1)], "must have at most 100 fields of the metadata"),
]


@pytest.mark.parametrize(("include", "reason"), WRONG, ids=[each[1] for each in WRONG])
def test_wrong_part_is_refused(include: object, reason: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_include(include)
    assert (refused.value.field, refused.value.reason) == ("include", reason)
