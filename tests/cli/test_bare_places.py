"""Commands where something usual is missing: a home directory, a temporary one, room for messages."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

AKIDB = [sys.executable, "-m", "akidb"]
NO_USER_ENTRY = """
import pwd, runpy, sys
def unknown(*_): raise KeyError("no such user")
pwd.getpwuid = unknown  # a user without an entry, as in a container with an arbitrary user ID
sys.argv = ["akidb", *sys.argv[1:]]
runpy.run_module("akidb", run_name="__main__")
"""
NO_TEMPORARY = """
import runpy, sys, tempfile
def none(*_): raise FileNotFoundError("No usable temporary directory found")
tempfile._get_default_tempdir = none  # as where only the data directory can be written
sys.argv = ["akidb", *sys.argv[1:]]
runpy.run_module("akidb", run_name="__main__")
"""


Done = subprocess.CompletedProcess[str]


def run(*words: str, code: str | None = None, given: str = "", **environment: str) -> Done:
    start = AKIDB if code is None else [sys.executable, "-c", code]
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ} | environment
    return subprocess.run(
        [*start, *words], env=kept, input=given, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_nothing_but_models_needs_a_home_directory() -> None:
    def without_home(*words: str) -> Done:
        return run("--data", "d", *words, code=NO_USER_ENTRY)

    assert without_home("tenant", "create", "A").returncode == 0
    assert without_home("database", "create", "a", "k").returncode == 0
    assert without_home("collection", "create", "a/k", "c", "--embedding-model", "hash").returncode == 0
    assert without_home("search", "a/k/c", "text").returncode == 0
    assert without_home("model", "list").returncode == 0
    assert without_home("doctor").returncode == 0
    pulled = without_home("model", "pull", "all-minilm-l6-v2")
    assert "set models_dir" in pulled.stderr
    refused = run("--data", "~/d", "tenant", "list", code=NO_USER_ENTRY)
    assert refused.stderr.startswith("error: invalid_argument: data: ~/d:")


def test_tilde_is_the_home_directory(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    Path("akidb.toml").write_text('[akidb]\nurl = "~/from-file"\nmodels_dir = "~/models"\n')
    assert run("tenant", "create", "A", HOME=str(home)).returncode == 0
    assert run("tenant", "create", "A", HOME=str(home), AKIDB_URL="~/from-environment").returncode == 0
    assert run("--data=~/given", "tenant", "create", "A", HOME=str(home)).returncode == 0
    assert run("--url", "sqlite:////nowhere", "model", "list", HOME=str(home)).returncode == 0
    assert sorted(path.name for path in home.iterdir()) == ["from-environment", "from-file", "given"]
    assert not Path("~").exists()


@pytest.mark.slow
def test_import_works_without_a_temporary_directory() -> None:
    for words in (("tenant", "create", "A"), ("database", "create", "a", "k")):
        assert run("--data", "d", *words).returncode == 0
    assert run("--data", "d", "collection", "create", "a/k", "c", "--embedding-model", "hash").returncode == 0
    line = '{"id": "a", "text": "hello"}\n'
    done = run("--data", "d", "document", "import", "a/k/c", "-", code=NO_TEMPORARY, given=line)
    assert (done.returncode, done.stderr) == (0, "")
    assert run("--data", "d", "document", "count", "a/k/c").stdout == "1\n"


def test_server_starts_with_its_messages_on_a_full_disk() -> None:
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(
            [*AKIDB, "--data", "d", "--json", "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        assert '"url"' in server.stdout.readline()
        assert run("--data", "d", "tenant", "create", "A").returncode == 0
        server.terminate()
        assert server.wait(30) == 0


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        (":memory:", "akidb.connect"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost:8080", "http://localhost:8080"),
        ("db.example.org:80", "http://db.example.org:80"),
        ("[::1]:8080", r"http://\[::1]:8080"),
        ("127.0.0.1:8080/", "http://127.0.0.1:8080/"),
        ("my_host:80", "http://my_host:80"),
        (":8080", "http://localhost:8080"),
        (":MEMORY:", "lower case"),
        (":memory", "./:memory"),
    ],
)
def test_target_that_is_no_directory_is_refused_with_a_hint(tmp_path: Path, target: str, hint: str) -> None:
    for field, environment, words in (
        ("url", {}, ["--url", target]),
        ("url", {"AKIDB_URL": target}, []),
        ("data", {}, ["--data", target]),
    ):
        done = run(*words, "tenant", "create", "A", **environment)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: invalid_argument: {field}: ")
        assert re.search(hint, done.stderr)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "must name a directory"), ("http://localhost:8080", "--url"), ("sqlite:///d", "--url")],
)
def test_data_that_names_no_directory_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    mode = tmp_path.stat().st_mode
    done = run("--data", name, "tenant", "create", "A")
    assert (done.returncode, reason in done.stderr) == (2, True)
    assert done.stderr.startswith("error: invalid_argument: data: ")
    assert list(Path().iterdir()) == []
    assert Path().stat().st_mode == tmp_path.stat().st_mode == mode


def test_directory_of_such_a_name_can_be_given() -> None:
    assert run("--data", "./localhost:80", "tenant", "create", "A").returncode == 0
    assert run("--url", "./localhost:80", "tenant", "list").stdout.count("\n") == 2


def test_settings_file_may_begin_with_a_byte_order_mark() -> None:
    Path("akidb.toml").write_bytes(b'\xef\xbb\xbf[akidb]\nurl = "d"\n')
    assert run("tenant", "create", "A").returncode == 0
    assert Path("d").is_dir()


@pytest.mark.slow
def test_directory_need_not_be_utf_8(tmp_path: Path) -> None:
    place = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    assert run("--data", place, "tenant", "create", "A").returncode == 0
    for words in (("backup", f"{place}/b"), ("settings",)):
        done = run("--data", place, "--json", *words)
        assert (done.returncode, r"caf\\udce9" in done.stdout) == (0, True)
    with subprocess.Popen(
        [*AKIDB, "--data", place, "serve", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "AKIDB_LOG_FORMAT": "json"},
    ) as server:
        assert server.stderr is not None
        assert json.loads(server.stderr.readline())["socket"] == f"{place}/akidb.sock"
        listed = run("--data", place, "tenant", "list")
        server.terminate()
    assert (listed.returncode, listed.stderr) == (0, "")


def test_failure_to_serve_is_logged_as_json(tmp_path: Path) -> None:
    done = run("--data", str(tmp_path), "serve", "--host", "192.0.2.1", AKIDB_LOG_FORMAT="json")
    [line] = done.stderr.splitlines()
    logged = json.loads(line)
    assert (done.returncode, logged["level"], logged["code"]) == (2, "error", "invalid_argument")
