"""Tables, JSON, colour and escaping."""

import os
import pty
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.cells import cell_len

from akidb.cli.output import MAX_CELL_CHARACTERS, Output, shown
from akidb.cli.tables import layout
from akidb.domain.documents import Page

from .conftest import Run


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (0.98765, "0.9877"),
        (32 * 2**30, "34,359,738,368"),
        (datetime(2026, 1, 31, 9, 15, 0, 123456, UTC), "2026-01-31 09:15:00Z"),
        ({"a": [1]}, '{"a":[1]}'),
        ([0.5], "[0.5]"),
        ("", ""),
        ("x" * MAX_CELL_CHARACTERS, "x" * MAX_CELL_CHARACTERS),
        ("x" * 1000, "x" * (MAX_CELL_CHARACTERS - 1) + "…"),
    ],
)
def test_cell_formatting(value: object, text: str) -> None:
    assert shown(value) == text


def test_ids_and_single_entities_are_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=False).rows({}, ("id", "text"), [["i" * 500, "t" * 500]])
    assert capsys.readouterr().out.split()[2:] == ["i" * 500, "t" * (MAX_CELL_CHARACTERS - 1) + "…"]
    Output(json=False).record({"text": "t" * 500})
    assert capsys.readouterr().out.split() == ["text", "t" * 500]


def test_terminal_control_characters_in_stored_text_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=False).rows({}, ("text",), [["\x1b[2J\r\n[bold]x"]])
    assert capsys.readouterr().out.split() == ["text", r"\x1b[2J\r\n[bold]x"]


def test_piped_table_is_not_wrapped_or_coloured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output(json=False).rows({}, [f"column{i}" for i in range(8)], [["x" * 60] * 8])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].split() == ["x" * 60] * 8


WIDE: dict[str, tuple[tuple[str, ...], list[str], list[str]]] = {
    "tenants": (
        ("slug", "name", "status", "tenant_id"),
        ["s" * 28, "N" * 60, "active", "i" * 36],
        ["status"],
    ),
    "collections": (
        ("name", "state", "dimension", "metric", "embedding_model", "collection_id"),
        ["notes", "ready", "384", "cosine", "all-minilm-l6-v2", "i" * 36],
        ["embedding_model"],
    ),
    "documents": (("id", "text", "metadata"), ["i" * 36, "t" * 120, "m" * 120], []),
    "matches": (("score", "id", "text", "metadata"), ["0.9", "i" * 36, "日本" * 30, "m" * 120], []),
    "audit": (
        ("created_at", "action", "resource_type", "resource_id", "result", "reason", "request_id"),
        ["2026-01-31 09:15:00Z", "collection.create", "collection", "i" * 36, "allowed", "-", "r" * 36],
        ["resource_type", "result", "reason", "request_id"],
    ),
    "long first": (("id", "text"), ["i" * 100, "t"], ["text"]),
}


@pytest.mark.parametrize(("columns", "row", "left_out"), WIDE.values(), ids=WIDE)
def test_tables_fit_80_columns_and_keep_ids_whole(
    columns: tuple[str, ...], row: list[str], left_out: list[str]
) -> None:
    fitted = layout(columns, [row], 80)
    assert [name for place, name in enumerate(columns) if place not in fitted.shown] == left_out
    line = fitted.line(row)
    assert cell_len("".join(line)) <= max(80, len(row[0]))
    for place, cell in zip(fitted.shown, line, strict=True):
        if place == 0 or columns[place].endswith("id"):
            assert cell.strip() == row[place]
    everything = layout(columns, [row], None)
    assert [cell.strip() for cell in everything.line(row)] == row


def test_entities_and_lists_on_a_terminal_do_not_break_ids(
    akidb: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = "s" * 63
    assert akidb("tenant", "create", "Aki", "--slug", slug, "--external-id", "e" * 100).status == 0
    tenant = akidb("tenant", "get", slug, "--json").json["tenant_id"]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    program = "import sys; from akidb.cli.main import main; sys.exit(main(sys.argv[1:]))"
    one = _on_a_terminal(program, "tenant", "get", slug)
    assert {slug, tenant, "e" * 100} <= set(one.split())
    listed = _on_a_terminal(program, "tenant", "list")
    assert slug in listed.split()
    assert "not shown: " in listed


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200f", "\u200b", "\ufeff", "\x9b"])
def test_direction_marks_and_invisible_characters_are_escaped(akidb: Run, mark: str) -> None:
    name, escaped = f"Aki{mark}ika", f"Aki{mark.encode('unicode_escape').decode()}ika"
    if mark != "\x9b":  # a control character is refused in names
        assert akidb("tenant", "create", name, "--slug", "a", "--external-id", name).status == 0
        for arguments in (("tenant", "list"), ("tenant", "get", "a")):
            out = akidb(*arguments).out
            assert (mark in out, escaped in out) == (False, True)
        assert akidb("tenant", "get", "a", "--json").json["name"] == name
    calls: list[tuple[str, ...]] = [
        ("tenant", "get", name),
        ("tenant", "create", "B", "--slug", name),
        ("tenant", name),
    ]
    for call in calls:
        result = akidb(*call)
        assert (result.status != 0, mark in result.err, escaped in result.err or name not in result.err) == (
            True,
            False,
            True,
        )


def test_page_shows_next_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=False).page(Page(items=[], next_cursor="abc"), ("slug",))
    assert capsys.readouterr().err == "there are more: --cursor abc\n"
    Output(json=True).page(Page(items=[], next_cursor="abc"), ("slug",))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ('{"items":[],"next_cursor":"abc"}\n', "")


def test_no_progress_bar_without_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json=False)
    with out.progress("importing", 2, "texts") as advance:
        advance(2)
    with out.stages("model") as progress:
        progress("download", 1, 2)
    assert capsys.readouterr() == ("", "")


def _on_a_terminal(program: str, *arguments: str | Path) -> str:
    """Run Python on a pseudo-terminal and return its output."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", program, *map(str, arguments)])
    written = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, written
    return written.decode()


def test_tables_are_coloured_on_terminal() -> None:
    program = "import sys; from akidb.cli.main import main; sys.exit(main(sys.argv[1:]))"
    assert "\x1b[" in _on_a_terminal(program, "model", "list")
    assert "\x1b[" not in _on_a_terminal(program, "model", "list", "--json")


def test_progress_bars_show_rate_on_terminal() -> None:
    program = """
import time
from akidb.cli.output import Output
out = Output(json=False)
with out.progress("importing", 20, "texts") as advance:
    for _ in range(20):
        time.sleep(0.05)
        advance(1)
with out.stages("mini") as progress:
    progress("download", 1, 2)
    progress("verify", 2, 2)
    time.sleep(0.2)
"""
    written = _on_a_terminal(program)
    assert "importing" in written
    assert "texts/s" in written
    assert "mini: download" in written
    assert "mini: verify" in written


def test_unencodable_characters_are_escaped(akidb: Run, tmp_path: Path) -> None:
    import subprocess

    assert akidb("tenant", "create", "日本", "--slug", "nihon").status == 0
    ended = subprocess.run(
        [sys.executable, "-m", "akidb", "tenant", "get", "nihon"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert r"\u65e5\u672c" in ended.stdout
    assert ended.stderr == ""
