"""Change feeds over HTTP: pages, long polling, and how a wait ends."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from akidb.api import long_poll as waiting
from akidb.operations.changes import GetTenantChanges
from akidb.services.changes import TICK_SECONDS, UNWOKEN_SECONDS

from .conftest import problem, vector
from .running import client, process, threaded


def read(http: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    answer = http.get(f"{path}/changes", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def write(http: httpx.Client, collection: str, *ids: str) -> None:
    documents = [{"id": id, "text": f"text of {id}", "vector": vector(1.0)} for id in ids]
    assert http.post(f"{collection}/documents", json={"documents": documents}).status_code == 200


def test_collection_changes(http: httpx.Client, collection: str) -> None:
    assert read(http, collection) == {
        "changes": [],
        "next_since": 0,
        "feed": None,
        "more": False,
        "tombstone_floor": 0,
    }
    write(http, collection, "a", "b")
    http.post(f"{collection}/documents/delete", json={"ids": ["a"]})
    page = read(http, collection, limit=1)
    assert page["changes"] == [
        {"sequence": 2, "type": "upsert", "id": "b", "text": "text of b", "metadata": {}}
    ]
    assert (page["next_since"], page["more"]) == (2, True)
    page = read(http, collection, since=2, feed=page["feed"], include="vector")
    assert page["changes"] == [{"sequence": 3, "type": "delete", "id": "a"}]
    (change,) = read(http, collection, include="vector", limit=1)["changes"]
    assert change == {"sequence": 2, "type": "upsert", "id": "b", "vector": vector(1.0)}


def test_tenant_changes(http: httpx.Client, tenant: str, database: str) -> None:
    page = read(http, tenant)
    assert [(change["entity"], change["type"]) for change in page["changes"]] == [
        ("tenant", "upsert"),
        ("database", "upsert"),
    ]
    assert page["changes"][1]["database"] == http.get(database).json()
    assert "tenant" not in page["changes"][1]
    problem(http.get(f"{tenant}/changes", params={"since": 99}), 412, "precondition_failed", entity="changes")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since=-1", "since"),
        ("since=x", "since"),
        ("feed=x", "feed"),
        ("limit=0", "limit"),
        ("wait_seconds=61", "wait_seconds"),
        ("wait_seconds=nan", "wait_seconds"),
        ("wait_seconds=1e3", "wait_seconds"),
        ("include=text", "include"),
        ("follow=true", "follow"),
    ],
)
def test_invalid_query_parameter_is_named(http: httpx.Client, tenant: str, query: str, field: str) -> None:
    problem(http.get(f"{tenant}/changes?{query}"), 400, "invalid_argument", field=field)


def test_unknown_collection_or_tenant_is_not_found(http: httpx.Client, database: str) -> None:
    problem(http.get(f"{database}/collections/none/changes"), 404, "not_found")
    problem(http.get("/v1/tenants/nobody/changes?wait_seconds=30"), 404, "not_found")


@pytest.mark.slow
def test_hundreds_of_waiting_requests_do_not_starve_others(tmp_path: Path) -> None:
    """More waiting requests than threads, and than concurrent requests allowed."""
    with threaded(tmp_path / "data", max_queued_requests=40) as running:
        with client(running.url) as http:
            assert http.post("/v1/tenants", json={"name": "Aki Labs"}).status_code == 201
            known = read(http, "/v1/tenants/aki-labs")
        query = {"since": known["next_since"], "feed": known["feed"], "wait_seconds": 30}

        def wait() -> int:
            for _ in range(100):
                answer = polls.get("/v1/tenants/aki-labs/changes", params=query, timeout=60)
                if answer.status_code != 503:  # too many came at the same moment
                    return len(answer.json()["changes"])
                time.sleep(0.1)
            raise AssertionError("never let in")

        any_number = httpx.Limits(max_connections=None)
        with (
            httpx.Client(base_url=running.url, limits=any_number) as polls,
            ThreadPoolExecutor(200) as pool,
        ):
            waiters = [pool.submit(wait) for _ in range(200)]
            deadline = time.monotonic() + 60
            while running.app.long_polls._count < 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            with client(running.url) as http:
                for _ in range(50):
                    assert http.get("/v1/tenants/aki-labs").status_code == 200
                assert not any(waiter.done() for waiter in waiters)
                assert http.post("/v1/tenants/aki-labs/databases", json={"name": "kb"}).status_code == 201
            assert [waiter.result(30) for waiter in waiters] == [1] * 200
        assert running.app.long_polls._count == 0


def test_waiting_ends_on_timeout_or_client_disconnect(tmp_path: Path) -> None:
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        http.post("/v1/tenants", json={"name": "Aki Labs"})
        since = read(http, "/v1/tenants/aki-labs")["next_since"]
        began = time.monotonic()
        page = read(http, "/v1/tenants/aki-labs", since=since, wait_seconds=0.4)
        assert 0.4 <= time.monotonic() - began < 3
        assert (page["changes"], page["next_since"]) == ([], since)
        address = httpx.URL(running.url)
        with socket.create_connection((address.host, address.port), timeout=30) as connection:
            target = f"/v1/tenants/aki-labs/changes?since={since}&wait_seconds=60"
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            until(lambda: running.app.long_polls._count == 1)
        until(lambda: running.app.long_polls._count == 0)
        feeds: Any = running.operations._runtime.dispatcher._handlers[GetTenantChanges].call
        assert feeds.__self__.signals._listeners == {}


def until(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_waiting_ends_when_server_stops(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running, client(running.url) as http:
        http.post("/v1/tenants", json={"name": "Aki Labs"})
        since = read(http, "/v1/tenants/aki-labs")["next_since"]
        answers: list[httpx.Response] = []
        query = {"since": since, "wait_seconds": 60}
        waiter = threading.Thread(
            target=lambda: answers.append(http.get("/v1/tenants/aki-labs/changes", params=query))
        )
        waiter.start()
        time.sleep(3 * TICK_SECONDS)
        began = time.monotonic()
        assert running.stop() == 0
        waiter.join(30)
        assert time.monotonic() - began < UNWOKEN_SECONDS
        assert answers[0].json()["changes"] == []


def test_number_of_waiting_requests_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 0)
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        http.post("/v1/tenants", json={"name": "Aki Labs"})
        assert http.get("/v1/tenants/aki-labs/changes?wait_seconds=1").status_code == 200
        answer = http.get("/v1/tenants/aki-labs/changes?since=1&wait_seconds=1")
        problem(answer, 503, "overloaded", queue="waiting")


def test_operators_can_list_and_count_tenants(http: httpx.Client, tenant: str) -> None:
    marks = [f"Zebra{number} {tenant[-3:]}" for number in range(3)]
    for name in marks:
        assert http.post("/v1/tenants", json={"name": name}).status_code == 201
    query: dict[str, Any] = {"name_contains": f"ZEBRA{1} {tenant[-3:]}"}
    assert [found["name"] for found in http.get("/v1/tenants", params=query).json()["items"]] == [marks[1]]
    query = {"name_contains": "zebra", "sort": "-name", "limit": 2}
    page = http.get("/v1/tenants", params=query).json()
    rest = http.get("/v1/tenants", params={**query, "cursor": page["next_cursor"], "limit": 1000}).json()
    names = [found["name"] for found in page["items"] + rest["items"]]
    assert names == sorted(names, reverse=True)
    assert http.get("/v1/tenant-count", params={"name_contains": "zebra"}).json() == {"count": len(names)}
    assert http.get("/v1/tenant-count?deleted=true&status=suspended").json() == {"count": 0}
    problem(http.get("/v1/tenants?sort=age"), 400, "invalid_argument", field="sort")
    problem(http.get("/v1/tenants?name_contains="), 400, "invalid_argument", field="name_contains")
    problem(http.get("/v1/tenant-count?limit=1"), 400, "invalid_argument", field="limit")


def test_databases_and_collections_are_counted(http: httpx.Client, tenant: str, collection: str) -> None:
    assert http.get(f"{tenant}/database-count").json() == {"count": 1}
    assert http.get(f"{tenant}/databases/kb/collection-count").json() == {"count": 1}
    http.delete(collection)
    assert http.get(f"{tenant}/databases/kb/collection-count").json() == {"count": 0}
    assert http.get(f"{tenant}/databases/kb/collection-count?deleted=true").json() == {"count": 1}
