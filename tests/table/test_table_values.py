"""Every field has the same error for the same wrong value in process, over HTTP and on the command line."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import NODEFAULT
from parts import command_of
from stage import ROWS, SAMPLES, request_of

from akidb.api.operations import BY_HAND
from akidb.cli.arguments import parse_size
from akidb.cli.errors import printable
from akidb.cli.main import main
from akidb.domain.errors import InvalidArgument
from akidb.operations import Operation
from akidb.operations.text import parsers

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))  # its server serves here too

CANDIDATES: tuple[Any, ...] = (
    *(None, True, 5, -1, 2**63, 1.5, "", "x" * 5000, "a\0b", "bogus value!"),
    *([], {}, [1], ["text", 7], {"$no": 1}, {"a": {"b": ["\0"]}}),
)
"""Values of which every field refuses some."""
NOT_JSON: tuple[Any, ...] = (math.nan, math.inf, b"bytes", object(), "\ud800", {"a": math.nan}, {1: 2})
"""Values that JSON has no form for: a client must refuse them before it sends."""
TEXTS = ("", "bogus value!", "-1", "99999999999999999999", "x" * 5000, "{", '{"$no": 1}', "1.5", "true")
"""What a query string or a command line may hold."""
FIELDS = [(row, name) for row in ROWS for name in (*row.said, *row.places) if name in row.fields]
IN_HTTP = [(row, name) for row, name in FIELDS if not row.local and row.feature not in BY_HAND]
EVERYDAY = ("create", "list", "count", "get", "update", "suspend", "delete")


def fault(row: Operation, **fields: Any) -> InvalidArgument | None:
    """The error of a request in process; None for a good one."""
    try:
        row.checked(request_of(row, **fields))
    except InvalidArgument as error:
        return error
    return None


def _named(fields: list[tuple[Operation, str]]) -> pytest.MarkDecorator:
    ids = [f"{row.name}-{name}" for row, name in fields]
    return pytest.mark.parametrize(("row", "name"), fields, ids=ids)


@_named(FIELDS)
def test_field_rejects_invalid_values_by_name(row: Operation, name: str) -> None:
    others = {other: None for other in row.one_of or () if name in (row.one_of or ()) and other != name}
    refused = [
        error
        for value in (*CANDIDATES, *NOT_JSON)
        if value is not None and (error := fault(row, **others, **{name: value}))
    ]
    if row.fields[name].is_decoded and name == "vector":
        return  # its collection's dimension and metric decide: tests/services
    assert refused
    for error in refused:
        assert error.field.startswith(name), error


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    from congruence_deployments import server

    folder = tmp_path_factory.mktemp("values")
    with server(folder / "data", folder) as url, httpx.Client(base_url=url) as client:
        yield client


def _ask(served: httpx.Client, row: Operation, /, **fields: Any) -> httpx.Response:
    request = request_of(row)
    places = {place: str(getattr(request, place)) for place in row.places}
    body: dict[str, Any] = {
        key: held.tolist()
        if hasattr(held, "tolist")
        else sorted(held)
        if isinstance(held, frozenset)
        else held
        for key, held in row.given(request).items()
        if held is not None and key not in {"documents", "include"}
    }
    if "documents" in row.said:
        body["documents"] = [{"id": "a", "text": "b"}]
    body |= fields
    sent = msgspec.json.encode(body)
    return served.request(row.method, row.path.format(**places), content=sent, headers=JSON)


JSON = {"content-type": "application/json"}
IN_BODIES = [(row, name) for row, name in IN_HTTP if row.in_body and name in row.said]
IN_QUERIES = [(row, name) for row, name in IN_HTTP if not row.in_body and name in row.said]


@_named(IN_BODIES)
def test_body_member_has_same_error(row: Operation, name: str, served: httpx.Client) -> None:
    for value in CANDIDATES:
        expected = fault(row, **{name: value})
        if expected is None:
            continue
        answer = _ask(served, row, **{name: value})
        assert answer.status_code == 400, (value, answer.text)
        got = answer.json()
        assert got["field"].partition("[")[0].partition(".")[0] in {name, expected.field.partition("[")[0]}
        if not row.fields[name].is_decoded:  # there the decoder sees the value first
            assert got["detail"] == expected.message, value


@_named(IN_QUERIES)
def test_query_parameter_has_same_error(row: Operation, name: str, served: httpx.Client) -> None:
    for text in TEXTS:
        expected = _text_fault(row, name, text)
        if expected is None:
            continue
        places = {place: str(getattr(request_of(row), place)) for place in row.places}
        if row.takes == "bytes":
            continue  # it is read with the archive: tests/api
        answer = served.request(row.method, row.path.format(**places), params={name: text})
        assert answer.status_code == 400, (text, answer.text)
        assert answer.json()["detail"] == expected.message, text


OPTIONAL = [
    (row, name)
    for row, name in FIELDS
    if row.method != "PATCH" and row.defaults[name] is not NODEFAULT
    # None is a value of its own: a quota without a limit.
    if row.defaults[name] is None or name not in row.nullable
]


@_named(OPTIONAL)
def test_none_for_optional_field_is_its_default(row: Operation, name: str) -> None:
    left_out = request_of(row, **{name: row.defaults[name]})
    if name in row.fields and row.one_of is not None and name in row.one_of:
        return  # another field must be given then
    assert row.checked(request_of(row, **{name: None})) == row.checked(left_out)


def test_every_default_is_as_its_check_returns_it() -> None:
    """So that it need not be checked."""
    for row, name in FIELDS:
        default = row.defaults[name]
        if default is not None and default is not NODEFAULT and default is not msgspec.UNSET:
            found = row.fields[name].check(default, name)
            assert found == default, (row, name)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not row.local and row.in_body], ids=lambda row: str(row.name)
)
def test_null_for_every_optional_field_is_accepted(row: Operation, served: httpx.Client) -> None:
    if row.feature in BY_HAND:
        return  # tests/api/test_openai_client.py
    given = SAMPLES[row.request].fields
    unset = [name for name in row.said if name not in given and row.defaults[name] is None]
    unset += [
        name for name in row.said if row.method != "PATCH" and row.defaults[name] not in {None, NODEFAULT}
    ]
    answer = _ask(served, row, **dict.fromkeys(unset))
    assert answer.status_code < 300 or answer.json()["code"] == "not_found", answer.text


def _text_fault(row: Operation, name: str, text: str) -> InvalidArgument | None:
    try:
        return fault(row, **{name: parsers(row.request)[name](text, name)})
    except InvalidArgument as error:  # no JSON
        return error


ON_COMMAND_LINE = [
    (row, name)
    for row, name in FIELDS
    if row.verb in EVERYDAY and row.feature in {"tenant", "database", "collection"} and name in row.said
    # Flags have no value, and a cursor is decoded where its list is known.
    if "bool" not in str(row.hints[name]) and name != "cursor"
    if row.verb != "create" or name not in {"status", "state"}
]


@_named(ON_COMMAND_LINE)
def test_command_option_has_same_error(
    row: Operation, name: str, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.getbasetemp() / "command-line"
    if not data.exists():
        assert _run(capsys, data, "tenant", "create", "Mine", "--slug", "mine")[0] == 0
    path = "/".join(str(getattr(request_of(row), place)) for place in row.places)
    required = [field.name for field in msgspec.structs.fields(row.request) if field.required]
    tried = 0
    for text in TEXTS:
        expected = _size_fault(name, text) if name.endswith("_bytes") else _text_fault(row, name, text)
        if expected is None or text.startswith("-"):
            continue
        words = [*command_of(row).split(), *([path] if path else [])]
        words += [text if each == name else "good" for each in required if each not in row.places]
        if name not in required:
            words.append(f"--{_option(name)}={text}")
        status, errors = _run(capsys, data, *words)
        tried += 1
        said = expected.message.replace(name, _option(name).replace("-", "_"), 1)  # the option's name
        assert (status, errors.strip()) == (2, f"error: invalid_argument: {printable(said)}")
    assert tried


def _size_fault(name: str, text: str) -> InvalidArgument | None:
    try:
        parse_size(text, name)
    except InvalidArgument as error:
        return error
    return None


def _option(name: str) -> str:
    short = {"memory_quota_bytes": "memory-quota", "storage_quota_bytes": "storage-quota", "qps_quota": "qps"}
    return short.get(name, name.replace("_", "-"))


def _run(capsys: pytest.CaptureFixture[str], data: Path, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["akidb", "--data", str(data), *words])
        status = main()
    return int(status or 0), capsys.readouterr().err
