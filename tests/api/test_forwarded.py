"""Headers of proxies: no client may choose the address, scheme or host that the server records or returns."""

import json
from pathlib import Path

import httpx
import pytest

from akidb.operations.tenants import GetTenant

from .conftest import problem
from .running import Process, carry_out, client, process, threaded

FORGED = {
    "X-Forwarded-For": "6.6.6.6, 7.7.7.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Scheme": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Path": "/v1/backup",
    "X-Script-Name": "/evil",
    "X-Original-URL": "/v1/backup",
    "X-Rewrite-URL": "/v1/backup",
    "X-HTTP-Method-Override": "DELETE",
    "X-Real-IP": "6.6.6.6",
    "X-Client-IP": "6.6.6.6",
    "True-Client-IP": "6.6.6.6",
    "CF-Connecting-IP": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;host=evil.example;proto=https",
    "Via": "1.1 evil.example",
}


def test_proxy_headers_do_not_reach_audit_log_or_response(tmp_path: Path) -> None:
    with process(tmp_path / "data", FORWARDED_ALLOW_IPS="*", WEB_CONCURRENCY="many") as running:
        with client(running.url) as plain, httpx.Client(base_url=running.url, headers=FORGED) as forging:
            made = forging.post("/v1/tenants", json={"name": "Aki", "slug": "aki"})
            assert made.headers["location"] == f"/v1/tenants/{made.json()['tenant_id']}"
            read = forging.get("/v1/tenants/aki", headers={"x-request-id": "forged"})
            assert read.json()["status"] == "active"
            assert forging.get("/openapi.json").content == plain.get("/openapi.json").content
            _over_socket(running)
            entries = plain.get("/v1/tenants/aki/audit").json()["items"]
        running.stop()
    assert [entry["ip_address"] for entry in entries] == ["127.0.0.1", None]
    text = running.log.read_text()
    assert "6.6.6.6" not in text
    assert "evil" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["client"] for line in lines if "client" in line} == {"127.0.0.1", "unix"}
    [line] = [line for line in lines if line.get("request_id") == "forged"]
    assert (line["method"], line["route"]) == ("GET", "/v1/tenants/{tenant}")


def _over_socket(running: Process) -> None:
    transport = httpx.HTTPTransport(uds=str(running.socket))
    with httpx.Client(transport=transport, base_url="http://akidb", headers=FORGED) as over_socket:
        assert over_socket.patch("/v1/tenants/aki", json={"name": "Other"}).status_code == 200


@pytest.mark.parametrize("address", ["6.6.6.6", "127.0.0.1", "::1", "unknown", '"', "6.6.6.6:80", ""])
def test_forwarded_address_is_not_recorded(http: httpx.Client, tenant: str, address: str) -> None:
    sent = [(name, address) for name in ("X-Forwarded-For", "X-Real-IP") for _ in "12"]
    assert http.patch(tenant, json={"name": "Other"}, headers=sent).status_code == 200
    assert http.get(f"{tenant}/audit").json()["items"][-1]["ip_address"] == "127.0.0.1"


def test_environment_of_frameworks_exposes_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LITESTAR_DEBUG", "LITESTAR_PDB"):
        monkeypatch.setenv(name, "1")

    def broken(_: object) -> None:
        raise ValueError("secret text")

    with threaded(tmp_path / "data") as running, client(running.url) as http:
        carry_out(monkeypatch, running, {GetTenant: broken})
        found = problem(http.get("/v1/tenants/aki"), 500, "internal")
        assert "secret" not in str(found)
        assert running.app._router.debug is False
        assert running.app._router.pdb_on_exception is False
