"""Migration through the handles: in process, async, and rejected through a server."""

import json
from pathlib import Path

import pytest

import akidb

MANIFEST = {
    "tenant_id": "tenant_018f3c2e7b6a7c3d8e9f0a1b2c3d4e5f",
    "name": "Aki Labs",
    "created_at": "2025-03-01T10:00:00Z",
    "updated_at": "2025-03-02T11:00:00+09:00",
}


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    directory = tmp_path / "v1"
    directory.mkdir()
    (directory / "aki.json").write_text(json.dumps(MANIFEST))
    return directory


def test_migration_in_process(v1: Path, tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "data") as db:
        report = db.migration.v1_to_v2(v1, dry_run=True)
        assert (report.counts.created, db.tenants.count()) == (1, 0)
        assert db.migration.v1_to_v2(str(v1)).counts.created == 1
        tenant = db.tenants.get("aki-labs")
        assert tenant.databases.get("default").state == akidb.DatabaseState.READY
        assert [entry.action for entry in tenant.audit()] == ["tenant.migrate"]
        assert db.migration.v2_to_v1(tmp_path / "out").unchanged == 1
        assert (tmp_path / "out/aki.json").read_bytes() == (v1 / "aki.json").read_bytes()


def test_migration_errors_carry_report(v1: Path, tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "data") as db:
        db.migration.v1_to_v2(v1)
        (v1 / "aki.json").write_text(json.dumps({**MANIFEST, "name": "Other"}))
        with pytest.raises(akidb.AlreadyExists) as conflict:
            db.migration.v1_to_v2(v1)
        assert isinstance(conflict.value, akidb.ManifestConflicts)
        assert conflict.value.report.counts.conflicts == 1
        assert conflict.value.message in str(conflict.value)
        (v1 / "b.json").write_text("?")
        with pytest.raises(akidb.InvalidArgument) as faulty:
            db.migration.v1_to_v2(v1)
        assert isinstance(faulty.value, akidb.FaultyManifests)
        assert [fault.path for fault in faulty.value.report.faults] == ["b.json"]
        for wrong in (1, "yes"):
            with pytest.raises(akidb.InvalidArgument, match="overwrite"):
                db.migration.v1_to_v2(v1, overwrite=wrong)  # type: ignore[arg-type]


async def awaited(v1: Path, tmp_path: Path) -> None:
    async with akidb.aio.connect(tmp_path / "data") as db:
        assert (await db.migration.v1_to_v2(v1)).counts.created == 1
        assert (await db.migration.v2_to_v1(tmp_path / "out")).unchanged == 1


def test_migration_with_async_client(v1: Path, tmp_path: Path) -> None:
    import asyncio

    asyncio.run(awaited(v1, tmp_path))


def test_migration_through_server_is_rejected(v1: Path, tmp_path: Path) -> None:
    with akidb.connect("http://127.0.0.1:9") as db:
        with pytest.raises(akidb.InvalidArgument, match="url"):
            db.migration.v1_to_v2(v1)
        with pytest.raises(akidb.InvalidArgument, match="url"):
            db.migration.v2_to_v1(tmp_path / "out")


def test_migration_with_closed_connection_is_unavailable(v1: Path, tmp_path: Path) -> None:
    db = akidb.connect(tmp_path / "data")
    db.close()
    with pytest.raises(akidb.Unavailable):
        db.migration.v1_to_v2(v1)
