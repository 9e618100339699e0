"""Each route, in the lifecycle of a tenant, a database, a collection and documents."""

from pathlib import Path

import httpx
import pytest

from akidb.domain.ids import CollectionId, DatabaseId, TenantId

from .conftest import problem, vector
from .running import client, threaded


def test_tenant_lifecycle(http: httpx.Client) -> None:
    made = http.post("/v1/tenants", json={"name": "Life & Co", "metadata": {"plan": "free"}})
    assert made.status_code == 201
    assert made.headers["etag"] == '"1"'
    tenant = made.json()
    path = f"/v1/tenants/{TenantId.parse(tenant['tenant_id'])}"
    assert made.headers["location"] == path
    assert tenant["slug"] == "life-co"
    assert tenant["status"] == "active"
    assert tenant["deleted_at"] is None
    assert tenant["created_at"].endswith("Z")

    assert http.get(path).json() == http.get("/v1/tenants/life-co").json() == tenant
    changed = http.patch(path, json={"name": "Life", "metadata": {}})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert changed.json()["metadata"] == {}
    suspended = http.post(f"{path}/suspend", json={"reason": "unpaid"})
    assert (suspended.json()["status"], suspended.headers["etag"]) == ("suspended", '"3"')
    problem(
        http.post(f"{path}/databases", json={"name": "x"}),
        409,
        "invalid_state",
        entity="tenant",
        state="suspended",
    )
    assert http.post(f"{path}/activate").json()["status"] == "active"
    usage = http.get(f"{path}/usage").json()
    assert usage["storage_bytes"] == {"limit": tenant["storage_quota_bytes"], "used": 0}
    assert usage["qps"] == {"limit": 200}

    gone = http.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    problem(http.get(path), 404, "not_found", entity="tenant")
    listed = http.get("/v1/tenants", params={"deleted": "true"}).json()["items"]
    assert [t["slug"] for t in listed if t["slug"] == "life-co"] == ["life-co"]
    back = http.post(f"{path}/restore")
    assert (back.status_code, back.json()["status"]) == (200, "active")
    problem(http.post(f"{path}/purge"), 409, "invalid_state")
    assert http.delete(path).status_code == 204
    purged = http.post(f"{path}/purge", json={})
    assert (purged.status_code, purged.content) == (204, b"")
    actions = [entry["action"] for entry in http.get(f"{path}/audit").json()["items"]]
    assert actions[0] == "tenant.create"
    assert actions[-1] == "tenant.purge"


def test_tenants_are_paged_and_filtered_by_status_and_external_id(tmp_path: Path) -> None:
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        for i in range(3):
            body = {"name": f"Listed {i}", "external_id": f"crm-{i}", "status": "provisioning"}
            assert http.post("/v1/tenants", json=body).status_code == 201
        query: dict[str, str | int] = {"status": "provisioning", "limit": 2}
        first = http.get("/v1/tenants", params=query).json()
        cursor = {"cursor": first["next_cursor"]}
        second = http.get("/v1/tenants", params={**query, **cursor}).json()
        [found] = http.get("/v1/tenants", params={"external_id": "crm-1"}).json()["items"]
        problem(http.get("/v1/tenants", params=cursor), 400, "invalid_argument", field="cursor")
    assert [t["external_id"] for t in first["items"] + second["items"]] == ["crm-0", "crm-1", "crm-2"]
    assert second["next_cursor"] is None
    assert found["name"] == "Listed 1"


def test_database_lifecycle(http: httpx.Client, tenant: str) -> None:
    made = http.post(f"{tenant}/databases", json={"name": "kb", "description": "knowledge"})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    database = made.json()
    path = made.headers["location"]
    assert path.endswith(f"/databases/{DatabaseId.parse(database['database_id'])}")
    assert http.get(path).json() == http.get(f"{tenant}/databases/kb").json() == database
    assert http.patch(path, json={"state": "migrating"}).json()["state"] == "migrating"
    problem(http.patch(path, json={"state": "provisioning"}), 409, "invalid_state", entity="database")
    assert http.patch(path, json={"state": "ready", "name": "base"}).json()["name"] == "base"
    assert [d["name"] for d in http.get(f"{tenant}/databases").json()["items"]] == ["base"]
    problem(
        http.post(f"{tenant}/databases", json={"name": "base"}),
        409,
        "already_exists",
        field="name",
        value="base",
    )
    assert http.delete(path).status_code == 204
    assert http.get(f"{tenant}/databases").json() == {"items": [], "next_cursor": None}
    assert len(http.get(f"{tenant}/databases", params={"deleted": "true"}).json()["items"]) == 1
    assert http.post(f"{path}/restore").json()["name"] == "base"
    assert http.delete(path).status_code == 204
    assert http.post(f"{path}/purge").status_code == 204
    problem(http.post(f"{path}/restore"), 404, "not_found", entity="database")


def test_collection_takes_its_dimension_from_the_first_vector(http: httpx.Client, database: str) -> None:
    path = http.post(f"{database}/collections", json={"name": "bare"}).headers["location"]
    made = http.get(path)
    assert made.json()["dimension"] is None
    found = http.post(f"{path}/search", json={"vector": [1, 2]}).json()
    assert (found["matches"], found["statistics"]["scanned"]) == ([], 0)
    mixed = [{"id": "a", "vector": [1, 2]}, {"id": "b", "vector": [1, 2, 3]}]
    field = "documents[1].vector"
    problem(http.post(f"{path}/documents", json={"documents": mixed}), 400, "invalid_argument", field=field)
    assert http.post(f"{path}/documents", json={"documents": mixed[:1]}).status_code == 200
    after = http.get(path)
    assert (after.json()["dimension"], after.json()["version"]) == (2, 2)
    assert after.headers["etag"] != made.headers["etag"]


def test_collection_lifecycle(http: httpx.Client, database: str) -> None:
    body = {"name": "notes", "dimension": 32, "metric": "l2", "max_document_count": 10}
    made = http.post(f"{database}/collections", json=body)
    assert made.status_code == 201
    collection = made.json()
    path = made.headers["location"]
    assert path.endswith(f"/collections/{CollectionId.parse(collection['collection_id'])}")
    assert (collection["dimension"], collection["metric"], collection["state"]) == (32, "l2", "ready")
    assert http.get(path).json() == http.get(f"{database}/collections/notes").json() == collection
    assert http.patch(path, json={"hnsw_m": 24}).json()["hnsw_m"] == 24
    problem(http.patch(path, json={"dimension": 64}), 400, "invalid_argument", field="dimension")
    assert len(http.get(f"{database}/collections").json()["items"]) == 1
    assert http.delete(path).status_code == 204
    assert len(http.get(f"{database}/collections", params={"deleted": "true"}).json()["items"]) == 1
    assert http.post(f"{path}/restore").status_code == 200
    assert http.delete(path).status_code == 204
    assert http.post(f"{path}/purge").status_code == 204


def test_document_lifecycle(http: httpx.Client, collection: str) -> None:
    documents = [
        {"id": "a", "text": "north", "vector": vector(1), "metadata": {"year": 2024, "tags": ["x"]}},
        {"id": "b", "text": "east", "vector": vector(0, 1), "metadata": {"year": 2026}},
        {"id": "c", "vector": vector(1, 1)},
    ]
    wrote = http.post(f"{collection}/documents", json={"documents": documents})
    assert wrote.json() == {
        "upserted": 3,
        "ids": ["a", "b", "c"],
        "truncated": 0,
        "truncated_ids": [],
        "without_vector": 0,
    }
    assert wrote.status_code == 200
    made = http.post(f"{collection}/documents", json={"documents": [{"vector": vector(3)}]}).json()["ids"]
    assert len(made[0]) == 36
    removed = http.post(f"{collection}/documents/delete", json={"ids": [*made, "unknown"]})
    assert removed.json() == {"deleted": 1}

    got = http.post(
        f"{collection}/documents/get", json={"ids": ["c", "zz", "a"], "include": ["vector"]}
    ).json()
    assert got == {"documents": [{"id": "c", "vector": vector(1, 1)}, {"id": "a", "vector": vector(1)}]}
    scanned = http.get(f"{collection}/documents", params={"limit": 2, "include": "text,metadata"}).json()
    assert scanned["items"][0] == {"id": "a", "text": "north", "metadata": {"year": 2024, "tags": ["x"]}}
    rest = http.get(
        f"{collection}/documents",
        params=[
            ("limit", "2"),
            ("cursor", scanned["next_cursor"]),
            ("include", "text"),
            ("include", "metadata"),
        ],
    )
    assert [d["id"] for d in rest.json()["items"]] == ["c"]
    bare = http.get(
        f"{collection}/documents", params={"include": "", "filter": '{"year":{"$gte":2025}}'}
    ).json()
    assert bare["items"] == [{"id": "b"}]

    assert http.post(f"{collection}/documents/count").json() == {"count": 3}
    counted = http.post(f"{collection}/documents/count", json={"filter": {"tags": "x"}})
    assert counted.json() == {"count": 1}
    updated = http.post(
        f"{collection}/documents/update",
        json={"filter": {"year": 2026}, "metadata": {"year": None, "seen": True}},
    )
    assert updated.json() == {"updated": 1}

    found = http.post(f"{collection}/search", json={"vector": vector(1), "top_k": 2}).json()
    assert [match["id"] for match in found["matches"]] == ["a", "c"]
    assert found["matches"][0]["score"] == pytest.approx(1)
    assert found["matches"][0]["text"] == "north"
    assert found["statistics"]["plan"] == "exact"
    close = {"vector": vector(1), "score_threshold": 0.9, "include": [], "ef_search": 50}
    [match] = http.post(f"{collection}/search", json=close).json()["matches"]
    assert set(match) == {"id", "score"}
    filtered = {"vector": vector(1), "filter": {"seen": True}}
    assert [m["id"] for m in http.post(f"{collection}/search", json=filtered).json()["matches"]] == ["b"]
    assert http.post(f"{collection}/documents/delete", json={"filter": {"$id": "a"}}).json() == {"deleted": 1}


def test_texts_are_embedded_in_collection_with_model(http: httpx.Client, database: str) -> None:
    body = {"name": "texts", "embedding_model": "hash"}
    assert http.post(f"{database}/collections", json=body).status_code == 201
    path = f"{database}/collections/texts"
    documents = [{"id": str(i), "text": text} for i, text in enumerate(("a red fox", "a blue whale"))]
    assert http.post(f"{path}/documents", json={"documents": documents}).status_code == 200
    found = http.post(f"{path}/search", json={"text": "a blue whale", "top_k": 1}).json()["matches"]
    assert found[0]["id"] == "1"


def test_responses_do_not_reveal_other_tenants(http: httpx.Client, tenant: str, collection: str) -> None:
    other = http.post("/v1/tenants", json={"name": "Another"}).headers["location"]
    database_id = http.get(f"{tenant}/databases/kb").json()["database_id"]
    answers = [
        http.get(f"{other}/databases/{name}")
        for name in (database_id, "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f")
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert {frozenset(answer.json()) for answer in answers} == {frozenset(answers[0].json())}


def test_quota_exceeded_reports_limit_usage_and_request(http: httpx.Client, database: str) -> None:
    body = {"name": "few", "dimension": 16, "max_document_count": 1}
    assert http.post(f"{database}/collections", json=body).status_code == 201
    two = [{"id": "a", "vector": vector(1)}, {"id": "b", "vector": vector(1)}]
    answer = http.post(f"{database}/collections/few/documents", json={"documents": two})
    problem(answer, 403, "quota_exceeded", limit=1, used=0, requested=2)
    assert http.post(f"{database}/collections/few/documents/count").json() == {"count": 0}


def test_exceeded_rate_limit_reports_retry_after(http: httpx.Client) -> None:
    made = http.post("/v1/tenants", json={"name": "Slow", "qps_quota": 1})
    path = f"{made.headers['location']}/databases"
    http.post(path, json={"name": "kb"})
    http.post(f"{path}/kb/collections", json={"name": "c", "dimension": 16})
    answers = [http.post(f"{path}/kb/collections/c/documents/count") for _ in range(3)]
    assert answers[0].status_code == 200
    problem(answers[-1], 429, "rate_limited", limit=1)
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_doctor_checks_stores(http: httpx.Client, collection: str) -> None:
    findings = http.get("/v1/doctor").json()["items"]
    assert findings
    assert all(finding["ok"] for finding in findings), findings
