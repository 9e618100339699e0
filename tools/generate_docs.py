"""Writes the tables of `docs/http.md`, `docs/cli.md`, `docs/states.md` and `docs/limits.md` from the code.

Each table is between two marks; the text around them is written manually. `--check` writes nothing and fails
if a table is stale.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import limits_table
import msgspec
import typer

from akidb.api.operations import BY_HAND
from akidb.cli.tree import app
from akidb.domain.lifecycle import ENTITY_OF, MOVES, PERMITTED, Access
from akidb.operations import OPERATIONS, Operation, Work

NAME = "tools/generate_docs.py"
ROOT = Path(__file__).parents[1]
BEGIN, END = f"<!-- written by {NAME} -->", "<!-- end -->"
EVERYWHERE = frozenset({"url", "data", "json", "wait", "help"})


def routes() -> Iterator[str]:
    """Yield a row for each operation of the HTTP API."""
    yield "| operation | route | fields | does |"
    yield "| --- | --- | --- | --- |"
    for row in OPERATIONS.values():
        if not row.local:
            yield f"| `{row.name}` | `{row.method} {row.path}` | {_fields(row)} | {_does(row)} |"


def _does(row: Operation) -> str:
    if not row.body_path:
        return row.summary
    last = row.body_path.removeprefix(row.path)
    return f"{row.summary} Also `POST ...{last}`, with the fields as a body, for a filter too long for a URL."


def _fields(row: Operation) -> str:
    if row.feature in BY_HAND:
        return "OpenAI's"
    required = {field.name for field in msgspec.structs.fields(row.request) if field.required}
    return ", ".join(f"**`{name}`**" if name in required else f"`{name}`" for name in row.said) or "-"


def commands() -> Iterator[str]:
    """Yield a row for each command."""
    yield "| command | options | does |"
    yield "| --- | --- | --- |"
    for words, command in _walk(typer.main.get_command(app), ("akidb",)):
        arguments = [_argument(each) for each in command.params if each.param_type_name == "argument"]
        options = [
            f"`{each.opts[0]}`"
            for each in command.params
            if each.param_type_name == "option" and each.name not in EVERYWHERE
        ]
        summary = (command.help or "").partition("\n\n")[0].replace("\n", " ")
        yield f"| `{' '.join([*words, *arguments])}` | {', '.join(options) or '-'} | {summary} |"


def _argument(parameter: Any) -> str:
    shown = parameter.metavar or parameter.name.upper()
    return shown if parameter.required else f"[{shown}]"


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, each in inner.items():
        yield from _walk(each, (*words, name))


def works() -> Iterator[str]:
    """Yield a row for each kind of work."""
    yield "| work | operations |"
    yield "| --- | --- |"
    for work in Work:
        names = []
        for row in OPERATIONS.values():
            if row.local:
                continue
            with_ = [_amount(name, most) for name, (most, kind) in row.more_with.items() if kind is work]
            if row.work is work:
                names.append(f"`{row.name}`")
            elif with_:
                names.append(f"`{row.name}` with {' or '.join(with_)}")
        yield f"| {work} | {', '.join(names)} |"


def _amount(name: str, most: int) -> str:
    return (
        f"more than {most} `{name}`"
        if most and name != "limit"
        else f"`{name}`{f' over {most}' if most else ''}"
    )


def accesses() -> Iterator[str]:
    """Yield a row for each kind of access, and one for the operations that no state forbids."""
    yield "| access | operations |"
    yield "| --- | --- |"
    for access in (*Access, None):
        names = [f"`{row.name}`" for row in OPERATIONS.values() if row.needs is access]
        yield f"| {access or '-'} | {', '.join(names)} |"


def states() -> Iterator[str]:
    """Yield a row for each state of each entity."""
    yield "| entity | state | may become | permits |"
    yield "| --- | --- | --- | --- |"
    for kind, by_state in MOVES.items():
        for state, moves in by_state.items():
            permitted = ", ".join(sorted(PERMITTED[kind][state])) or "-"
            yield f"| {ENTITY_OF[kind]} | {state} | {', '.join(moves) or '-'} | {permitted} |"


Table = Callable[[], Iterator[str]]
TABLES: dict[str, tuple[Table, ...]] = {
    "docs/http.md": (routes, works),
    "docs/cli.md": (commands,),
    "docs/states.md": (states, accesses),
    "docs/limits.md": (limits_table.table,),
}
"""The tables of each page, in order."""


def written(path: Path, tables: Sequence[Table]) -> str:
    """Return the text of a page with up-to-date tables."""
    before, *rest = path.read_text().split(BEGIN)
    assert len(rest) == len(tables), f"{path} must have {len(tables)} marks {BEGIN}, not {len(rest)}"
    for table, part in zip(tables, rest, strict=True):
        _, end, after = part.partition(END)
        assert end, f"{path} has no mark {END}"
        before += "\n".join([BEGIN, *table(), f"{END}{after}"])
    return before


def main() -> int:
    stale = []
    for name, tables in TABLES.items():
        path = ROOT / name
        text = written(path, tables)
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif path.read_text() != text:
            stale.append(name)
    for name in stale:
        print(f"{name} is stale: run {NAME}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
