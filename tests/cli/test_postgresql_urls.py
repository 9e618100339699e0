"""`akidb --url postgresql://...`: all kinds of commands work, and URL errors are one line."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from akidb.cli.session import Session, Shared
from postgres import Server

from .conftest import Result, Run

SECRET = "s3cret-w0rd"


@pytest.fixture
def on(akidb: Run, postgres_url: str) -> Run:
    """Run a command on the database."""
    return lambda *arguments: akidb("--url", postgres_url, *arguments)


def database_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def test_all_kinds_of_commands_work(on: Run, tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    rows = [
        {"id": f"{number:02}", "text": f"note {number}", "metadata": {"n": number}} for number in range(20)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert on("tenant", "create", "Aki Labs", "--json").json["slug"] == "aki-labs"
    assert on("database", "create", "aki-labs", "kb").status == 0
    assert on("collection", "create", "aki-labs/kb", "notes", "--embedding-model", "hash").status == 0
    assert on("document", "import", "aki-labs/kb/notes", file).status == 0
    assert on("document", "count", "aki-labs/kb/notes", "--json").json == {"count": 20}
    found = on("search", "aki-labs/kb/notes", "note 7", "--top-k", "1", "--json").json["matches"]
    assert [each["id"] for each in found] == ["07"]
    exported = on("document", "export", "aki-labs/kb/notes").out.splitlines()
    assert [json.loads(line)["id"] for line in exported] == [row["id"] for row in rows]
    assert on("document", "delete", "aki-labs/kb/notes", "03").status == 0
    assert on("tenant", "usage", "aki-labs", "--json").json["documents"] == 19
    assert on("tenant", "suspend", "aki-labs", "--json").json["status"] == "suspended"
    assert on("document", "import", "aki-labs/kb/notes", file).status == 4
    assert on("tenant", "activate", "aki-labs").status == 0
    assert on("tenant", "list", "--json").json["items"][0]["slug"] == "aki-labs"
    assert len(on("audit", "list", "aki-labs", "--json").json["items"]) == 5
    assert on("doctor").status == 0
    assert on("collection", "delete", "aki-labs/kb/notes").status == 0
    assert on("tenant", "delete", "aki-labs").status == 0
    assert on("tenant", "purge", "aki-labs", "--yes").status == 0
    assert on("tenant", "get", "aki-labs").status == 3
    assert on("doctor").status == 0


@contextmanager
def serving(url: str) -> Iterator[str]:
    command = [sys.executable, "-m", "akidb", "--url", url, "serve", "--no-auth", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found[0]
                    break
        finally:
            process.terminate()
            process.stderr.read()
    assert process.returncode == 0


@pytest.mark.slow
def test_two_servers_serve_one_database(on: Run, akidb: Run, postgres_url: str) -> None:
    with serving(postgres_url) as one, serving(postgres_url) as other:
        assert akidb("--url", one, "tenant", "create", "Aki Labs").status == 0
        with urllib.request.urlopen(f"{other}/v1/tenants/aki-labs") as answer:
            assert json.load(answer)["name"] == "Aki Labs"
        assert on("tenant", "suspend", "aki-labs").status == 0
        assert akidb("--url", other, "tenant", "get", "aki-labs", "--json").json["status"] == "suspended"


def test_server_answers_after_its_connections_were_ended(
    on: Run, postgres_server: Server, postgres_url: str
) -> None:
    """More often than its pools have places."""
    assert on("tenant", "create", "Aki Labs").status == 0
    routes = ("/health/ready", "/metrics", "/v1/maintenance", "/v1/backup", "/v1/tenants", "/v1/doctor")
    with serving(postgres_url) as server:
        for _ in range(3):
            for route in routes:
                postgres_server.end_sessions(postgres_url)
                json = {"Content-Type": "application/json"}
                method = "POST" if "maint" in route else "GET"
                request = urllib.request.Request(server + route, headers=json, method=method)
                try:
                    with urllib.request.urlopen(request) as answer:
                        answer.read()
                except urllib.error.HTTPError as error:
                    pytest.fail(f"{route}: {error.read().decode()}")


def test_password_authenticates_to_database(
    akidb: Run, postgres_server: Server, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_server.as_user(empty_postgres_url, "SUPERUSER", password=SECRET)
    made = akidb("--url", url, "tenant", "create", "Aki Labs")
    assert made.status == 0
    assert SECRET not in made.out + made.err
    monkeypatch.setenv("PGPASSWORD", SECRET)
    assert akidb("--url", url.replace(f":{SECRET}", ""), "tenant", "get", "aki-labs").status == 0
    shown = akidb("--url", url, "migrate", "schema", "--dry-run")
    assert SECRET not in shown.out + shown.err


def test_documented_setup_works(akidb: Run, postgres_server: Server) -> None:
    page = Path(__file__).parents[2] / "docs" / "postgresql.md"
    [block] = re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL)
    for statement in block.replace("change-me", SECRET).strip().split(";\n"):
        postgres_server.run(statement)
    postgres_server.run("GRANT with_password TO akidb")
    url = postgres_server.base.replace("//postgres:@", f"//akidb:{SECRET}@").replace("/postgres?", "/akidb?")
    try:
        assert akidb("--url", url, "tenant", "create", "Aki Labs").status == 0
        assert akidb("--url", url, "doctor").status == 0
    finally:
        postgres_server.drop(postgres_server.base.replace("/postgres?", "/akidb?"))
        postgres_server.run("DROP ROLE akidb")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@db.example.com/akidb",
        f"postgresql://u@db.example.com/akidb?sslmode=require&password={SECRET}",
        f"postgresql://u@db.example.com/akidb?sslpassword={SECRET}&sslmode=require",
    ],
)
def test_displayed_url_has_no_password(url: str) -> None:
    session = Session(Shared(url=url), makes_store=True)
    for shown in (session.program, session.shown_place):
        assert SECRET not in shown
        assert "***" in shown
        assert "db.example.com/akidb" in shown


def refused(result: Result, status: int, pattern: str) -> None:
    """The error is one line without the password."""
    assert result.status == status
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert re.search(pattern, result.err), result.err
    assert SECRET not in result.err


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        (f"postgresql://u:{SECRET}@[::1/db", r"invalid_argument: url: .*IPv6"),
        (f"postgresql://u:{SECRET}%zz@host/db", r"invalid_argument: url: .*percent-encoded"),
        (f"postgresql://u:{SECRET}%00@host/db", r"invalid_argument: url: .*percent-encoded"),
        (f"postgresql://u:{SECRET}@host/db?colour={SECRET}", r"invalid_argument: url: .*query parameter"),
        (f"postgresql://u:{SECRET}@host/db?sslmode", r"invalid_argument: url: .*separator"),
        (f"postgresql://u:{SECRET}@host:port/db", r"(invalid_argument|unavailable): .*port"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/db?sslmode=maybe", r"unavailable: .*sslmode"),
        (f"postgresql:u:{SECRET}@host/db", r"invalid_argument: url: must be postgresql://"),
    ],
)
@pytest.mark.parametrize("command", [("tenant", "list"), ("doctor",), ("serve", "--no-auth", "--port", "0")])
def test_malformed_url_is_rejected(akidb: Run, url: str, pattern: str, command: tuple[str, ...]) -> None:
    result = akidb("--url", url, *command)
    refused(result, 2 if "invalid_argument" in result.err else 1, pattern)


def test_wrong_password_is_rejected(akidb: Run, postgres_server: Server, empty_postgres_url: str) -> None:
    url = postgres_server.as_user(empty_postgres_url, "", password="right")
    wrong = akidb("--url", url.replace(":right@", f":{SECRET}@"), "tenant", "list")
    refused(wrong, 1, "unavailable: PostgreSQL database .*password authentication failed")
    absent = akidb("--url", url.replace(":right@", "@"), "tenant", "list")
    refused(absent, 1, "unavailable: PostgreSQL database .*no password supplied")
    problem = akidb("--url", url.replace(":right@", f":{SECRET}@"), "tenant", "list", "--json").problem
    assert problem["code"] == "unavailable"
    assert SECRET not in json.dumps(problem)


def test_unknown_host_is_rejected(akidb: Run) -> None:
    refused(
        akidb("--url", f"postgresql://u:{SECRET}@nowhere.invalid/db", "tenant", "list"),
        1,
        "unavailable: PostgreSQL database db: .*nowhere.invalid",
    )


def test_closed_port_is_rejected(akidb: Run) -> None:
    refused(
        akidb("--url", f"postgresql://u:{SECRET}@127.0.0.1:1/db", "tenant", "list"),
        1,
        "unavailable: PostgreSQL database db: .*Connection refused",
    )


def test_unknown_database_is_rejected(akidb: Run, postgres_url: str) -> None:
    url = postgres_url.replace(database_of(postgres_url), "nowhere")
    refused(akidb("--url", url, "tenant", "list"), 1, 'unavailable: .*database "nowhere" does not exist')


def test_database_with_other_encoding_than_utf_8_is_rejected(akidb: Run, postgres_server: Server) -> None:
    name = "test_latin"
    postgres_server.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    url = postgres_server.base.replace("/postgres?", f"/{name}?")
    try:
        refused(
            akidb("--url", url, "tenant", "list"), 1, "its encoding is LATIN1; create it with ENCODING 'UTF8'"
        )
    finally:
        postgres_server.drop(url)


def test_user_without_create_privilege_is_rejected(
    akidb: Run, postgres_server: Server, empty_postgres_url: str
) -> None:
    url = postgres_server.as_user(empty_postgres_url, "")
    name = database_of(url)
    refused(akidb("--url", url, "tenant", "list"), 1, f"permission denied for database {name}")
    refused(
        akidb("--url", url, "serve", "--no-auth", "--port", "0"), 1, f"permission denied for database {name}"
    )
    postgres_server.run(f"GRANT CREATE ON DATABASE {name} TO {url.partition('//')[2].partition(':')[0]}")
    assert akidb("--url", url, "tenant", "create", "Aki Labs").status == 0
