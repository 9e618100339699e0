"""The required parts of every table row: each function returns what a row lacks, or None."""

import ast
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import typer
from stage import SAMPLES

from akidb.api.app import ROUTES
from akidb.api.operations import BY_HAND
from akidb.cli.tree import app
from akidb.client.http import remote
from akidb.operations import Operation, Work
from akidb.services.dispatch import Handler

ROOT = Path(__file__).parents[2]

COMMANDS = {
    "backup.create": "backup",
    "collection.changes": "changes",
    "collection.rebuild_index": "collection index",
    "document.search": "search",
    "document.upsert": "document import",
    "embedding.create": "embed",
    "migration.v1_to_v2": "migrate v1-to-v2",
    "migration.v2_to_v1": "migrate v2-to-v1",
    "model.get": "model info",
    "store.check": "doctor",
    "store.maintain": "maintain",
    "tenant.changes": "changes",
    "user.verify_password": "user verify-password",
}
"""The command of an operation that has not the operation's name."""
NO_COMMAND = {
    "document.scan": "`document export` prints all documents, page by page",
    "document.search_batch": "`search` asks one question",
}
"""Operations without a command, and why."""
OPTIONS = {
    "documents": "file",
    "include": "vectors",
    "memory_quota_bytes": "memory_quota",
    "password": "password_stdin",
    "qps_quota": "qps",
    "state": "provisioning",
    "status": "provisioning",
    "storage_quota_bytes": "storage_quota",
    "texts": "text",
    "wait_seconds": "follow",
}
"""The option or argument of a field where it has another name."""


def handler_fault(row: Operation, handlers: dict[type[Any], Handler]) -> str | None:
    """A handler that takes the request and gives its answer."""
    handler = handlers.get(row.request)
    if handler is None:
        return "no handler"
    hints = get_type_hints(inspect.unwrap(handler.call))
    given = hints.get("return")
    if row.waits:  # a reader of what is answered
        (given,), (wanted,) = get_args(given), get_args(row.answer)
    else:
        wanted = row.answer
    if hints.get("asked") is not row.request or given not in {wanted, _plain(wanted)}:
        return f"its handler takes {hints.get('asked')} as `asked` and returns {given}"
    return None


def _plain(kind: Any) -> Any:
    return get_origin(kind) or kind


def route_fault(row: Operation) -> str | None:
    """A route with the operation's name, unless it is local."""
    routes = {route.operation_id: route for route in ROUTES}
    if row.local:
        return "a route, though it is local" if row.name in routes else None
    route = routes.get(row.name)
    if route is None:
        return "no route"
    if row.body_path and ("POST", row.body_path) not in {(each.method, each.path) for each in ROUTES}:
        return "no route for its body"
    return None if (route.method, route.path) == (row.method, row.path) else "a route elsewhere"


def client_fault(row: Operation) -> str | None:
    """A way over HTTP: by the table, or by hand where the route is."""
    if row.feature in BY_HAND and row.request not in remote._BY_HAND:
        return "no way over HTTP"
    return None


@cache
def _handled() -> dict[str, set[str]]:
    """By request that a method of a handle makes: the fields that it can say."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src/akidb/client/handles").glob("*.py")):
        tree = ast.parse(path.read_text())
        options = {name for node in tree.body if isinstance(node, ast.ClassDef) for name in _options(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                said = {keyword.arg for keyword in node.keywords if keyword.arg}
                said |= options if any(keyword.arg is None for keyword in node.keywords) else set()
                found.setdefault(name, set()).update(said)
    return found


def _options(node: ast.ClassDef) -> Iterator[str]:
    """The members of a dictionary of options."""
    if any(getattr(base, "id", "") == "TypedDict" for base in node.bases):
        for each in node.body:
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                yield each.target.id


def handle_fault(row: Operation) -> str | None:
    """A method of a handle, with every field."""
    said = _handled().get(row.request.__name__)
    if said is None:
        return "no method of a handle"
    unsaid = [name for name in row.said if name not in said]
    return f"no method of a handle says {', '.join(unsaid)}" if unsaid else None


@cache
def _commands() -> dict[str, set[str]]:
    """By command: the names of what it takes."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, set[str]]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(words), {each.name for each in command.params}
        else:
            for name, each in inner.items():
                yield from walk(each, (*words, name))

    return dict(walk(typer.main.get_command(app), ()))


def command_of(row: Operation) -> str:
    return COMMANDS.get(row.name, f"{row.feature} {row.verb}")


def command_fault(row: Operation) -> str | None:
    """A command with an option for every field, or a reason for none."""
    taken = _commands().get(command_of(row))
    if row.name in NO_COMMAND:
        return "a command and a reason for none" if taken is not None else None
    if taken is None:
        return "no command, and no reason for none"
    missing = [name for name in row.said if not taken & {name, OPTIONS.get(name, name)}]
    return f"its command has no option for {', '.join(missing)}" if missing else None


def docs_fault(row: Operation) -> str | None:
    """A line in the page of routes, and one in the page of commands."""
    missing = []
    if not row.local and f"| `{row.name}` | `{row.method} {row.path}` |" not in _page("http"):
        missing.append("docs/http.md")
    if row.name not in NO_COMMAND and f"| `akidb {command_of(row)}" not in _page("cli"):
        missing.append("docs/cli.md")
    if f"`{row.name}`" not in _page("states"):
        missing.append("docs/states.md")
    if not row.local and not all(_is_in_work(row, work) for work in works_of(row)):
        missing.append("the work in docs/http.md")
    return f"not in {', '.join(missing)}" if missing else None


def works_of(row: Operation) -> set[Work]:
    """The kinds of work that a request may be."""
    return {row.work, *(work for _, work in row.more_with.values())}


def _is_in_work(row: Operation, work: Work) -> bool:
    (line,) = [line for line in _page("http").splitlines() if line.startswith(f"| {work} | `")]
    return f"`{row.name}`" in line


@cache
def _page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def rules_fault(row: Operation) -> str | None:
    """Rules of every field, and a description."""
    bare = [name for name in row.request.__struct_fields__ if name not in row.fields]
    if bare:
        return f"fields without rules: {', '.join(bare)}"
    return None if row.request.__doc__ and row.summary.endswith(".") else "no description"


def sample_fault(row: Operation) -> str | None:
    """A sample, without which nothing below tries the operation."""
    return None if row.request in SAMPLES else "no sample in tests/table/stage.py"


PARTS: dict[str, Callable[[Operation], str | None]] = {
    "route": route_fault,
    "client": client_fault,
    "handle": handle_fault,
    "command": command_fault,
    "docs": docs_fault,
    "rules": rules_fault,
    "sample": sample_fault,
}
