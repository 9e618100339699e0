"""A real browser: what a page on another local port tries has no effect, and what it may do works.

It needs Debian's package `chromium`.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .running import client, process

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGE = """<!doctype html><meta charset=utf-8><body><script>
const server = "SERVER", tenant = server + "/v1/tenants/aki";
const simple = {method: "POST", mode: "no-cors", credentials: "include"};
const json = {"content-type": "application/json"};
const forms = (action) => {
  const frame = document.createElement("iframe"), form = document.createElement("form");
  frame.name = "f" + Math.random(); form.target = frame.name; form.action = action; form.method = "post";
  document.body.append(frame, form);
  return new Promise((done) => { frame.onload = done; form.submit(); });
};
const loads = (kind, name, url) => new Promise((done) => {
  const made = document.createElement(kind);
  made.onload = made.onerror = done; made[name] = url; document.body.append(made);
});
(async () => {
  const tries = [
    () => fetch(tenant + "/suspend", simple),
    () => fetch(tenant + "/suspend", {...simple, body: "{}"}),
    () => fetch(tenant + "/suspend", {...simple, body: new Blob(["{}"], {type: "text/plain"})}),
    () => fetch(tenant + "/suspend", {...simple, body: new URLSearchParams({})}),
    () => fetch(tenant + "/suspend", {method: "POST", headers: json, body: "{}"}),
    () => fetch(tenant, {method: "DELETE"}),
    () => fetch(tenant, {method: "PATCH", body: '{"name":"Owned"}'}),
    () => fetch(server + "/v1/tenants/gone/purge", simple),
    () => fetch(server + "/v1/maintenance", simple),
    () => navigator.sendBeacon(tenant + "/suspend"),
    () => navigator.sendBeacon(tenant + "/suspend", new Blob(["{}"], {type: "text/plain"})),
    () => forms(tenant + "/suspend"),
    () => loads("img", "src", server + "/v1/backup"),
    () => loads("script", "src", server + "/v1/backup"),
    () => loads("iframe", "src", server + "/v1/backup"),
    () => fetch(server + "/v1/backup", {mode: "no-cors"}),
    () => fetch(server + "/v1%2fbackup", {mode: "no-cors"}),
    () => loads("img", "src", "/redirected"),
    () => fetch("/redirected", {...simple, mode: "no-cors"}),
    () => loads("object", "data", server + "/v1/backup"),
    () => loads("video", "src", server + "/v1/backup"),
    () => { const made = document.createElement("link"); made.rel = "stylesheet";
            made.href = server + "/v1/backup"; document.head.append(made);
            return new Promise((done) => { made.onload = made.onerror = done; }); },
    () => { const socket = new WebSocket(server.replace("http", "ws") + "/v1/backup");
            return new Promise((done) => { socket.onclose = done; }); },
    () => { const events = new EventSource(server + "/v1/backup");
            return new Promise((done) => { events.onerror = () => { events.close(); done(); }; }); },
  ];
  for (const each of tries) try { await each(); } catch (error) {}
  await fetch("/done", {method: "POST"});
  location = server + "/docs";
})();
</script>"""


@contextmanager
def _page(server: str) -> Iterator[tuple[str, threading.Event]]:
    """A page on a port of its own, and the event of its end."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/redirected":
                self.redirect("/v1/backup")
                return
            body = PAGE.replace("SERVER", server).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            if self.path == "/redirected":
                self.redirect("/v1/tenants/aki/suspend")
                return
            self.send_response(204)
            self.end_headers()
            done.set()

        def redirect(self, path: str) -> None:
            self.send_response(307)
            self.send_header("Location", server + path)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            del args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as pages:
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{pages.server_address[1]}/", done
        finally:
            pages.shutdown()
            thread.join()


def _command(profile: Path, *arguments: str) -> list[str]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "this test needs Debian's package `chromium`"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    return [found, *options, "--disable-background-networking", f"--user-data-dir={profile}", *arguments]


@contextmanager
def _browser(url: str, profile: Path) -> Iterator[None]:
    command = _command(profile, url)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        try:
            yield
        finally:
            started.terminate()
            started.wait(30)


def _seen(log: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line["message"] == "request"]


@pytest.mark.slow
def test_page_on_another_port_changes_and_downloads_nothing(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running, client(running.url) as http:
        for name in ("Aki", "Gone"):
            assert http.post("/v1/tenants", json={"name": name}).status_code == 201
        assert http.delete("/v1/tenants/gone").status_code == 204
        ours = 3  # requests; a line may be written after the response
        with _page(running.url) as (url, done), _browser(url, tmp_path / "profile"):
            assert done.wait(120)
            assert _wait_for(running.log, "/docs")
        assert http.get("/v1/tenants/aki").json()["version"] == 1
        gone = http.get("/v1/tenants", params={"deleted": "true"}).json()["items"]
        assert [tenant["slug"] for tenant in gone] == ["gone"]
        sent = _seen(running.log)[ours:]
    refused = [line for line in sent if line["status"] in {400, 404, 415}]
    served = {(line["route"], line["status"]) for line in sent if line["status"] < 300}
    assert len(refused) >= 22, sent
    assert served - {("/v1/tenants/{tenant}", 200), ("/v1/tenants", 200)} == {("/docs", 200)}


def _wait_for(log: Path, route: str) -> bool:
    """Wait until a route was served."""
    pause = threading.Event()
    return any(
        any(line["route"] == route and line["status"] == 200 for line in _seen(log)) or pause.wait(0.1)
        for _ in range(600)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/docs", "openapi.json"),
        ("/", "openapi.json"),
        ("/v1/tenants", "next_cursor"),
        ("/v1%2ftenants", "not_found"),
    ],
)
def test_address_bar_opens_routes_as_they_are_spelled(tmp_path: Path, path: str, text: str) -> None:
    with process(tmp_path / "data") as running:
        command = _command(tmp_path / "profile", "--dump-dom", running.url + path)
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert text in shown.stdout
