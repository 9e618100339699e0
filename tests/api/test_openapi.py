"""The OpenAPI description is complete and matches the server."""

import keyword
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from akidb.api import openapi, queries
from akidb.api.app import ROUTES
from akidb.domain import names
from akidb.domain.documents import Include
from akidb.domain.errors import InvalidArgument
from akidb.operations import OPERATIONS, Request
from akidb.operations.changes import GetTenantChanges
from akidb.operations.documents import ScanDocuments
from akidb.operations.tenants import ListTenants

_DOCUMENT = openapi.describe(ROUTES)
_OPERATIONS = [
    (method, path, operation)
    for path, methods in _DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def test_all_specified_routes_exist() -> None:
    one = "/v1/tenants/{tenant}"
    database = f"{one}/databases/{{database}}"
    collection = f"{database}/collections/{{collection}}"
    lists = ("/v1/tenants", f"{one}/databases", f"{database}/collections")
    things = (one, database, collection)
    users = f"{one}/users"
    wanted = {
        *((m, p) for p in lists for m in ("get", "post")),
        *((m, p) for p in things for m in ("get", "patch", "delete")),
        *(("post", f"{p}/{verb}") for p in things for verb in ("restore", "purge")),
        ("post", f"{one}/activate"),
        ("post", f"{one}/suspend"),
        *((m, users) for m in ("get", "post")),
        *((m, f"{users}/{{user}}") for m in ("get", "patch", "delete")),
        *(("post", f"{users}/{{user}}/{verb}") for verb in ("activate", "suspend", "deactivate")),
        ("post", f"{users}/verify-password"),
        ("get", f"{one}/usage"),
        ("get", f"{one}/audit"),
        ("post", f"{collection}/documents"),
        ("get", f"{collection}/documents"),
        *(("post", f"{collection}/documents/{verb}") for verb in ("get", "delete", "count", "update")),
        ("post", f"{collection}/search"),
        ("post", "/v1/embeddings"),
        ("get", "/v1/models"),
        ("get", "/v1/models/{model}"),
        *(("get", p) for p in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs")),
    }
    assert wanted <= {(method, path) for method, path, _ in _OPERATIONS}


def test_server_returns_openapi_description(http: httpx.Client) -> None:
    answer = http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == _DOCUMENT


def test_operation_ids_are_unique_names_of_methods() -> None:
    ids = [operation["operationId"] for _, _, operation in _OPERATIONS]
    assert len(set(ids)) == len(ids)
    for id in ids:
        assert id.isidentifier(), id
        assert not keyword.iskeyword(id)
    assert {row.name.replace(".", "_") for row in OPERATIONS.values() if not row.local} <= set(ids)


SCHEMAS: dict[str, Any] = _DOCUMENT["components"]["schemas"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_one_that_generators_of_clients_understand(name: str) -> None:
    schema = SCHEMAS[name]
    if "properties" not in schema:
        assert "enum" in schema or schema["additionalProperties"] is False
        return
    assert not schema.keys() & {"anyOf", "oneOf", "allOf", "title"}, "a body would be of any type"
    for field, member in schema["properties"].items():
        assert "default" not in member, "generators require a member that has a default"
        for option in member.get("anyOf", [member]):
            if field.endswith("_at"):
                assert option == {"type": "null"} or option["format"] == "date-time"
            if option.get("type") == "object":
                assert option.get("additionalProperties") is True or "properties" in option
            if field.endswith("_id") and name in {"Tenant", "Database", "Collection", "User"}:
                assert option == {"type": "null"} or field == "external_id" or option["format"] == "uuid"


def test_choices_and_defaults_are_said_in_words() -> None:
    for row in OPERATIONS.values():
        if row.one_of is not None:
            *others, last = (f"`{name}`" for name in row.one_of)
            said = f"Give exactly one of {', '.join(others)} and {last}."
            assert said in SCHEMAS[row.request.__name__]["description"]
    assert SCHEMAS["SearchDocuments"]["properties"]["top_k"]["description"].endswith("Default: `10`.")
    scan = _DOCUMENT["paths"]["/v1/tenants"]["get"]["parameters"]
    assert {p["name"]: p["schema"].get("default") for p in scan}["limit"] == 100


def test_schema_of_query_is_no_component() -> None:
    used = {reference.rpartition("/")[2] for reference in _references(_DOCUMENT)}
    assert set(SCHEMAS) <= used
    assert "ListTenants" not in SCHEMAS


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_all_references_resolve() -> None:
    for reference in set(_references(_DOCUMENT)):
        node = _DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


@pytest.mark.parametrize(("method", "path", "operation"), _OPERATIONS, ids=lambda value: str(value)[:60])
def test_operation_is_fully_described(method: str, path: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    assert operation["summary"]
    assert set(re.findall(r"\{(\w+)\}", path)) == {
        p["name"] for p in operation["parameters"] if p.get("in") == "path"
    }
    assert {"400", "500"} <= set(answers)
    for status, answer in answers.items():
        assert "X-Request-ID" in answer["headers"]
        if int(status) >= 400:
            [(media_type, content)] = answer["content"].items()
            openai = path.startswith(("/v1/embeddings", "/v1/models"))
            assert media_type == ("application/json" if openai else "application/problem+json")
            assert content["schema"]["$ref"].endswith("/OpenAIProblem" if openai else "/Problem")
    if "{tenant}" in path:
        assert {"404", "409", "503"} <= set(answers)
    if "requestBody" in operation:
        assert "415" in answers
        [(media_type, content)] = operation["requestBody"]["content"].items()
        if media_type == "application/json":
            assert "413" in answers
            name = content["schema"]["$ref"].rpartition("/")[2]
            assert _DOCUMENT["components"]["schemas"][name]["additionalProperties"] is False
        else:
            assert (media_type, content["schema"]["format"]) == ("application/octet-stream", "binary")
    parameters = {p["$ref"].rpartition("/")[2] for p in operation["parameters"] if "$ref" in p}
    is_feed = path.endswith("/changes")  # whose reader may have to start again
    assert ("412" in answers) == ("IfMatch" in parameters or is_feed)
    assert ("422" in answers) == ("IdempotencyKey" in parameters)
    if "201" in answers:
        assert {"ETag", "Location"} <= set(answers["201"]["headers"])
    if "429" in answers:
        assert "Retry-After" in answers["429"]["headers"]
    if path.endswith("/documents") and method == "post":
        assert {"403", "429"} <= set(answers)


def _accepts(schema: dict[str, Any], text: str) -> bool:
    bounds = schema["minLength"] <= len(text) <= schema["maxLength"]
    return bounds and re.search(schema["pattern"].replace("$", r"\Z"), text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "A.b-c_9",
        "-a",
        "a-",
        "a b",
        "",
        " ",
        " a",
        "é",
        "a\n",
        *("x" * n for n in (63, 64, 128, 129, 255, 256)),
    ],
)
def test_patterns_match_domain_validation(text: str) -> None:
    schemas = _DOCUMENT["components"]["schemas"]
    for body, field, check in (
        ("CreateDatabase", "name", names.check_name),
        ("CopyTenant", "slug", names.check_slug),
        ("CreateTenant", "name", lambda value: names.check_label(value, "name")),
    ):
        schema = schemas[body]["properties"][field]
        try:
            check(text)
            valid = True
        except InvalidArgument:
            valid = False
        assert _accepts(schema, text) == valid, (schema, text)


def _read(query: bytes, request: type[Request[Any]]) -> dict[str, Any]:
    return queries.read(query, request, OPERATIONS[request].said)


def test_query_is_parsed_by_parameter_types() -> None:
    assert _read(b"", ScanDocuments) == {}
    read = _read(
        b"limit=7&include=text,vector&include=metadata&cursor=a%2Bb+c&filter=%7B%22a%22:1%7D", ScanDocuments
    )
    assert read == {
        "limit": 7,
        "include": [Include.TEXT, Include.VECTOR, Include.METADATA],
        "cursor": "a+b c",
        "filter": {"a": 1},
    }
    assert _read(b"deleted=true", ListTenants) == {"deleted": True}
    assert _read(b"since=-1&wait_seconds=0.5", GetTenantChanges) == {"since": -1, "wait_seconds": 0.5}


@pytest.mark.parametrize("query", [b"\xff=1", b"cursor=%FF", b"&".join(b"include=text" for _ in range(65))])
def test_unparsable_query_is_rejected(query: bytes) -> None:
    with pytest.raises(InvalidArgument, match="query"):
        _read(query, ScanDocuments)
