"""`akidb bench` runs and reports for each goal whether it was reached; the timings do not matter here."""

import json

import pytest

from akidb.bench import main

SUITES = {
    "metadata": ["get a tenant by slug", "create a tenant, durable", "list 100"],
    "migration": ["migrate 100,000 manifests", "the same, peak memory"],
    "documents": ["upsert batches", "search 10,000", "the same with a filter", "open a tenant store"],
    "backup": ["back up", "restore", "file of"],
    "http": ["upsert batches", "search 10,000"],
    "embedding": ["embed", "embed one text"],
    "startup": ["start a process"],
}


def measured(capsys: pytest.CaptureFixture[str], suite: str) -> None:
    assert main([suite, "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    for work in SUITES[suite]:
        assert any(line["work"].startswith(work) for line in lines), work
    assert all(line["p50"] > 0 for line in lines)
    assert all(line["reached"].split()[0] in {"yes", "no"} for line in lines if line["goal"])
    assert any(line["goal"] for line in lines)


@pytest.mark.parametrize("suite", ["documents", "startup"])
def test_suite_reports_listed_measurements(capsys: pytest.CaptureFixture[str], suite: str) -> None:
    measured(capsys, suite)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["metadata", "migration", "backup", "http", "embedding"])
def test_long_suite_reports_listed_measurements(capsys: pytest.CaptureFixture[str], suite: str) -> None:
    measured(capsys, suite)


def test_unknown_suite_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    assert "unknown suite 'nonsense'" in capsys.readouterr().err


def test_text_table_has_reached_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["startup"]) == 0
    output = capsys.readouterr().out
    assert "reached" in output
    assert "Durability: WAL, synchronous=FULL" in output
