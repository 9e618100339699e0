"""The filter language by example: operators, and how invalid filters are refused."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb.domain.errors import InvalidArgument
from akidb.domain.filters import MAX_CONDITIONS, MAX_DEPTH, MAX_OPERANDS, Filter

DOCUMENT: dict[str, Any] = {
    "year": 2020,
    "score": 1.5,
    "whole": 2.0,
    "lang": "en",
    "draft": False,
    "nothing": None,
    "tags": ["red", "blue", 3, None],
    "matrix": [[1, 2], [3]],
    "empty": [],
    "author": {"name": "Aki", "born": {"year": 1990}},
    "parts": [{"n": 1, "tags": ["x"]}, {"n": 2}, 7, [{"n": 9}]],
    "service.name": "api",
    "service": {"name": "other", "port": 80},
    "big": 2**53 + 1,
    "": "no name",
}

MATCHING: list[dict[str, Any]] = [
    {},
    {"year": 2020},
    {"year": 2020.0},
    {"whole": 2},
    {"lang": "en", "year": 2020},
    {"draft": False},
    {"nothing": None},
    {"year": {"$eq": 2020}},
    {"year": {"$ne": 2021}},
    {"year": {"$ne": "2020"}},
    {"missing": {"$ne": 1}},
    {"missing": {"$ne": None}},
    {"missing": {"$nin": [1, None]}},
    {"tags": {"$nin": ["green"]}},
    {"year": {"$gt": 2019.5}},
    {"year": {"$gte": 2020, "$lt": 2021}},
    {"year": {"$lte": 2020}},
    {"big": {"$gt": 2.0**53}},
    {"lang": {"$gt": "de", "$lt": "fr"}},
    {"lang": {"$gt": "EN"}},
    {"year": {"$in": [1, 2020]}},
    {"draft": {"$in": [False]}},
    {"nothing": {"$in": [None]}},
    {"year": {"$nin": []}},
    {"nothing": {"$exists": True}},
    {"empty": {"$exists": True}},
    {"missing": {"$exists": False}},
    {"author.death": {"$exists": False}},
    {"lang": {"$contains": "n"}},
    {"lang": {"$contains": ""}},
    {"tags": {"$contains": "red"}},
    {"tags": {"$contains": 3.0}},
    {"tags": {"$contains": None}},
    {"empty": []},
    {"empty": {"$eq": []}},
    {"empty": {"$in": ["x", []]}},
    {"tags": {"$ne": []}},
    {"missing": {"$ne": []}},
    {"missing": {"$nin": [[]]}},
    {"tags": {"$in": [[], "red"]}},
    {"lang": {"$icontains": "N"}},
    {"tags": {"$icontains": "RED"}},
    {"$text": {"$icontains": "sql"}},
    {"$id": {"$icontains": "DOC"}},
    {"lang": {"$regex": "^e.$"}},
    {"lang": {"$regex": ""}},
    {"tags": {"$regex": "^b"}},
    {"$text": {"$regex": "(?i)VECTORS\\b.*sql"}},
    {"$id": {"$regex": "^doc-\\d+$"}},
    {"parts.tags": {"$regex": "x"}},
    {"tags": "blue"},
    {"tags": None},
    {"tags": {"$gt": 2}},
    {"tags": {"$in": ["green", "red"]}},
    {"author.name": "Aki"},
    {"author.born.year": {"$lt": 2000}},
    {"parts.n": 2},
    {"parts.tags": "x"},
    {"parts.tags": {"$contains": "x"}},
    {"service.name": "api"},
    {"service.port": 80},
    {"$id": "doc-1"},
    {"$id": {"$gte": "doc", "$lt": "dod"}},
    {"$id": {"$in": ["doc-1", "doc-2"]}},
    {"$text": {"$contains": "live in SQL"}},
    {"$text": {"$exists": True}},
    {"$and": [{"year": 2020}, {"lang": "en"}]},
    {"$or": [{"year": 1}, {"lang": "en"}]},
    {"$not": {"year": 2021}},
    {"$not": {"missing": {"$gt": 1}}},
    {"$not": {"$not": {"year": 2020}}},
    {"$and": [{"$or": [{"year": 2020}, {"$id": "x"}]}], "lang": "en"},
    {"tags": {"$exists": True, "$ne": "green"}},
]

NOT_MATCHING: list[dict[str, Any]] = [
    {"year": 2021},
    {"year": "2020"},
    {"year": True},
    {"draft": 0},
    {"draft": {"$in": [0]}},
    {"draft": {"$gte": 0}},
    {"draft": None},
    {"missing": None},
    {"author": None},
    {"lang": "en", "year": 1},
    {"year": {"$ne": 2020}},
    {"tags": {"$ne": "red"}},
    {"tags": {"$nin": ["green", "red"]}},
    {"nothing": {"$ne": None}},
    {"year": {"$gt": 2020}},
    {"year": {"$gt": "1"}},
    {"lang": {"$gt": 1}},
    {"nothing": {"$lt": 1}},
    {"author": {"$lt": "z"}},
    {"missing": {"$lte": 1}},
    {"year": {"$gte": 2020, "$lt": 2020}},
    {"big": 2.0**53},
    {"year": {"$in": []}},
    {"author": {"$in": ["Aki"]}},
    {"nothing": {"$exists": False}},
    {"missing": {"$exists": True}},
    {"lang": {"$contains": "N"}},
    {"tags": {"$contains": "re"}},
    {"year": {"$contains": 2020}},
    {"tags": []},
    {"missing": []},
    {"nothing": []},
    {"author": []},
    {"lang": []},
    {"parts": []},
    {"parts.missing": []},
    {"empty": {"$ne": []}},
    {"empty": {"$nin": ["x", []]}},
    {"tags": {"$icontains": "RE"}},
    {"year": {"$icontains": "2"}},
    {"missing": {"$icontains": ""}},
    {"lang": {"$regex": "^n"}},
    {"lang": {"$regex": "E"}},
    {"year": {"$regex": "2"}},
    {"matrix": {"$regex": ""}},
    {"missing": {"$regex": ""}},
    {"nothing": {"$regex": ""}},
    {"year": {"$contains": "2"}},
    {"author": {"$contains": "name"}},
    {"matrix": 3},
    {"matrix": {"$contains": 3}},
    {"empty": None},
    {"parts.n": 9},
    {"parts.0": 7},
    {"lang.en": "en"},
    {"service.name": "other"},
    {"$id": "doc-2"},
    {"$text": "SQL"},
    {"$text": {"$exists": False}},
    {"$and": [{"year": 2020}, {"lang": "de"}]},
    {"$or": [{"year": 1}, {"lang": "de"}]},
    {"$not": {"year": 2020}},
    {"$not": {}},
]


@pytest.mark.parametrize("value", MATCHING, ids=str)
def test_matches(value: dict[str, Any]) -> None:
    assert Filter.parse(value).matches("doc-1", "Vectors live in SQL.", DOCUMENT)


@pytest.mark.parametrize("value", NOT_MATCHING, ids=str)
def test_does_not_match(value: dict[str, Any]) -> None:
    assert not Filter.parse(value).matches("doc-1", "Vectors live in SQL.", DOCUMENT)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a*)*c", "(a|aa)+$", "a*a*a*a*a*c", "(.*a){20}c", "((a+)+)+$"]
)
def test_pattern_that_makes_others_backtrack_takes_linear_time(pattern: str) -> None:
    text = "a" * 100_000 + "b"  # for a backtracking engine longer than the universe exists
    assert not Filter.parse({"$text": {"$regex": pattern}}).matches("x", text, {})


def test_case_is_folded_fully() -> None:
    for text, part in [("Hauptstraße", "STRASSE"), ("ΌΔΟΣ", "όδος"), ("STRASSE", "ß"), ("ﬁne", "FIN")]:
        assert Filter.parse({"$text": {"$icontains": part}}).matches("x", text, {})
        assert Filter.parse({"a": {"$icontains": text}}).matches("x", None, {"a": [text.upper()]})
    assert not Filter.parse({"$text": {"$icontains": "e"}}).matches("x", "É", {})


def test_text_field_does_not_exist_without_text() -> None:
    assert Filter.parse({"$text": {"$exists": False}}).matches("a", None, {})
    assert Filter.parse({"$text": {"$ne": "x"}}).matches("a", None, {})
    assert not Filter.parse({"$text": None}).matches("a", None, {})
    assert not Filter.parse({"$text": {"$contains": ""}}).matches("a", None, {})
    assert Filter.parse({"$text": {"$contains": ""}}).matches("a", "", {})


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"year": 1}
    for _ in range(levels - 1):
        value = {"$not": value}
    return value


WRONG: list[tuple[object, str, str]] = [
    (None, "filter", "must be an object, not null"),
    ([], "filter", "must be an object, not a list"),
    ({1: 2}, "filter", "keys must be strings, not a number"),
    ({"": 2}, "filter", "a field name must not be empty"),
    ({"$eq": 2}, "filter.$eq", 'an operator must be inside a field, as in {"year": {"$gte": 2020}}'),
    ({"$nor": []}, "filter.$nor", "unknown operator"),
    ({"year": {}}, "filter.year", "must have an operator"),
    ({"year": [2020]}, "filter.year", "must be null, a boolean, a number or a string, not a list"),
    ({"year": math.nan}, "filter.year", "must be finite"),
    ({"year": 2**63}, "filter.year", "must fit in 64 bits, signed"),
    ({"year": -(2**63) - 1}, "filter.year", "must fit in 64 bits, signed"),
    ({"year": {1}}, "filter.year", "must be a JSON value, not set"),
    ({"year": np.float64("inf")}, "filter.year", "must be finite"),
    (
        {"$and": ({"year": (1,)},)},
        "filter.$and[0].year",
        "must be null, a boolean, a number or a string, not a list",
    ),
    ({"year": {"$above": 1}}, "filter.year.$above", "unknown operator"),
    (
        {"a": {"b": 1}},
        "filter.a.b",
        'unknown operator; a nested field is written with a dot, as in "a.b"',
    ),
    ({"year": {"$gt": None}}, "filter.year.$gt", "must be a number or a string, not null"),
    ({"year": {"$gte": True}}, "filter.year.$gte", "must be a number or a string, not a boolean"),
    ({"year": {"$lt": math.inf}}, "filter.year.$lt", "must be finite"),
    (
        {"year": {"$lte": {"a": 1}}},
        "filter.year.$lte",
        "must be null, a boolean, a number or a string, not an object",
    ),
    ({"year": {"$in": 2020}}, "filter.year.$in", "must be a list, not a number"),
    ({"year": {"$nin": "ab"}}, "filter.year.$nin", "must be a list, not a string"),
    ({"year": {"$in": [1, math.nan]}}, "filter.year.$in[1]", "must be finite"),
    ({"year": {"$in": [0] * (MAX_OPERANDS + 1)}}, "filter.year.$in", "must have at most 10000 values"),
    ({"year": {"$exists": 1}}, "filter.year.$exists", "must be true or false, not a number"),
    (
        {"year": {"$and": []}},
        "filter.year.$and",
        '$and must contain fields, as in {"$and": ...}, and cannot be inside one',
    ),
    (
        {"year": {"$not": {"$gt": 1}}},
        "filter.year.$not",
        '$not must contain fields, as in {"$not": ...}, and cannot be inside one',
    ),
    ({"a": {"$eq": [1]}}, "filter.a.$eq", "must be null, a boolean, a number or a string, not a list"),
    ({"a": {"$gt": []}}, "filter.a.$gt", "must be null, a boolean, a number or a string, not a list"),
    ({"a": {"$contains": []}}, "filter.a.$contains", "must be null, a boolean, a number or a string"),
    ({"a": {"$in": [{}]}}, "filter.a.$in[0]", "must be null, a boolean, a number or a string, not an object"),
    ({"a": {"$icontains": 1}}, "filter.a.$icontains", "must be a string, not a number"),
    ({"a": {"$icontains": None}}, "filter.a.$icontains", "must be a string, not null"),
    (
        {"a": {"$regex": ["x"]}},
        "filter.a.$regex",
        "must be null, a boolean, a number or a string, not a list",
    ),
    ({"a": {"$regex": 1}}, "filter.a.$regex", "must be a string, not a number"),
    (
        {"a": {"$regex": "("}},
        "filter.a.$regex",
        "must be a regular expression in the syntax of RE2: missing )",
    ),
    (
        {"a": {"$regex": r"(a)\1"}},
        "filter.a.$regex",
        "must be a regular expression in the syntax of RE2: inv",
    ),
    ({"a": {"$regex": "(?=a)"}}, "filter.a.$regex", "must be a regular expression in the syntax of RE2: inv"),
    ({"a": {"$regex": "é*" * 400}}, "filter.a.$regex", "must be at most 1000 bytes of UTF-8"),
    ({"a": {"$regex": "(a{100}){21}"}}, "filter.a.$regex", "must be a regular expression in the syntax of"),
    ({"a": {"$regex": "a{900}b{900}c{900}"}}, "filter.a.$regex", "is too large a regular expression, alone"),
    (
        {"$or": [{"a": {"$regex": "a{900}"}}, {"b": {"$regex": "b{900}"}}, {"c": {"$regex": "c{900}"}}]},
        "filter.$or[2].c.$regex",
        "is too large a regular expression, alone or with the others",
    ),
    (
        {"$or": [{"a": {"$regex": f"a{n}"}} for n in range(17)]},
        "filter.$or[16].a.$regex",
        "must be one of at most 16 regular expressions in all",
    ),
    ({"$and": {}}, "filter.$and", "must be a list of filters, not an object"),
    ({"$or": []}, "filter.$or", "must have at least one filter"),
    ({"$not": [{}]}, "filter.$not", "must be an object, not a list"),
    ({"$and": [{}, 3]}, "filter.$and[1]", "must be an object, not a number"),
    ({"a\0": 1}, "filter.a\0", "must not contain U+0000"),
    ({"a": "\0"}, "filter.a", "must not contain U+0000"),
    ({"a\ud800": 1}, "filter.a\\ud800", "must not contain a lone surrogate"),
    ({"a": {"$in": ["é", "\udfff"]}}, "filter.a.$in[1]", "must not contain a lone surrogate"),
    # three levels deep
    (
        {"$and": [{"lang": "en"}, {"year": {"$gte": None}}]},
        "filter.$and[1].year.$gte",
        "must be a number or a string, not null",
    ),
    (
        {"$or": [{"$not": {"$and": [{}, {"a.b": {"$in": [1, [2]]}}]}}]},
        "filter.$or[0].$not.$and[1].a.b.$in[1]",
        "must be null, a boolean, a number or a string, not a list",
    ),
    (
        {"$and": [{"$or": [{"$not": {"$lt": 1}}]}]},
        "filter.$and[0].$or[0].$not.$lt",
        "an operator must be inside a field",
    ),
    (_nested(MAX_DEPTH + 1), "filter" + ".$not" * MAX_DEPTH, "must be nested at most 32 levels deep"),
    (
        {"$or": [{"a": 1}] * MAX_CONDITIONS, "b": 1},
        "filter.b",
        "must have at most 1000 conditions in all",
    ),
    ({"$or": [{}] * (MAX_CONDITIONS + 1)}, "filter.$or[1000]", "must have at most 1000 conditions in all"),
]


@pytest.mark.parametrize(("value", "field", "reason"), WRONG, ids=[wrong[1][:60] for wrong in WRONG])
def test_invalid_filter_is_refused_with_path(value: object, field: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Filter.parse(value)
    assert refused.value.field == field
    assert refused.value.reason.startswith(reason)


def test_filters_at_limits_are_allowed() -> None:
    Filter.parse(_nested(MAX_DEPTH))
    Filter.parse({"$or": [{"a": 1}] * MAX_CONDITIONS})
    Filter.parse({"a": {"$in": [0] * MAX_OPERANDS}, "b": 2**63 - 1, "c": -(2**63)})


def test_error_path_starts_with_argument_name() -> None:
    with pytest.raises(InvalidArgument) as refused:
        Filter.parse({"year": {"$gt": None}}, field="where")
    assert refused.value.field == "where.year.$gt"


@pytest.mark.parametrize(
    "value",
    [{}, {"$and": [{}, {}]}, {"$or": [{"year": 1}, {}]}, {"$not": {"$not": {}}}],
    ids=str,
)
def test_filter_without_conditions_is_empty(value: dict[str, Any]) -> None:
    assert Filter.parse(value).is_empty


@pytest.mark.parametrize("value", [{"a": 1}, {"$not": {}}, {"$and": [{}, {"a": 1}]}], ids=str)
def test_filter_with_conditions_is_not_empty(value: dict[str, Any]) -> None:
    assert not Filter.parse(value).is_empty


def test_fields_lists_metadata_keys_used() -> None:
    value = {"year": 1, "$or": [{"a.b": 1}, {"$not": {"lang": {"$exists": True}}}], "$id": "x", "$text": "y"}
    assert Filter.parse(value).fields == {"year", "a", "a.b", "lang"}
    assert Filter.parse({}).fields == frozenset()


def test_filters_are_hashable_by_canonical_form() -> None:
    one, other = Filter.parse({"a": 1, "b": 2}), Filter.parse({"b": 2, "a": 1})
    assert one == other
    assert hash(one) == hash(other)
    assert one.canonical == b'{"a":1,"b":2}'
    assert one != Filter.parse({"a": True, "b": 2})


def test_filter_is_immutable() -> None:
    value: dict[str, Any] = {"a": {"$in": [1, 2]}}
    parsed = Filter.parse(value)
    value["a"]["$in"].append(3)
    parsed.to_json()["a"]["$in"].append(4)
    assert parsed.to_json() == {"a": {"$in": [1, 2]}}
    assert not parsed.matches("x", None, {"a": 3})
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed.canonical = b"{}"  # type: ignore[misc]


def test_examples_in_guide_are_valid_filters() -> None:
    guide = Path(__file__).parents[3] / "docs" / "filters.md"
    rows = [line for line in guide.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    examples = [example for row in rows for example in re.findall(r"`(\{.+?\})`", row)]
    assert len(examples) >= 12
    for example in examples:
        Filter.parse(json.loads(example))
