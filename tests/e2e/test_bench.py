"""`akidb bench` runs and reports for each goal whether it was reached; the timings do not matter here."""

import json

import pytest

from akidb.bench import main, neighbours

SUITES = {
    "metadata": ["get a tenant by slug", "create a tenant, durable", "list 100"],
    "migration": ["migrate 100,000 manifests", "the same, peak memory"],
    "documents": ["upsert batches", "search 10,000", "the same with a filter", "open a tenant store"],
    "backup": ["back up", "restore", "file of"],
    "http": ["upsert batches", "search 10,000"],
    "embedding": ["embed", "embed one text"],
    "startup": ["start a process"],
}
CONTROLS = ("no_attack", "half_a_core", "one_core")
ATTACKED = ("get", "search", "upsert", "live, worst", "disk", "attacker")


def measured(capsys: pytest.CaptureFixture[str], suite: str) -> None:
    assert main([suite, "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    for work in SUITES[suite]:
        assert any(line["work"].startswith(work) for line in lines), work
    assert all(line["p50"] > 0 for line in lines)
    assert all(line["reached"].split()[0] in {"yes", "no"} for line in lines if line["goal"])
    assert any(line["goal"] for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["documents"])
def test_suite_reports_listed_measurements(capsys: pytest.CaptureFixture[str], suite: str) -> None:
    measured(capsys, suite)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["metadata", "migration", "backup", "http", "embedding", "startup"])
def test_long_suite_reports_listed_measurements(capsys: pytest.CaptureFixture[str], suite: str) -> None:
    measured(capsys, suite)


@pytest.mark.slow
def test_each_attack_runs_and_is_measured() -> None:
    lines = neighbours.run(seconds=0.4, scale=0.02)
    for name in neighbours.ATTACKS:
        of = {line.side: line for line in lines if line.work == name}
        assert {side for side in of if not side.startswith("memory")} == set(ATTACKED), name
        assert all(of[side].reached.split()[0] in {"yes", "no"} for side in ATTACKED[:4])
        if name not in CONTROLS:
            assert "connections" in of["attacker"].unit, of["attacker"]
    rows = neighbours.summary(lines).splitlines()
    assert [row.split()[0] for row in rows] == ["attack", *neighbours.ATTACKS]


@pytest.mark.slow
def test_single_attack_is_selected_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["neighbours", "--only", "slow_heads", "--seconds", "0.4"]) == 0
    output = capsys.readouterr().out
    assert {line.split()[1] for line in output.splitlines() if line.startswith("neighbours")} == {
        "slow_heads"
    }
    assert output.splitlines()[-1].startswith("slow_heads ")


def test_unknown_attack_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["neighbours", "--only", "nonsense"]) == 2
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err


def test_unknown_suite_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    assert "unknown suite 'nonsense'" in capsys.readouterr().err


@pytest.mark.slow
def test_text_table_has_reached_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["startup"]) == 0
    output = capsys.readouterr().out
    assert "reached" in output
    assert "Durability: WAL, synchronous=FULL" in output
