"""Invalid input is rejected with the name of the field, and nothing is written."""

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from .conftest import problem, vector

JSON = {"content-type": "application/json"}
UUID = "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"
BAD_NAMES = ["", "../x", "x" * 300, "a\x07b", "name\n", UUID, "-x", "a b", "é", "a/b", "a\x00"]
BAD_REFERENCES = [
    "..",
    "x" * 300,
    "a\x07b",
    "name\n",
    f"{{{UUID}}}",
    UUID.upper(),
    f"urn:uuid:{UUID}",
    "-x",
    "%",
]


def _names(http: httpx.Client, path: str) -> list[str]:
    return [item["name"] for item in http.get(path).json()["items"]]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_invalid_name_creates_no_database_or_collection(http: httpx.Client, database: str, name: str) -> None:
    databases, collections = database.removesuffix("/kb"), f"{database}/collections"
    problem(http.post(databases, json={"name": name}), 400, "invalid_argument", field="name")
    problem(http.patch(database, json={"name": name}), 400, "invalid_argument", field="name")
    problem(
        http.post(collections, json={"name": name, "dimension": 16}), 400, "invalid_argument", field="name"
    )
    assert _names(http, databases) == ["kb"]
    assert _names(http, collections) == []


@pytest.mark.parametrize("slug", ["", "../x", "x" * 64, "A", "a\n", "-a", "a-", UUID, "a_b"])
def test_invalid_slug_creates_no_tenant(http: httpx.Client, slug: str) -> None:
    body = {"name": "Badly named", "slug": slug, "external_id": "badly-named"}
    problem(http.post("/v1/tenants", json=body), 400, "invalid_argument", field="slug")
    assert http.get("/v1/tenants", params={"external_id": "badly-named"}).json()["items"] == []


@pytest.mark.parametrize("reference", BAD_REFERENCES)
def test_invalid_reference_in_path_is_rejected(http: httpx.Client, database: str, reference: str) -> None:
    escaped = quote(reference, safe="").replace(".", "%2E")
    for path, entity in ((f"/v1/tenants/{escaped}", "tenant"), (f"{database[:-2]}{escaped}", "database")):
        problem(http.get(path), 400, "invalid_argument", field=entity)
        problem(http.delete(path), 400, "invalid_argument", field=entity)


@pytest.mark.parametrize(
    "path", ["/v1/tenants/", "/v1//tenants", "/v1/tenants//databases", "/v2/tenants", "/v1"]
)
def test_empty_name_in_path_matches_no_route(http: httpx.Client, path: str) -> None:
    problem(http.get(path), 404, "not_found", entity="route", id=path)


@pytest.mark.parametrize(
    ("path", "method", "body", "field"),
    [
        ("/v1/tenants", "POST", {"name": "Unknown field", "colour": "red"}, "colour"),
        ("{tenant}", "PATCH", {"status": "active"}, "status"),
        ("{tenant}/suspend", "POST", {"why": "x"}, "why"),
        ("{tenant}/activate", "POST", {"reason": "x"}, "reason"),
        ("{collection}/documents", "POST", {"documents": [{"vectors": [1]}]}, "documents[0].vectors"),
        ("{collection}/search", "POST", {"vector": vector(1), "k": 3}, "k"),
        ("{collection}", "PATCH", {"metric": "dot"}, "metric"),
    ],
)
def test_unknown_field_is_rejected_and_named(
    http: httpx.Client, tenant: str, collection: str, path: str, method: str, body: Any, field: str
) -> None:
    path = path.format(tenant=tenant, collection=collection)
    answer = http.request(method, path, json=body)
    problem(answer, 400, "invalid_argument", field=field, reason="unknown field")
    assert http.get(tenant).json()["version"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("limit=1&limit=2", "limit"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.0", "limit"),
        ("limit=+1", "limit"),
        ("limit=1%0A", "limit"),
        ("limit=%EF%BC%91", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=", "limit"),
        ("deleted=yes", "deleted"),
        ("deleted=True", "deleted"),
        ("deleted=1", "deleted"),
        ("status=busy", "status"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("=1", "query"),
        ("limit", "query"),
        ("&", "query"),
        ("external_id=%FF", "query"),
        ("external_id=%00", "external_id"),
    ],
)
def test_invalid_query_parameter_is_rejected_and_named(http: httpx.Client, query: str, field: str) -> None:
    problem(http.get(f"/v1/tenants?{query}"), 400, "invalid_argument", field=field)


def test_query_parameter_is_rejected_on_route_without_parameters(http: httpx.Client, tenant: str) -> None:
    problem(http.get(f"{tenant}?verbose=1"), 400, "invalid_argument", field="verbose")
    problem(http.delete(f"{tenant}?force=true"), 400, "invalid_argument", field="force")
    problem(http.get("/health/live?x=1"), 400, "invalid_argument", field="x")
    assert http.get(tenant).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b'{"name": "J1"} x', "body"),
        (b'{"name": "J1", }', "body"),
        (b"{'name': 'J1'}", "body"),
        (b'\xff\xfe{"name": "J1"}', "body"),
        (b'{"name": "\xff"}', "body"),
        (b'{"name": "\\ud800"}', "name"),
        (b'{"name": "J1", "name": "J1"}', "name"),
        (b'{"name": "J1", "metadata": {"a": {"b": 1, "b": 2}}}', "metadata.a.b"),
        (b'{"name": "J1", "metadata": {"a": [NaN]}}', "metadata.a[0]"),
        (b'{"name": "J1", "metadata": {"a": Infinity}}', "metadata.a"),
        (b'{"name": "J1", "metadata": {"a": 1e400}}', "metadata"),
        (b'{"name": "J1", "metadata": {"a": "\\u0000"}}', "metadata.a"),
        (b'{"name": 7}', "name"),
        (b'{"slug": "j1"}', "name"),
        (b'{"name": "J1", "qps_quota": "200"}', "qps_quota"),
        (b'{"name": "J1", "qps_quota": true}', "qps_quota"),
        (b'{"name": "J1", "qps_quota": -1}', "qps_quota"),
        (b'{"name": "J1", "qps_quota": 9223372036854775808}', "qps_quota"),
        (b'{"name": "J1", "metadata": []}', "metadata"),
        (b'{"name": "J1", "status": "suspended"}', "status"),
        (b'{"name": "J1", "status": "busy"}', "status"),
        (b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "name"),
    ],
)
def test_invalid_json_creates_nothing(http: httpx.Client, body: bytes, field: str) -> None:
    found = problem(http.post("/v1/tenants", content=body, headers=JSON), 400, "invalid_argument")
    assert found["field"].startswith(("body", field)), found
    problem(http.get("/v1/tenants/j1"), 404, "not_found")


_GOOD = {"id": "good", "text": "good", "vector": vector(1)}


@pytest.mark.parametrize(
    ("faulty", "field"),
    [
        ('{"id": "x", "vector": [1, 2, 3]}', "documents[1].vector"),
        ('{"id": "x", "vector": []}', "documents[1].vector"),
        ('{"id": "x", "vector": [NaN]}', "documents[1].vector[0]"),
        ('{"id": "x", "vector": [0, -Infinity]}', "documents[1].vector[1]"),
        ('{"id": "x", "vector": [1e999]}', "documents[1].vector[0]"),
        (f'{{"id": "x", "vector": {vector(1e39)}}}', "documents[1].vector"),
        (f'{{"id": "x", "vector": {vector(0)}}}', "documents[1].vector"),
        ('{"id": "x", "vector": ["1"]}', "documents[1].vector[0]"),
        ('{"id": "x", "vector": [true]}', "documents[1].vector[0]"),
        ('{"id": "x", "vector": "AAAA"}', "documents[1].vector"),
        (f'{{"id": "x", "vector": {vector(1)}, "text": "a cut emoji \\ud83d"}}', "documents[1].text"),
        (f'{{"id": "\\ude00", "vector": {vector(1)}}}', "documents[1].id"),
        ('{"id": "x"}', "documents[1]"),
        (f'{{"id": "good", "vector": {vector(1)}}}', "documents[1].id"),
        (f'{{"id": "", "vector": {vector(1)}}}', "documents[1].id"),
        (f'{{"id": "{"é" * 257}", "vector": {vector(1)}}}', "documents[1].id"),
        (f'{{"id": "\\u0000", "vector": {vector(1)}}}', "documents[1].id"),
        (f'{{"id": 7, "vector": {vector(1)}}}', "documents[1].id"),
        (f'{{"id": "x", "vector": {vector(1)}, "text": "{"x" * (2**20 + 1)}"}}', "documents[1].text"),
        (f'{{"id": "x", "vector": {vector(1)}, "metadata": [1]}}', "documents[1].metadata"),
        (f'{{"id": "x", "vector": {vector(1)}, "metadata": {{"a": 1, "a": 1}}}}', "documents[1].metadata.a"),
        (f'{{"id": "x", "vector": {vector(1)}, "metadata": {{"a": 1e30}}, "b": 1}}', "documents[1].b"),
    ],
)
def test_one_invalid_document_rejects_whole_batch(
    http: httpx.Client, collection: str, faulty: str, field: str
) -> None:
    body = f'{{"documents": [{json.dumps(_GOOD)}, {faulty}, {json.dumps({**_GOOD, "id": "last"})}]}}'
    answer = http.post(f"{collection}/documents", content=body.encode(), headers=JSON)
    problem(answer, 400, "invalid_argument", field=field)
    assert http.post(f"{collection}/documents/count").json() == {"count": 0}


@pytest.mark.parametrize("count", [0, 10_001])
def test_batch_of_invalid_size_is_rejected(http: httpx.Client, collection: str, count: int) -> None:
    documents = [{"id": str(i), "vector": vector(1)} for i in range(count)]
    answer = http.post(f"{collection}/documents", json={"documents": documents})
    problem(answer, 400, "invalid_argument", field="documents")
    for name in ("get", "delete"):
        answer = http.post(f"{collection}/documents/{name}", json={"ids": [str(i) for i in range(count)]})
        problem(answer, 400, "invalid_argument", field="ids")
    assert http.post(f"{collection}/documents/count").json() == {"count": 0}


_DEEP = {"$and": [{"a": 1}, {"$or": [{"$not": {"year": {"$gte": [1]}}}]}]}
_DEEP_FIELD = "filter.$and[1].$or[0].$not.year.$gte"


def test_nested_filter_error_reports_its_path(http: httpx.Client, collection: str) -> None:
    assert http.post(f"{collection}/documents", json={"documents": [_GOOD]}).status_code == 200
    requests = {
        "documents/delete": {"filter": _DEEP},
        "documents/count": {"filter": _DEEP},
        "documents/update": {"filter": _DEEP, "metadata": {"x": 1}},
        "search": {"vector": vector(1), "filter": _DEEP},
    }
    for name, body in requests.items():
        answer = http.post(f"{collection}/{name}", json=body)
        problem(answer, 400, "invalid_argument", field=_DEEP_FIELD)
    scan = http.get(f"{collection}/documents", params={"filter": json.dumps(_DEEP)})
    problem(scan, 400, "invalid_argument", field=_DEEP_FIELD)
    [kept] = http.get(f"{collection}/documents").json()["items"]
    assert kept["metadata"] == {}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "filter"),
        ("[]", "filter"),
        ("1", "filter"),
        ('{"a":{"$eq":NaN}}', "filter.a.$eq"),
        ('{"a":1,"a":2}', "filter.a"),
    ],
)
def test_scan_filter_error_reports_its_path(
    http: httpx.Client, collection: str, text: str, field: str
) -> None:
    answer = http.get(f"{collection}/documents", params={"filter": text})
    problem(answer, 400, "invalid_argument", field=field)


def test_delete_and_update_require_ids_or_filter(http: httpx.Client, collection: str) -> None:
    assert http.post(f"{collection}/documents", json={"documents": [_GOOD]}).status_code == 200
    choices: list[dict[str, Any]] = [{}, {"filter": {}}, {"ids": ["good"], "filter": {"a": 1}}, {"ids": []}]
    for choice in choices:
        assert http.post(f"{collection}/documents/delete", json=choice).status_code == 400
        body = {**choice, "metadata": {"x": 1}}
        assert http.post(f"{collection}/documents/update", json=body).status_code == 400
    [kept] = http.get(f"{collection}/documents").json()["items"]
    assert kept["metadata"] == {}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"vector": vector(1), "top_k": 0}, "top_k"),
        ({"vector": vector(1), "top_k": 10_001}, "top_k"),
        ({"vector": vector(1), "include": ["texts"]}, "include"),
        ({"vector": vector(1), "ef_search": 0}, "ef_search"),
        ({"vector": [1.0]}, "vector"),
        ({"vector": vector(0)}, "vector"),
        ({"text": "no model here"}, "vector"),
        ({}, "text"),
        ({"text": "x", "vector": vector(1)}, "text"),
    ],
)
def test_invalid_search_is_rejected(
    http: httpx.Client, collection: str, body: dict[str, Any], field: str
) -> None:
    found = problem(http.post(f"{collection}/search", json=body), 400, "invalid_argument")
    assert found["field"] == field, found


def test_unknown_model_creates_no_collection(http: httpx.Client, database: str) -> None:
    body = {"name": "c", "embedding_model": "no-such-model"}
    found = problem(http.post(f"{database}/collections", json=body), 404, "not_found")
    assert found["id"] == "no-such-model"
    assert _names(http, f"{database}/collections") == []


def test_unexpected_body_is_rejected(http: httpx.Client, tenant: str) -> None:
    answer = http.request("DELETE", tenant, json={"if_version": 7})
    problem(answer, 400, "invalid_argument", field="body")
    answer = http.request("GET", "/v1/tenants", json={"limit": 7})
    problem(answer, 400, "invalid_argument", field="body")
    assert http.get(tenant).status_code == 200
