"""`akidb doctor`, `akidb migrate` and `akidb model`."""

import json
import sqlite3
from pathlib import Path

import pytest

from akidb.deployment.local import open_local
from akidb.deployment.schema_changes import _LOSSES
from akidb.domain.lifecycle import MOVES, PERMITTED
from akidb.embedding import LocalModels
from akidb.metadata.schema import HEAD
from akidb.operations.users import CreateUser
from akidb.settings import load

from .conftest import Run


def test_doctor_passes_healthy_directory(akidb: Run, notes: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"id": "a", "text": "one"}\n')
    assert akidb("document", "import", notes, file).status == 0
    report = akidb("doctor", "--json").json
    assert report["ok"] is True
    tenant_id = akidb("tenant", "get", "aki-labs", "--json").json["tenant_id"]
    assert {finding["store"] for finding in report["findings"]} == {"metadata", tenant_id}
    table = akidb("doctor")
    assert table.status == 0
    assert "WRONG" not in table.out


def test_doctor_reports_problems(akidb: Run, notes: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"id": "a", "text": "one"}\n')
    assert akidb("document", "import", notes, file).status == 0
    for path in (tmp_path / "akidb-data" / "tenants").iterdir():
        path.unlink()
    result = akidb("doctor", "--json")
    assert result.status == 1
    report = json.loads(result.out)
    tenant_id = akidb("tenant", "get", "aki-labs", "--json").json["tenant_id"]
    assert report["ok"] is False
    assert {finding["store"] for finding in report["findings"] if not finding["ok"]} == {tenant_id}
    table = akidb("doctor")
    assert table.status == 1
    assert "WRONG" in table.out
    assert akidb("document", "count", notes).status == 1


def test_doctor_prints_state_tables(akidb: Run, tmp_path: Path) -> None:
    tables = akidb("doctor", "--states", "--json").json
    assert sum(len(states) for states in tables.values()) == sum(len(moves) for moves in MOVES.values())
    for kind, entity in zip(MOVES, ("tenant", "database", "collection", "user"), strict=True):
        for state, moves in MOVES[kind].items():
            assert tables[entity][state] == {"moves": list(moves), "permits": sorted(PERMITTED[kind][state])}
    table = akidb("doctor", "--states")
    assert len(table.out.splitlines()) == 15
    assert not (tmp_path / "akidb-data").exists()


def test_migrate_reports_and_creates_schema(akidb: Run, tmp_path: Path) -> None:
    tried = akidb("migrate", "schema", "--dry-run", "--json").json
    assert (tried["from"], tried["changed"], tried["dry_run"]) == (None, False, True)
    assert not (tmp_path / "akidb-data" / "metadata.db").exists()
    assert akidb("migrate", "schema", "--dry-run").out.startswith("would bring the schema from nothing to ")
    done = akidb("migrate", "schema", "--json").json
    assert done == {
        "from": None,
        "to": tried["to"],
        "stores": 0,
        "changed": True,
        "dry_run": False,
        "lost": [],
    }
    again = akidb("migrate", "schema", "--json").json
    assert again == {**done, "from": tried["to"], "changed": False}
    assert akidb("migrate", "schema").out == f"the schema is {tried['to']}, the newest\n"


def test_migrate_downgrades_and_upgrades(akidb: Run, tmp_path: Path) -> None:
    assert akidb("tenant", "create", "a").status == 0
    newest = akidb("migrate", "schema", "--json").json["to"]
    assert (
        akidb("migrate", "schema", "--to", "0001", "--dry-run").out.splitlines()[0]
        == f"would bring the schema from {newest} to 0001"
    )
    back = akidb("migrate", "schema", "--to", "0001", "--yes")
    assert back.out == f"brought the schema from {newest} to 0001\n"
    assert back.err.splitlines() == losses(users=0)
    assert akidb("migrate", "schema", "--to", "0001").out == "the schema is 0001\n"
    assert akidb("migrate", "schema").out == f"brought the schema from 0001 to {newest}\n"
    assert akidb("tenant", "get", "a", "--json").json["version"] == 1
    assert len(list((tmp_path / "akidb-data" / "backups").iterdir())) == 2
    wrong = akidb("migrate", "schema", "--to", "7", "--json")
    assert (wrong.status, wrong.problem["field"]) == (2, "to")


def test_downgrade_reports_losses_and_asks_for_confirmation(akidb: Run, tmp_path: Path) -> None:
    assert akidb("tenant", "create", "a").status == 0
    assert akidb("database", "create", "a", "kb").status == 0
    operations = open_local(tmp_path / "akidb-data", load())
    for name in ("b", "c"):
        operations.perform(CreateUser(tenant="a", email=f"{name}@example.org", password="correct horse"))
    operations.close()
    newest = akidb("migrate", "schema", "--json").json["to"]
    tried = akidb("migrate", "schema", "--to", "0001", "--dry-run")
    assert tried.out.splitlines()[1:] == losses(users=2)
    lost = akidb("migrate", "schema", "--to", "0001", "--dry-run", "--json").json["lost"]
    assert [(loss["version"], loss["rows"]) for loss in lost] == [
        ("0008", None),
        ("0007", None),
        ("0005", None),
        ("0004", None),
        ("0003", 0),
        ("0002", 2),
    ]
    refused = akidb("migrate", "schema", "--to", "0001")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.splitlines()[:-1] == losses(users=2)
    assert refused.err.splitlines()[-1].endswith("yes: this cannot be undone: confirm with --yes")
    assert akidb("migrate", "schema", "--to", "0001", "--json").problem["field"] == "yes"
    assert akidb("migrate", "schema", "--json").json["from"] == newest
    fewer = akidb("migrate", "schema", "--to", "0003", "--yes", "--json").json["lost"]
    assert [loss["version"] for loss in fewer] == ["0008", "0007", "0005", "0004"]
    assert akidb("migrate", "schema", "--to", "0004").status == 0


DELETED = "which tenants were deleted by 1.x: those will be purged like others"


def losses(*, users: int) -> list[str]:
    """The expected losses of a downgrade to the first version."""
    return [
        "lost with 0008: the metadata of databases and collections",
        "lost with 0007: the checksums of documents, which are not checked until they are written again",
        "lost with 0005: the index of tenants' names, which is rebuilt when migrating forward",
        "lost with 0004: the change feeds of tenants, whose readers must start over",
        f"lost with 0003: 0 manifests of AkiDB 1.x, and {DELETED}",
        f"lost with 0002: {users} users of tenants",
    ]


def test_each_downgraded_version_lists_its_losses() -> None:
    losing_nothing = {"0006", "0009"}
    later = {f"{number:04}" for number in range(2, int(HEAD) + 1)}
    assert {version for version, _, _ in _LOSSES} == later - losing_nothing


def test_maintain_reports_its_work(akidb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert akidb("maintain").status == 3
    assert akidb("tenant", "create", "a").status == 0
    assert akidb("tenant", "delete", "a").status == 0
    assert akidb("maintain").out == "nothing to do\n"
    monkeypatch.setenv("AKIDB_RETENTION_SECONDS", "0")
    assert akidb("maintain").out == "1 tenant purged\n"
    report = akidb("maintain", "--json").json
    assert (report["tenants_purged"], report["traces_remain"], report["problems"]) == (0, False, [])


def test_newer_schema_is_rejected(akidb: Run, tmp_path: Path) -> None:
    assert akidb("migrate", "schema").status == 0
    connection = sqlite3.connect(tmp_path / "akidb-data" / "metadata.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    for options in ([], ["--dry-run"]):
        result = akidb("migrate", "schema", *options)
        assert (result.status, result.err.count("\n")) == (1, 1)
        assert "9999" in result.err


def test_migrate_schema_through_server_url_is_rejected(akidb: Run) -> None:
    result = akidb("--url", "http://127.0.0.1:9", "migrate", "schema")
    assert result.status == 2
    assert "must be a data directory" in result.err


def test_damaged_store_is_one_line_error(akidb: Run, tmp_path: Path) -> None:
    assert akidb("migrate", "schema").status == 0
    for path in (tmp_path / "akidb-data").glob("metadata.db*"):
        path.unlink()
    (tmp_path / "akidb-data" / "metadata.db").write_bytes(b"no database" * 1000)
    result = akidb("tenant", "list")
    assert (result.status, result.err.count("\n")) == (1, 1)


def test_models_are_listed_without_directory(akidb: Run, tmp_path: Path) -> None:
    models = akidb("model", "list", "--json").json
    assert {model["name"] for model in models["items"]} == {"all-minilm-l6-v2", "hash"}
    assert "all-minilm-l6-v2" in akidb("model", "list").out
    info = akidb("model", "info", "all-minilm-l6-v2", "--json").json
    assert (info["dimension"], info["max_tokens"]) == (384, 256)
    assert akidb("model", "pull", "hash", "--json").json["installed"] is True
    assert akidb("model", "info", "nope").status == 3
    assert not (tmp_path / "akidb-data").exists()


def test_model_missing_from_all_sources_is_unavailable(
    akidb: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKIDB_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("AKIDB_MODEL_SOURCE", str(tmp_path))
    result = akidb("model", "pull", "all-minilm-l6-v2")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert akidb("embed", "x").status == 1


def test_embed_returns_vectors_of_model(akidb: Run, tmp_path: Path) -> None:
    found = akidb("embed", "one", "two words", "--model", "hash", "--json").json
    expected = LocalModels(tmp_path).load("hash").embed(["one", "two words"])
    assert found["vectors"] == expected.vectors.tolist()
    assert (found["model"], found["truncated"]) == ("hash", [False, False])
    table = akidb("embed", "one", "--model", "hash")
    assert table.out.splitlines()[0].split() == ["vector", "dimension", "tokens", "truncated"]
    assert akidb("embed", "x", "--model", "nope").status == 3
    assert akidb("embed").status == 2
