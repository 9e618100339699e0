"""The output of commands: one JSON value with `--json`, otherwise tables; messages go to standard error.

Stored text is always escaped before it reaches a terminal. JSON is encoded by `akidb.ports.wire`, in the
same format as over HTTP.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from akidb.cli.errors import one_line, printable, problem
from akidb.domain.documents import Page
from akidb.domain.errors import AkiDBError, Unavailable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from akidb.domain.migration import Progress

MAX_CELL_CHARACTERS = 120
_NAMES = frozenset({"id", "slug", "name", "email"})
"""Columns that are never cut, as those of IDs: they are given to other commands."""
PIPE_WIDTH = 2_000  # wide enough that lines are not wrapped in a pipe

Advance = Callable[[int], None]
"""Called with the number of items done since the last call."""


class Output:
    """The output of one command."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def value(self, value: Any) -> None:
        """Print a value as JSON, on one line."""
        from akidb.ports import wire

        write_bytes(wire.encode(value) + b"\n")

    def record(self, value: Any) -> None:
        """Print one entity or result: JSON, or one line per field."""
        if self.json:
            self.value(value)
        else:
            import msgspec

            fields = value if isinstance(value, Mapping) else msgspec.structs.asdict(value)
            self._print_table(None, [(name, _field(name, item)) for name, item in fields.items()])

    def page(self, page: Page[Any], columns: Sequence[str]) -> None:
        """Print a page of entities: JSON, or one row per entity with these columns."""
        self.listed(page, columns, ([getattr(item, column) for column in columns] for item in page.items))

    def listed(self, page: Page[Any], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print a page: JSON, or these rows, and how to list the next one."""
        self.rows(page, columns, rows)
        if page.damaged:
            self.note(f"left out as damaged: {page.damaged}; `akidb doctor` finds them")
        if page.next_cursor is not None:
            self.note(f"there are more: --cursor {page.next_cursor}")

    def rows(self, value: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print `value` as JSON, or these rows as a table."""
        if self.json:
            self.value(value)
        else:
            whole = [column in _NAMES or column.endswith("_id") for column in columns]
            self._print_table(
                columns,
                [[shown(cell, whole=uncut) for cell, uncut in zip(row, whole, strict=True)] for row in rows],
            )

    def done(self, value: Mapping[str, Any], sentence: str) -> None:
        """Print the result of a command without an entity: `value` as JSON, or `sentence`."""
        if self.json:
            self.value(value)
        else:
            self.text(sentence)

    def text(self, line: str = "", style: str | None = None) -> None:
        """Print a line of text on standard output."""
        with _to_output():
            self._console(sys.stdout).print(_plain(line, style), soft_wrap=True)

    def note(self, line: str) -> None:
        """Print a message on standard error, unless the output is JSON."""
        if not self.json:
            with suppress(OSError):  # a full disk or a closed stream must not fail the command
                print(printable(line), file=sys.stderr, flush=True)

    def error(self, error: AkiDBError) -> None:
        """Print an error on standard error: one line, or one JSON object."""
        if self.json:
            from akidb.ports import wire

            print(wire.encode(problem(error)).decode(), file=sys.stderr, flush=True)
        else:
            print(one_line(error), file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Show a progress bar on standard error, with units per second.

        It is shown only on a terminal.
        """
        if not sys.stderr.isatty():
            yield lambda _: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self._console(sys.stderr), transient=True) as bar:
            task = bar.add_task(printable(title), total=total, rate="")

            def advance(count: int) -> None:
                bar.advance(task, count)
                speed = bar.tasks[0].speed
                bar.update(task, rate=f"{speed:,.0f} {unit}/s" if speed else "")

            yield advance

    @contextmanager
    def stages(self, title: str, *, counted: bool = False) -> Iterator["Progress"]:
        """Show the progress of each stage, in bytes or as a count; only on a terminal, as `progress`."""
        if not sys.stderr.isatty():
            yield lambda _stage, _done, _total: None
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        amount = MofNCompleteColumn() if counted else DownloadColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
        with Bars(*columns, console=self._console(sys.stderr), transient=True) as bars:
            tasks: dict[str, TaskID] = {}

            def show(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(printable(f"{title}: {stage}"))
                bars.update(tasks[stage], completed=done, total=total)

            yield show

    def _console(self, stream: IO[str]) -> "Console":
        from rich.console import Console

        return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)

    def _print_table(self, columns: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> None:
        from rich.text import Text

        from akidb.cli.tables import layout

        console = self._console(sys.stdout)
        cells = [[printable(cell) for cell in row] for row in rows]
        # One entity is shown whole: the terminal itself wraps long lines, and copies them as one.
        width = console.width if console.is_terminal and columns is not None else None
        fitted = layout(columns or ("", ""), cells, width)
        heads = [] if columns is None else [fitted.line(columns)]
        lines = [Text("".join(line), "bold") for line in heads]
        for row in cells:
            first, *others = fitted.line(row)
            lines.append(Text.assemble((first, "cyan"), *others))
        with _to_output():
            for line in lines:
                console.print(line, soft_wrap=True)
        if columns is not None and len(fitted.shown) < len(columns):
            left_out = [name for place, name in enumerate(columns) if place not in fitted.shown]
            self.note(f"not shown: {', '.join(left_out)}; --json has all")


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun, such as `1 match` or `2,000 matches`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _field(name: str, value: Any) -> str:
    is_quota = name.endswith(("_quota", "_quota_bytes"))
    return "unlimited" if is_quota and value is None else shown(value, whole=True)


def shown(value: Any, *, whole: bool = False) -> str:
    """Format a value for a table cell: cut, unless it is to be `whole`."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        from akidb.ports import wire

        value = wire.encode(value).decode()
    text = str(value)
    return text if whole or len(text) <= MAX_CELL_CHARACTERS else f"{text[: MAX_CELL_CHARACTERS - 1]}…"


def write_bytes(data: bytes) -> None:
    """Write raw bytes to standard output, regardless of the terminal's encoding."""
    with _to_output():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)


def flush_output() -> None:
    """Write what standard output buffers. Raises Unavailable, which names it, if it cannot be written."""
    with _to_output():
        sys.stdout.flush()


@contextmanager
def _to_output() -> Iterator[None]:
    """Name standard output in errors. A closed pipe passes through: a reader such as `head` has enough."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unavailable(f"standard output cannot be written: {error.strerror or error}") from error


def _plain(text: str, style: str | None = None) -> Any:
    from rich.text import Text

    return Text(printable(text), style=style or "")
