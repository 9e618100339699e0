"""Parsing of sizes, paths and JSON objects given on the command line."""

import os
import sys
from pathlib import Path

import pytest

from akidb.cli.arguments import collection_path, parse_object, parse_places, parse_size
from akidb.cli.session import this_program
from akidb.domain.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("12345", 12345),
        ("10B", 10),
        ("10GB", 10 * 10**9),
        ("10 GB", 10 * 10**9),
        ("10g", 10 * 10**9),
        ("32GiB", 32 * 2**30),
        ("32gib", 32 * 2**30),
        ("1TiB", 2**40),
        ("1.5KiB", 1536),
        ("0.1kB", 100),
        ("8388607TiB", 8388607 * 2**40),
        ("8191.999999999999999PiB", 8191 * 2**50 + 999999999999999 * 2**50 // 10**15),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "storage_quota_bytes") == size


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.", ".5GB", "1e3", "10XB", "\uff11GB", "10GBs", "1 2", "nan"]
)
def test_invalid_size_is_rejected_and_named(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_size(text, "storage_quota_bytes")
    assert caught.value.field == "storage_quota_bytes"


def test_size_over_63_bits_is_rejected() -> None:
    assert parse_size(str(2**63 - 1), "x") == 2**63 - 1
    for text in (str(2**63), "8388608TiB", "9" * 400):
        with pytest.raises(InvalidArgument, match="at most"):
            parse_size(text, "x")


def test_paths() -> None:
    assert parse_places("aki", ["tenant"]) == {"tenant": "aki"}
    assert parse_places("aki/kb", ["tenant", "database"]) == {"tenant": "aki", "database": "kb"}
    assert collection_path("aki/kb/notes") == ("aki", "kb", "notes")


@pytest.mark.parametrize(
    "text", ["", "aki", "aki/kb", "aki//notes", "/kb/notes", "aki/kb/notes/x", "aki/kb/"]
)
def test_path_with_wrong_number_of_parts_is_rejected(text: str) -> None:
    with pytest.raises(InvalidArgument, match="tenant/database/collection"):
        collection_path(text)


def test_json_objects() -> None:
    assert parse_object(None, "metadata") is None
    assert parse_object('{"a": {"b": [1, null]}}', "metadata") == {"a": {"b": [1, None]}}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "metadata"),
        ("{", "metadata"),
        ("[1]", "metadata"),
        ("null", "metadata"),
        ('{"a": 1, "a": 2}', "metadata.a"),
        ('{"a": {"b": NaN}}', "metadata.a.b"),
        ('{"a": "\\u0000"}', "metadata.a"),
        ('{"a": "\udcff"}', "metadata"),
    ],
)
def test_invalid_json_object_is_rejected_with_its_path(text: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_object(text, "metadata")
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("place", "called"),
    [("env/bin/akidb", "env/bin/akidb"), ("akidb", "./akidb"), ("../other/akidb", "{parent}/other/akidb")],
)
def test_program_name_is_runnable_from_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, called: str
) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    script = Path(os.path.normpath(directory / place))
    script.parent.mkdir(parents=True, exist_ok=True)
    script.touch(0o700)
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert this_program() == [called.format(parent=tmp_path)]
    monkeypatch.setenv("PATH", str(script.parent))
    assert this_program() == ["akidb"]


def test_program_without_script_is_named_as_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["akidb/__main__.py"])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "")
    assert this_program() == ["/nowhere/python", "-m", "akidb"]
