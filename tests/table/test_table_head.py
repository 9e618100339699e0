"""HEAD: every GET route answers it like a GET, without a body and without making archives."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from stage import PLACES, build, local, request_of

from akidb.api.app import ROUTES
from akidb.api.routing import Route

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))  # its server serves here too

GETS = [route for route in ROUTES if route.method == "GET"]
VARYING = {"date", "x-request-id"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    from congruence_deployments import server

    folder = tmp_path_factory.mktemp("head")
    with server(folder / "data", folder) as url, local(url, folder) as operations:
        build(operations)
        with httpx.Client(base_url=url) as client:
            yield client


def _path(route: Route) -> str:
    if route.operation is None:
        return route.path.format_map(PLACES)
    request: Any = request_of(route.operation)
    return route.path.format_map({name: getattr(request, name) for name in route.places})


def _entries(served: httpx.Client) -> int:
    return len(served.get("/v1/tenants/mine/audit", params={"limit": 1000}).json()["items"])


@pytest.mark.parametrize("route", GETS, ids=[route.operation_id for route in GETS])
def test_head_has_status_and_headers_of_get(route: Route, served: httpx.Client) -> None:
    path = _path(route)
    head = served.head(path)
    entries = _entries(served)
    assert served.head(path).content == b""
    assert _entries(served) == entries, "an archive was made for a HEAD"
    get = served.get(path)
    assert head.status_code == get.status_code == 200, get.text
    varying = VARYING | ({"content-length"} if path in {"/metrics", "/v1/tenants/mine/audit"} else set())
    varying |= {"transfer-encoding"} if route.gives_stream else set()
    kept = [
        {name: value for name, value in each.headers.items() if name not in varying} for each in (head, get)
    ]
    assert kept[0] == kept[1]
    assert "GET, HEAD" in served.options(path).headers["allow"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/tenants/nobody", 404),
        ("/v1/tenants/nobody/export", 404),
        ("/v1/tenants/asleep/export", 200),
        ("/v1/tenants/mine/export?all=true", 400),
        ("/v1/tenants?limit=0", 400),
        ("/v1/nothing", 404),
        ("/v1/embeddings", 405),
    ],
)
def test_head_has_status_of_error_without_its_body(path: str, status: int, served: httpx.Client) -> None:
    head, get = served.head(path), served.get(path)
    assert (head.status_code, get.status_code, head.content) == (status, status, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_connection_is_kept_after_head(served: httpx.Client) -> None:
    with httpx.Client(base_url=served.base_url, limits=httpx.Limits(max_connections=1)) as one:
        for path in ("/health/live", "/v1/backup", "/v1/tenants", "/v1/nothing", "/docs"):
            answer = one.head(path)
            assert "connection" not in answer.headers
            assert one.get("/health/live").json() == {"status": "ok"}


def test_home_redirects_to_documentation(served: httpx.Client) -> None:
    for method in ("GET", "HEAD"):
        answer = served.request(method, "/")
        assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    assert "openapi.json" in served.get("/", follow_redirects=True).text
    assert served.post("/").status_code == 405
    assert served.options("/").headers["allow"] == "GET, HEAD, OPTIONS"
