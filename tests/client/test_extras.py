"""What runs without the extras, and the one error for what does not; the extras that are declared."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from akidb.domain.extras import EXTRAS, OF_CLIENT, missing_extra

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CLIENT: dict[str, Any] = tomllib.loads((ROOT / "client/pyproject.toml").read_text())["project"]
OWN = re.compile(r"akidb\[(.*)\]")
IMPORT_NAMES = {
    "argon2-cffi": "argon2",
    "faiss-cpu": "faiss",
    "prometheus-client": "prometheus_client",
    "google-re2": "re2",
}
WITHOUT = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
"""
COMMAND = "import runpy\nsys.argv = ['akidb', *{words!r}]\nrunpy.run_module('akidb', run_name='__main__')\n"
CONNECT = """
import akidb
try:
    akidb.connect({target!r})
except akidb.Unavailable as error:
    print(error)
"""
BESIDES_CLIENT = tuple(module for module, extra in EXTRAS.items() if extra != "cli")


def declared(extra: str) -> set[str]:
    """The requirements of an extra, with those of the extras that it contains."""
    found: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][extra]:
        own = OWN.fullmatch(requirement)
        found |= {requirement} if own is None else set().union(*map(declared, own[1].split(",")))
    return found


def module_of(requirement: str) -> str:
    name = re.split(r"[\[<>=;]", requirement)[0].strip()
    return IMPORT_NAMES.get(name, "opentelemetry" if name.startswith("opentelemetry") else name)


def without(blocked: tuple[str, ...], program: str) -> subprocess.CompletedProcess[str]:
    """Run a program where these modules are not installed."""
    script = WITHOUT.format(blocked=blocked) + program
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def command(blocked: tuple[str, ...], *words: str | Path) -> subprocess.CompletedProcess[str]:
    return without(blocked, COMMAND.format(words=[str(word) for word in words]))


@contextmanager
def only_the_client(folder: Path) -> Iterator[None]:
    """Let the programs that are run find the distribution `akidb-client`."""
    about = folder / "akidb_client-2.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: akidb-client\nVersion: 2.0\n")
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("PYTHONPATH", str(folder))
        yield


def refusal(extra: str, module: str, *, distribution: str = "akidb") -> str:
    what = f"(no module {module!r}): pip install '{distribution}[{extra}]'"
    return f"the extra {extra!r} is not installed {what}\n"


def test_plain_install_has_the_command_line_the_store_and_the_server_and_no_postgresql() -> None:
    plain = set(PROJECT["dependencies"])
    commands = set(CLIENT["optional-dependencies"]["cli"])
    assert plain == set(CLIENT["dependencies"]) | commands | declared("embedded") | declared("server")
    assert not {requirement for requirement in plain if "psycopg" in requirement}
    assert declared("all") == set().union(*map(declared, ("arrow", "server", "postgres", "tracing")))
    assert {name: CLIENT["optional-dependencies"][name] for name in OF_CLIENT - {"cli"}} == {
        name: PROJECT["optional-dependencies"][name] for name in OF_CLIENT - {"cli"}
    }
    assert declared("all") <= declared("dev")


@pytest.mark.parametrize("extra", ["arrow", "embedded", "server", "postgres", "tracing"])
def test_every_module_of_an_extra_is_known_by_it(extra: str) -> None:
    inner = {r for other in ("embedded",) if extra == "server" for r in declared(other)}
    modules = {module_of(requirement) for requirement in declared(extra) - inner}
    # Without pysqlite3 the interpreter's SQLite serves.
    assert modules - {"pysqlite3"} == {module for module, of in EXTRAS.items() if of == extra}


def test_other_failed_imports_are_not_blamed_on_extras() -> None:
    assert missing_extra(ModuleNotFoundError("no", name="akidb.nothing")) is None
    assert missing_extra(ModuleNotFoundError("no", name="numpy")) is None
    assert missing_extra(ImportError("broken", name="sqlalchemy")) is None
    assert missing_extra(ModuleNotFoundError("no")) is None


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "akidb", "--data", str(directory), "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield re.findall(r"http://\S+", process.stderr.readline())[0]
        finally:
            process.terminate()


@pytest.mark.slow
def test_client_and_its_commands_need_no_extra(tmp_path: Path) -> None:
    program = """
import akidb, asyncio
with akidb.connect({url!r}) as db:
    notes = db.tenants.create("A").databases.create("kb").collections.create("n", embedding_model="hash")
    notes.upsert([{{"id": "x", "text": "hello", "metadata": {{"n": 1}}}}])
    assert notes.search("hello", filter={{"n": 1}}, include=["vector"])[0].id == "x"
    db.backup({backup!r})
async def ask():
    async with akidb.aio.connect({url!r}) as db:
        return (await db.tenants.get("a")).name
print(asyncio.run(ask()))
"""
    with serving(tmp_path / "data") as url:
        done = without(tuple(EXTRAS), program.format(url=url, backup=str(tmp_path / "backup")))
        assert (done.stdout, done.stderr) == ("A\n", "")
        listed = command(BESIDES_CLIENT, "--url", url, "--json", "tenant", "list")
        assert (listed.returncode, listed.stderr) == (0, "")
        assert '"slug":"a"' in listed.stdout
        assert command(BESIDES_CLIENT, "--url", url, "ready").returncode == 0
        assert command(BESIDES_CLIENT, "settings").returncode == 0
        assert command(BESIDES_CLIENT, "--version").stdout.startswith("akidb ")


@pytest.mark.slow
def test_client_uses_the_socket_of_the_server_of_a_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    program = f"""
import akidb
with akidb.connect({str(data)!r}) as db:
    db.tenants.create("A")
    print(db.tenants.count())
"""
    with serving(data):
        done = without(BESIDES_CLIENT, program)
        assert (done.stdout, done.stderr) == ("1\n", "")
        for words, printed in (
            (("ready",), f"unix://{data}/akidb.sock is ready\n"),
            (("tenant", "count"), "1\n"),
        ):
            done = command(BESIDES_CLIENT, "--data", data, *words)
            assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
    with only_the_client(tmp_path / "site"):
        done = command(BESIDES_CLIENT, "--data", data, "tenant", "count")
        assert (done.returncode, done.stdout) == (1, "")
        assert "akidb-client only connects to servers; replace it: pip uninstall akidb-client" in done.stderr
        done = command(BESIDES_CLIENT, "--data", data, "ready")
        assert done.stderr == f"error: unavailable: no server has {data} open\n"


@pytest.mark.parametrize(
    ("target", "extra", "module"),
    [
        ("data", "embedded", "sqlalchemy"),
        (":memory:", "embedded", "sqlalchemy"),
        ("postgresql://nobody@127.0.0.1:1/none", "postgres", "psycopg"),
    ],
)
def test_connect_names_the_missing_extra(target: str, extra: str, module: str, tmp_path: Path) -> None:
    target = str(tmp_path / target) if target == "data" else target
    blocked = tuple(name for name, of in EXTRAS.items() if of == extra)
    assert without(blocked, CONNECT.format(target=target)).stdout == refusal(extra, module)
    assert list(tmp_path.iterdir()) == []


def test_store_works_without_the_server_and_postgresql(tmp_path: Path) -> None:
    others = tuple(module for module, extra in EXTRAS.items() if extra != "embedded")
    program = f"""
import akidb
with akidb.connect({str(tmp_path / "data")!r}) as db:
    db.tenants.create("A").users.create("a@b.example", password="long enough for this")
    print(bool(db.doctor()), len(list(akidb.metrics().collect())) > 10)
"""
    done = without(others, program)
    assert (done.stdout, done.stderr) == ("True True\n", "")


@pytest.mark.parametrize(
    ("words", "extra", "module"),
    [
        (("--data", "{place}", "serve"), "server", "uvicorn"),
        (("--data", "{place}", "tenant", "create", "A"), "embedded", "sqlalchemy"),
        (("--data", "{place}", "doctor"), "embedded", "sqlalchemy"),
        (("--data", "{place}", "demo"), "embedded", "sqlalchemy"),
        (("--data", "{place}", "restore", "{place}"), "embedded", "sqlalchemy"),
        (("--data", "{place}", "migrate", "schema", "--to", "head"), "embedded", "sqlalchemy"),
        (("--url", "postgresql://x@127.0.0.1:1/x", "tenant", "list"), "postgres", "psycopg"),
        (("--url", "postgresql://x@127.0.0.1:1/x", "serve", "--port", "0"), "postgres", "psycopg"),
    ],
    ids=lambda value: value[2] if isinstance(value, tuple) else None,
)
def test_command_names_the_missing_extra(
    words: tuple[str, ...], extra: str, module: str, tmp_path: Path
) -> None:
    blocked = tuple(name for name, of in EXTRAS.items() if of == extra)
    done = command(blocked, *(word.format(place=tmp_path / "d") for word in words))
    assert (done.returncode, done.stderr) == (1, f"error: unavailable: {refusal(extra, module)}")


@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers"])
def test_model_names_the_missing_extra(module: str) -> None:
    embed = CONNECT.replace("connect({target!r})", "connect(':memory:').embed('text')")
    assert without((module,), embed).stdout == refusal("embedded", module)


def test_regular_expression_names_the_missing_extra() -> None:
    program = """
import akidb
with akidb.connect(":memory:") as db:
    notes = db.tenants.create("A").databases.create("d").collections.create("c", dimension=16)
    notes.upsert([{"id": "a", "vector": [1.0] * 16, "metadata": {"t": "x"}}])
    try:
        notes.count(filter={"t": {"$regex": "x"}})
    except akidb.Unavailable as error:
        print(error)
"""
    done = without(("re2",), program)
    assert (done.stdout, done.stderr) == (refusal("embedded", "re2"), "")


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_program_without_its_commands_names_the_extra(module: str) -> None:
    done = command((module,), "model", "list")
    assert done.stderr == f"error: unavailable: {refusal('cli', module, distribution='akidb-client')}"
    assert done.returncode == 1
