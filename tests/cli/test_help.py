"""The command tree: every command has help and is documented; help imports no heavy modules."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from akidb.cli.tree import app

from .conftest import Run

ROOT = Path(__file__).parents[2]
HEAVY = {
    "alembic", "faiss", "httpx", "litestar", "numpy", "onnx", "onnxruntime", "pip", "prometheus_client",
    "rich", "sqlalchemy", "tokenizers", "uvicorn",
}  # fmt: skip


def _paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from _paths(child, (*path, name))


PATHS = sorted(_paths(get_command(app)))
GROUPS = {path[:-1] for path in PATHS if path}


@pytest.mark.parametrize("path", [path for path in PATHS if path != ("bench",)], ids=" ".join)
def test_every_command_has_help(akidb: Run, path: tuple[str, ...]) -> None:
    result = akidb(*path, "--help")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(f"Usage: {' '.join(('akidb', *path))} ")
    if path not in GROUPS:
        assert {"--url", "--data", "--json"} <= set(result.out.split())


@pytest.mark.parametrize(
    "path", [(), ("tenant",), ("tenant", "create"), ("serve",), ("document", "get")], ids=str
)
def test_short_option_shows_help(akidb: Run, path: tuple[str, ...]) -> None:
    assert akidb(*path, "-h") == akidb(*path, "--help")


COMMANDS = """
audit list
backup
bench
changes
collection count|create|delete|get|index|list|purge|restore|update
database count|create|delete|get|list|purge|restore|update
demo
doctor
document clear|count|delete|export|facets|get|import|list|update
embed
maintain
migrate schema|v1-to-v2|v2-to-v1
model info|list|pull
ready
restore
search
serve
settings
tenant activate|copy|count|create|delete|export|get|import|list|purge|restore|suspend|update|usage
user activate|count|create|deactivate|delete|get|list|suspend|update|verify-password
"""


def test_commands_match_published_list() -> None:
    published: set[tuple[str, ...]] = {()}
    for line in COMMANDS.split("\n")[1:-1]:
        name, _, verbs = line.partition(" ")
        published |= {(name,), *((name, verb) for verb in verbs.split("|") if verb)}
    assert set(PATHS) == published


def test_documentation_lists_every_command() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    for path in PATHS:
        name = " ".join(("akidb", *path))
        short = f"`{path[-1]} T" if path else ""
        assert name in text or short in text, name


def test_documentation_lists_every_exit_status() -> None:
    from akidb.cli.errors import EXIT_STATUS

    rows = [line for line in (ROOT / "docs" / "cli.md").read_text().splitlines() if line.startswith("| ")]
    for kind, status in EXIT_STATUS.items():
        assert any(row.startswith(f"| {status} |") and f"`{kind.code}`" in row for row in rows), kind


@pytest.mark.parametrize("arguments", [["--help"], ["document", "import", "--help"], ["demo", "--help"]])
def test_help_imports_no_heavy_modules(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom akidb.cli.main import main\nstatus = main(sys.argv[1:])\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\nsys.exit(status)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(ended.stderr.split())


@pytest.mark.parametrize("arguments", [[], ["tenant"], ["migrate"]])
def test_call_without_command_shows_help(akidb: Run, arguments: list[str]) -> None:
    result = akidb(*arguments)
    assert (result.status, result.out) == (2, "")
    assert "Commands:" in result.err
    assert akidb("--json", *arguments).problem["field"] == "command"


def test_version(akidb: Run) -> None:
    from importlib.metadata import version

    assert akidb("--version").out == f"akidb {version('akidb')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["tenat"],
        ["tenant", "gett"],
        ["tenant", "get"],
        ["tenant", "get", "a", "b"],
        ["tenant", "list", "--nope"],
        ["tenant", "list", "--limit", "x"],
        ["tenant", "list", "--status", "x"],
        ["--url", "a", "--data", "b", "tenant", "list"],
        ["--data", "a", "tenant", "list", "--data", "b"],
    ],
    ids=" ".join,
)
def test_usage_error_is_one_line_and_status_2(akidb: Run, arguments: list[str]) -> None:
    result = akidb(*arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("error: invalid_argument: ")
    assert result.err.count("\n") == 1
    assert akidb(*arguments, "--json").problem["code"] == "invalid_argument"


def test_bench_receives_its_own_options(akidb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def bench(arguments: list[str]) -> int:
        seen.append(arguments)
        return 7

    monkeypatch.setattr("akidb.bench.main", bench, raising=False)
    assert akidb("bench", "--help", "--json", "x").status == 7
    assert seen == [["--help", "--json", "x"]]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["tenat", "list"], "unknown command tenat; did you mean tenant?"),
        (["tenants"], "unknown command tenants; did you mean tenant?"),
        (["tenant", "gett"], "unknown command gett; did you mean get?"),
        (["tenant", "ls"], "unknown command ls; did you mean list?"),
        (["collection", "rm", "a/b/c"], "unknown command rm; did you mean delete?"),
        (["document", "search", "a/b/c"], "unknown command search; did you mean `akidb search`?"),
        (["verify-password"], "unknown command verify-password; did you mean `akidb user verify-password`?"),
        (["list"], "unknown command list; `akidb -h` lists the commands"),
        (["user", "xyzzy"], "unknown command xyzzy; `akidb user -h` lists the commands"),
        (["tenant", "list", "--limt", "5"], "unknown option --limt; did you mean --limit?"),
        (["tenant", "list", "--xyzzy"], "unknown option --xyzzy; `akidb tenant list -h` lists the options"),
        (["tenant", "list", "-q"], "unknown option -q; `akidb tenant list -h` lists the options"),
        (["--jsn", "tenant", "list"], "unknown option --jsn; did you mean --json?"),
    ],
    ids=str,
)
def test_unknown_words_have_a_hint(akidb: Run, arguments: list[str], hint: str) -> None:
    result = akidb(*arguments)
    assert (result.status, result.out, result.err) == (2, "", f"error: invalid_argument: arguments: {hint}\n")
