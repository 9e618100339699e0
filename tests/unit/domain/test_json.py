"""Storable JSON, its canonical form, and strict decoding of request bodies."""

import collections
import contextlib
import enum
import json
import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.domain.errors import InvalidArgument
from akidb.domain.json import MAX_DEPTH, MAX_OBJECT_BYTES, canonical, check_object, decode_strict


class Document(msgspec.Struct, forbid_unknown_fields=True):
    id: str | None = None
    vector: list[float] | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class Upsert(msgspec.Struct, forbid_unknown_fields=True):
    documents: list[Document]
    labels: dict[str, int] = msgspec.field(default_factory=dict)


class Anything(msgspec.Struct, forbid_unknown_fields=True):
    value: Any


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, b"{}"),
        ({"b": 1, "a": [1.0, None, True]}, b'{"a":[1.0,null,true],"b":1}'),
        ({"é": {"z": 1, "": "/<\n"}}, '{"é":{"":"/<\\n","z":1}}'.encode()),
    ],
)
def test_canonical(value: object, expected: bytes) -> None:
    assert canonical(value) == expected


def test_check_object_returns_same_object() -> None:
    value = {"a": None, "b": [True, 1, 1.5, "é", [], {"c": {}}], "": -(2**63), "max": 2**63 - 1}
    assert check_object(value, "metadata") is value


WRONG_OBJECTS: list[tuple[Any, str, str]] = [
    (None, "", "must be an object, not null"),
    ([], "", "must be an object, not a list"),
    ({1: 2}, "", "keys must be strings, not a number"),
    ({"a": [{None: 2}]}, ".a[0]", "keys must be strings, not null"),
    ({"a": {"b": [0, 1, math.nan]}}, ".a.b[2]", "must be finite"),
    ({"a": -math.inf}, ".a", "must be finite"),
    ({"a": 2**63}, ".a", "must fit in 64 bits, signed"),
    ({"a": [-(2**63) - 1]}, ".a[0]", "must fit in 64 bits, signed"),
    ({"a": "x\0"}, ".a", "must not contain U+0000"),
    ({"a": "é\0"}, ".a", "must not contain U+0000"),
    ({"a": ["\ud800"]}, ".a[0]", "must not contain a lone surrogate"),
    ({"\udc00": 1}, ".\\udc00", "must not contain a lone surrogate"),
    ({"\0": 1}, ".\0", "must not contain U+0000"),
    ({"a": ({1},)}, ".a[0]", "must be a JSON value, not set"),
    (
        {"a": np.zeros(2**20)},
        ".a",
        "must be a JSON value, not numpy.ndarray: convert it with .item() or .tolist()",
    ),
    ({"a": np.datetime64("2026-01-01")}, ".a", "must be a JSON value, not date"),
    ({"a": np.float64("nan")}, ".a", "must be finite"),
    ({np.int64(1): 1}, "", "keys must be strings, not a number"),
    ({"a": b"x"}, ".a", "must be a JSON value, not bytes"),
    ({"k" * 100: None, "a": {"k" * 100: set()}}, ".a." + "k" * 64 + "...", "must be a JSON value, not set"),
    ({"a": "x" * MAX_OBJECT_BYTES}, "", "must be at most 1048576 bytes as JSON"),
]


@pytest.mark.parametrize(("value", "path", "reason"), WRONG_OBJECTS, ids=[one[2] for one in WRONG_OBJECTS])
def test_invalid_object_is_refused_with_path(value: object, path: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_object(value, "documents[3].metadata")
    assert refused.value.field == f"documents[3].metadata{path}"
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float64(1), 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(-1), -1),
        (np.uint64(7), 7),
        (np.str_("a"), "a"),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1, "a", None], dtype=object), [1, "a", None]),
        ((1, (2, [np.int8(3)])), [1, [2, [3]]]),
        (collections.OrderedDict(b=1, a=(2,)), {"b": 1, "a": [2]}),
        (Colour.RED, "red"),
    ],
    ids=str,
)
def test_values_like_those_of_json_are_stored_as_these(value: object, stored: object) -> None:
    checked = check_object({"a": value}, "metadata")
    assert checked == {"a": stored}
    assert msgspec.json.encode(checked) == msgspec.json.encode({"a": stored})  # and of the same types


def test_object_depth_and_size_limits() -> None:
    dicts: dict[str, Any] = {}
    for _ in range(MAX_DEPTH - 1):
        dicts = {"a": dicts}
    check_object(dicts, "m")
    lists: Any = []
    for _ in range(MAX_DEPTH - 2):
        lists = [lists]
    check_object({"a": lists}, "m")
    for value, field in (
        ({"a": dicts}, "m" + ".a" * MAX_DEPTH),
        ({"a": [lists]}, "m.a" + "[0]" * (MAX_DEPTH - 1)),
    ):
        with pytest.raises(InvalidArgument, match="at most 64 levels deep") as refused:
            check_object(value, "m")
        assert refused.value.field == field
    check_object({"a": "x" * (MAX_OBJECT_BYTES - len('{"a":""}'))}, "m")


def test_self_referencing_object_is_refused() -> None:
    value: dict[str, Any] = {}
    value["a"] = value
    with pytest.raises(InvalidArgument, match="levels deep"):
        check_object(value, "metadata")


def test_decode_strict() -> None:
    body = (
        b'{"documents": [{"id": "a:b", "vector": [1, 2.5], "metadata": {"x": {"x": [{"x": 1}, {"x": 2}]}}}]}'
    )
    assert decode_strict(body, Upsert) == Upsert(
        [Document("a:b", [1.0, 2.5], {"x": {"x": [{"x": 1}, {"x": 2}]}})],
    )


WRONG_BODIES: list[tuple[bytes, str, str]] = [
    (b"", "body", "malformed JSON: input data was truncated"),
    (b'{"documents": [}', "body", "malformed JSON: invalid character (byte 15)"),
    (b'{"documents": []} x', "body", "malformed JSON: trailing characters (byte 19)"),
    (b'\xef\xbb\xbf{"documents": []}', "body", "malformed JSON: invalid character (byte 0)"),
    (b'{"documents": [{"id": "\xff"}]}', "body", "must be UTF-8"),
    (b"[" * 100_000, "body", "expected object, got array"),
    (b'{"documents": [{"metadata": {"a": ' + b"[" * 100_000, "body", "is nested too deep"),
    (b'{"documents": [{"metadata": ' + b'{"a":' * 100_000, "body", "is nested too deep"),
    (
        b'{"documents": [{"metadata": {"a": ' + b"9" * 5000 + b"}}]}",
        "documents[0].metadata[...]",
        "integer value",
    ),
    (b"[]", "body", "expected object, got array"),
    (b"{}", "documents", "is required"),
    (b'{"documents": 3}', "documents", "expected array, got int"),
    (b'{"documents": [{}, {"vector": [1, "x"]}]}', "documents[1].vector[1]", "expected float, got str"),
    (b'{"documents": [], "labels": {"a": "x"}}', "labels[...]", "expected int, got str"),
    (b'{"documents": [], "more": 1}', "more", "unknown field"),
    (b'{"documents": [{"vektor": [1]}]}', "documents[0].vektor", "unknown field"),
    (b'{"documents": [{"a` - at `$.b": 1}]}', "documents[0].a` - at `$.b", "unknown field"),
    (b'{"documents": [{"vector": [1, NaN]}]}', "documents[0].vector[1]", "NaN is not a JSON number"),
    (b'{"documents": [{"metadata": {"a": -Infinity}}]}', "documents[0].metadata.a", "-Infinity is not a"),
    (b"Infinity", "body", "Infinity is not a JSON number"),
    (b'{"documents": [{"vector": [1e999]}]}', "documents[0].vector[0]", "number out of range"),
    (b'{"documents": [], "documents": []}', "documents", "duplicate key"),
    (b'{"documents": [{"id": "a", "id": "a"}]}', "documents[0].id", "duplicate key"),
    (
        b'{"documents": [{"metadata": {"year": 1, "year": 1}}]}',
        "documents[0].metadata.year",
        "duplicate key",
    ),
    (b'{"documents": [{"metadata": {"a": [{"b":1, "\\u0062" :2}]}}]}', "documents[0].metadata.a[0].b", "dup"),
    (b'{"documents": [{}, {"id": "cut \\ud83d"}]}', "documents[1].id", "must not contain a lone surrogate"),
    (
        b'{"documents": [{"id": "\\uDE00\\ud83d\\ude00"}]}',
        "documents[0].id",
        "must not contain a lone surrogate",
    ),
    (
        b'{"documents": [{"metadata": {"\\ud83d": 1}}]}',
        "documents[0].metadata.\\ud83d",
        "must not contain a lone",
    ),
    (
        b'{"documents": [{"metadata": {"a": [0, {"b": "\\ud800\\u0041"}]}}]}',
        "documents[0].metadata.a[1].b",
        "must not",
    ),
    (b'{"\\udfff": 1}', "\\udfff", "must not contain a lone surrogate"),
    (b'"\\ud800"', "body", "must not contain a lone surrogate"),
    (
        b'{"documents": [{"id": "' + b"x" * 2**20 + b'\\ud800"}]}',
        "documents[0].id",
        "must not contain a lone",
    ),
    (b'{"documents": [{"id": "\\ud83d\\ude00"}', "body", "malformed JSON: input data was truncated"),
    (
        b'{"documents": [{"metadata": {"a": ":", "a": "\\u003a:"}}]}',
        "documents[0].metadata.a",
        "duplicate key",
    ),
]


@pytest.mark.parametrize(
    ("body", "field", "reason"), WRONG_BODIES, ids=[str(one[0][:60]) for one in WRONG_BODIES]
)
def test_invalid_body_is_refused_with_path(body: bytes, field: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode_strict(body, Upsert)
    assert refused.value.field == field
    assert refused.value.reason.startswith(reason)


def test_deep_nesting_with_constant_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        decode_strict(b'{"value": [NaN, ' + b"[" * 100_000, Anything)


def test_path_of_list_root_starts_with_body() -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode_strict(b'[{"value": {"a": 1, "a": 2}}]', list[Anything])
    assert refused.value.field == "body[0].value.a"


VECTOR = "[" + ", ".join(["-0.125"] * 20) + "]"
TEXTS = st.sampled_from(
    [
        "a",
        "b",
        ":",
        "\\u003a",
        '":',
        '\\":',
        "\\",
        "\\\\",
        '"',
        "[",
        "]",
        VECTOR,
        VECTOR.replace("5", "6"),
        "é",
        "",
    ]
)


@st.composite
def _written(draw: st.DrawFn, depth: int = 3) -> str:
    """JSON text with odd escapes, odd white space, and duplicate keys now and then."""
    space = st.sampled_from(["", "", " ", "\n\t"])

    def text() -> str:
        escaped = draw(st.sets(st.sampled_from(':[]\\"5a')))
        characters = (f"\\u{ord(c):04x}" if c in escaped else json.dumps(c)[1:-1] for c in draw(TEXTS))
        return f'"{"".join(characters)}"'.replace("003a", draw(st.sampled_from(["003a", "003A"])))

    kind = draw(st.integers(0, 5 if depth else 2))
    if kind == 0:
        return draw(
            st.sampled_from(["1", "-2.5e3", "true", "null", "18446744073709551616", VECTOR, "[]", "{}"])
        )
    if kind in (1, 2):
        return text()
    count = draw(st.integers(0, 3))
    inner = [draw(_written(depth=depth - 1)) for _ in range(count)]
    if kind == 3:
        return "[" + ",".join(draw(space) + item + draw(space) for item in inner) + "]"
    return "{" + ",".join(f"{draw(space)}{text()}{draw(space)}:{draw(space)}{item}" for item in inner) + "}"


def _has_duplicates(body: str) -> bool:
    found = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    json.loads(body, object_pairs_hook=members)
    return any(found)


@pytest.mark.parametrize(
    "keys",
    [
        (":", "\\u003A"),
        ("\\\\u003a", "\\u005cu003a"),
        (VECTOR, "\\u005b" + VECTOR[1:]),
        (VECTOR + '\\"', VECTOR.replace("5", "\\u0035") + '\\"'),
        ('\\"' + VECTOR, "\\u0022" + VECTOR.replace("]", "\\u005d")),
        ("\\\\" + VECTOR, "\\u005c" + VECTOR.replace("]", "\\u005d")),
    ],
)
def test_key_escaped_differently_is_duplicate(keys: tuple[str, str]) -> None:
    members = ",".join(f'"{key}":{VECTOR}' for key in keys)
    with pytest.raises(InvalidArgument, match="duplicate key"):
        decode_strict(f'{{"value": ["\\\\", {{{members}}}]}}'.encode(), Anything)


@given(_written())
def test_only_bodies_with_duplicate_keys_are_refused(written: str) -> None:
    body = f'{{"value": {written}}}'
    if _has_duplicates(body):
        with pytest.raises(InvalidArgument) as refused:
            decode_strict(body.encode(), Anything)
        assert refused.value.reason == "duplicate key"
    else:
        assert decode_strict(body.encode(), Anything).value == json.loads(written)


@given(st.binary(max_size=40) | st.text('{}[]":,1eE.-\\u0a \n', max_size=40).map(str.encode))
def test_arbitrary_bytes_are_decoded_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidArgument):
        decode_strict(body, Upsert)


def test_duplicate_keys_are_found_in_body_with_vectors() -> None:
    chance = random.Random(1)
    vectors = [[chance.gauss() for _ in range(384)] for _ in range(3)]
    documents = [{"id": str(i), "vector": vector, "metadata": {"a": 1}} for i, vector in enumerate(vectors)]
    body = json.dumps({"documents": documents})
    assert [document.vector for document in decode_strict(body.encode(), Upsert).documents] == vectors
    with pytest.raises(InvalidArgument) as refused:
        decode_strict(body.replace('{"a": 1}', '{"a": 1, "a": 2}').encode(), Upsert)
    assert refused.value.field == "documents[0].metadata.a"
