"""Migration into a PostgreSQL database, and back."""

import json
from pathlib import Path
from typing import Any

import psycopg

from .conftest import Run

SAMPLES = Path(__file__).parents[1] / "data/v1-manifests"


def schemas(url: str) -> list[Any]:
    """AkiDB's schemas."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'akidb%' ORDER BY 1")
        return names.fetchall()


def rows(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        tables = ("tenants", "databases", "legacy_manifests", "audit_entries")
        return [
            connection.execute(f"SELECT * FROM akidb_metadata.{table} ORDER BY 1").fetchall()
            for table in tables
        ]


def test_migration_round_trip(akidb: Run, empty_postgres_url: str, tmp_path: Path) -> None:
    migrate = ("--url", empty_postgres_url, "--json", "migrate", "v1-to-v2", "--v1-data-dir", SAMPLES)
    tried = akidb(*migrate, "--dry-run").json
    assert schemas(empty_postgres_url) == []
    report = akidb(*migrate).json
    assert report["verification"] == {"tenants": 36, "databases": 36, "manifests": 36}
    assert report["tenants"] == tried["tenants"]
    stored = rows(empty_postgres_url)
    for options in ((), ("--dry-run",)):
        assert akidb(*migrate, *options).json["counts"]["unchanged"] == 36
    assert rows(empty_postgres_url) == stored
    back = akidb("--url", empty_postgres_url, "migrate", "v2-to-v1", "--out", "back", "--json").json
    assert (back["unchanged"], back["changed"], back["new"]) == (36, 0, 0)
    for path in SAMPLES.rglob("*.[jJ]*"):
        if path.name != "notes.json":
            assert (tmp_path / "back" / path.relative_to(SAMPLES)).read_bytes() == path.read_bytes()


def test_report_equals_report_for_directory(akidb: Run, postgres_url: str) -> None:
    migrate = ("--json", "migrate", "v1-to-v2", "--v1-data-dir", SAMPLES)
    assert akidb(*migrate, "--url", postgres_url).json == akidb(*migrate, "--data", "data").json


def test_unreachable_database(akidb: Run, tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    url = "postgresql://nobody:secret@127.0.0.1:9/none"
    for options in ((), ("--dry-run",)):
        result = akidb("migrate", "v1-to-v2", "--v1-data-dir", "v1", "--url", url, *options, "--json")
        assert result.status == 1
        assert result.problem["code"] == "unavailable"
        assert "secret" not in json.dumps(result.problem)
