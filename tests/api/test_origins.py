"""What a page of another site or port could send: its requests are refused, whatever they are."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from .conftest import problem
from .running import Process

JSON = {"content-type": "application/json"}
FOREIGN_SITES = ["cross-site", "same-site", "", "Same-Origin", "same-origin, none", "unknown"]


@pytest.fixture
def bare(server: Process) -> Iterator[httpx.Client]:
    """A client that adds no Content-Type."""
    with httpx.Client(base_url=server.url, timeout=30) as connected:
        yield connected


def _own(http: httpx.Client) -> str:
    return f"http://{urlsplit(str(http.base_url)).netloc}"


def _foreign(http: httpx.Client) -> list[str]:
    port = http.base_url.port
    return [
        *[
            "null",
            "",
            "file://",
            "https://evil.example",
            "http://evil.example",
            "http://localhost.evil.example",
        ],
        *["http://127.0.0.1", "http://127.0.0.1:1", "http://127.0.0.1:3000", f"http://127.0.0.1:0{port}"],
        *[
            f"http://localhost:{port}",
            f"http://[::1]:{port}",
            f"http://127.0.0.2:{port}",
            f"127.0.0.1:{port}",
        ],
        *[f"https://127.0.0.1:{port}", f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}.evil.example"],
        *[f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{port}/docs", f"http://user@127.0.0.1:{port}"],
        *[f"http://127.0.0.1:{port} http://evil.example", f"http://127.0.0.1:{port}, null"],
        *[f"http://127.0.0.1.:{port}", f"http://0.0.0.0:{port}", f"chrome-extension://127.0.0.1:{port}"],
    ]


def test_origin_other_than_host_is_rejected_for_every_method(http: httpx.Client, tenant: str) -> None:
    for origin in _foreign(http):
        for method, path in (
            ("POST", f"{tenant}/suspend"),
            ("DELETE", tenant),
            ("PATCH", tenant),
            ("OPTIONS", tenant),
            ("GET", tenant),
            ("GET", "/v1/backup"),
            ("GET", "/docs"),
            ("PUT", "/nowhere"),
        ):
            answer = http.request(method, path, headers={"origin": origin, **JSON})
            problem(answer, 400, "invalid_argument", field="Origin")
            assert "access-control-allow-origin" not in answer.headers
    found = http.get(tenant).json()
    assert (found["status"], found["version"]) == ("active", 1)


def test_repeated_origin_is_rejected(http: httpx.Client, tenant: str) -> None:
    sent = [("origin", _own(http)), ("origin", "null")]
    for headers in (sent, sent[::-1], [sent[0]] * 2):
        problem(http.post(f"{tenant}/suspend", headers=headers), 400, "invalid_argument", field="Origin")


def test_own_origin_is_accepted(http: httpx.Client, tenant: str) -> None:
    own = {"origin": _own(http), "sec-fetch-site": "same-origin"}
    assert http.post(f"{tenant}/suspend", headers=own).json()["status"] == "suspended"
    other = {"host": "LocalHost:9000", "origin": "http://localhost:9000"}  # a forwarded port
    assert http.post(f"{tenant}/activate", headers=other).json()["status"] == "active"
    problem(http.post(f"{tenant}/suspend", headers={**own, "host": "localhost:1"}), 400, "invalid_argument")


@pytest.mark.parametrize("site", FOREIGN_SITES)
def test_request_from_foreign_page_is_rejected_without_origin(
    http: httpx.Client, tenant: str, site: str
) -> None:
    for destination in ("empty", "image", "script", "iframe", "document"):
        sent = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors", "sec-fetch-dest": destination, **JSON}
        for method, path in (
            ("POST", f"{tenant}/suspend"),
            ("DELETE", tenant),
            ("GET", "/v1/backup"),
            ("GET", f"{tenant}/export"),
            ("GET", "/health/live"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
            ("GET", "/docs/"),
        ):
            answer = http.request(method, path, headers=sent)
            problem(answer, 400, "invalid_argument", field="Sec-Fetch-Site")
        assert http.head("/v1/backup", headers=sent).status_code == 400
    assert http.get(tenant).json()["status"] == "active"


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_own_page_and_address_bar_are_accepted(http: httpx.Client, tenant: str, site: str) -> None:
    assert http.get(tenant, headers={"sec-fetch-site": site}).status_code == 200
    twice = [("sec-fetch-site", site), ("sec-fetch-site", "cross-site")]
    for headers in (twice, twice[::-1]):
        problem(http.get(tenant, headers=headers), 400, "invalid_argument", field="Sec-Fetch-Site")


def test_only_documentation_may_be_opened_by_link_of_another_site(http: httpx.Client, tenant: str) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert http.get("/docs", headers=link).status_code == 200
    assert http.get("/", headers=link).headers["location"] == "/docs"
    framed = {**link, "sec-fetch-dest": "iframe"}
    for path in ("/", "/docs"):
        problem(http.get(path, headers=framed), 400, "invalid_argument", field="Sec-Fetch-Site")
    problem(http.post("/docs", headers=link), 400, "invalid_argument", field="Sec-Fetch-Site")
    for path in (tenant, "/v1/backup", "/v1/tenants", "/docs%2f", "/doc%73", "/openapi.json"):
        problem(http.get(path, headers=link), 400, "invalid_argument", field="Sec-Fetch-Site")


SIMPLE_TYPES = [
    None,
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain; application/json",
    "application/jsonp",
    "application/json, text/plain",
    "application/json; charset=utf-7",
]


@pytest.mark.parametrize("media_type", SIMPLE_TYPES)
@pytest.mark.parametrize("body", [b"", b"{}"], ids=["empty", "object"])
def test_post_that_needs_no_preflight_is_rejected(
    bare: httpx.Client, tenant: str, media_type: str | None, body: bytes
) -> None:
    sent = {} if media_type is None else {"content-type": media_type}
    for path in (
        f"{tenant}/suspend",
        f"{tenant}/purge",
        f"{tenant}/restore",
        f"{tenant}/copy",
        "/v1/maintenance",
        "/v1/models/all-minilm-l6-v2/pull",
        "/v1/embeddings",
        "/v1/import",
        f"{tenant}/users/verify-password",
    ):
        answer = bare.post(path, content=body, headers=sent)
        problem(answer, 415, "unsupported_media_type", header="Content-Type")
    problem(bare.patch(tenant, content=body, headers=sent), 415, "unsupported_media_type")
    assert bare.get(tenant).json()["version"] == 1


def test_post_without_length_or_type_is_rejected(server: Process, http: httpx.Client, tenant: str) -> None:
    """As sent by `curl -X POST`."""
    with httpx.Client(base_url=server.url) as bare:
        request = bare.build_request("POST", f"{tenant}/suspend")
        del request.headers["content-length"]
        problem(bare.send(request), 415, "unsupported_media_type", header="Content-Type")
    assert http.get(tenant).json()["status"] == "active"


def test_description_requires_body_of_every_post_and_patch(http: httpx.Client) -> None:
    for path, operations in http.get("/openapi.json").json()["paths"].items():
        for method in {"post", "patch"} & set(operations):
            assert operations[method]["requestBody"]["required"] is True, (method, path)


def test_empty_post_declared_as_json_is_accepted(bare: httpx.Client, tenant: str) -> None:
    assert bare.post(f"{tenant}/suspend", headers=JSON).json()["status"] == "suspended"
    assert bare.post(f"{tenant}/activate", content=b"{}", headers=JSON).json()["status"] == "active"
    assert bare.delete(tenant).status_code == 204  # needs a preflight
