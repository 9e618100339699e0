"""A shared server for tests that need none of their own, and a tenant and collection per test."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .running import Process, client, process

_names = itertools.count()
DIMENSION = 16


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with process(tmp_path_factory.mktemp("served") / "data") as running:
        yield running


@pytest.fixture
def http(server: Process) -> Iterator[httpx.Client]:
    with client(server.url) as connected:
        yield connected


@pytest.fixture
def tenant(http: httpx.Client) -> str:
    """The path of a new tenant."""
    slug = f"t{next(_names)}"
    answer = http.post("/v1/tenants", json={"name": slug, "slug": slug, "qps_quota": 100_000})
    assert answer.status_code == 201, answer.text
    return f"/v1/tenants/{slug}"


@pytest.fixture
def database(http: httpx.Client, tenant: str) -> str:
    """The path of a new database."""
    assert http.post(f"{tenant}/databases", json={"name": "kb"}).status_code == 201
    return f"{tenant}/databases/kb"


@pytest.fixture
def collection(http: httpx.Client, database: str) -> str:
    """The path of a new collection of 16-dimensional vectors."""
    answer = http.post(f"{database}/collections", json={"name": "notes", "dimension": DIMENSION})
    assert answer.status_code == 201, answer.text
    return f"{database}/collections/notes"


def vector(*first: float) -> list[float]:
    """A vector that starts with these numbers and is padded with zeros."""
    return [*first, *([0.0] * (DIMENSION - len(first)))]


def problem(answer: httpx.Response, status: int, code: str, **fields: Any) -> dict[str, Any]:
    """The problem in a response, after checking its format and these fields."""
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["code"] == code, found
    assert found["type"] == f"urn:akidb:error:{code}"
    assert found["title"]
    assert found["detail"]
    assert found["request_id"] == answer.headers["x-request-id"]
    assert {name: found.get(name) for name in fields} == fields
    if not answer.request.url.path.startswith(("/v1/embeddings", "/v1/models")):
        assert answer.headers["content-type"] == "application/problem+json"
    return found
