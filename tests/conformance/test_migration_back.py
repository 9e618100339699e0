"""Migration back to 1.x from each database: original bytes or current state, only in the output directory."""

import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from migrating import SAMPLES, Migration, Source
from samples import Clock, Library, RawSql

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import IdGenerator
from akidb.metadata.tables import legacy_manifests
from akidb.ports.metadata import MetadataStore


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "v1")


@pytest.fixture
def migration(metadata: MetadataStore, ids: IdGenerator, clock: Clock, source: Source) -> Migration:
    return Migration(metadata, ids, clock, source)


def test_samples_round_trip_byte_for_byte(migration: Migration, tmp_path: Path) -> None:
    report = migration.bring(SAMPLES)
    assert report.counts.manifests == report.counts.created == 36
    assert [each.path for each in report.skipped] == ["notes.json"]
    assert report.verification is not None
    assert report.verification.tenants == report.verification.databases == report.verification.manifests == 36
    back = migration.back(tmp_path / "out")
    assert (back.unchanged, back.changed, back.new) == (36, 0, 0)
    written = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*.*")}
    original = {p.relative_to(SAMPLES): p.read_bytes() for p in SAMPLES.rglob("*.*")}
    assert written == {p: b for p, b in original.items() if p.name not in {"notes.json", "README.txt"}}
    assert len(written) == 36


def test_non_utf_8_paths_round_trip(migration: Migration, tmp_path: Path) -> None:
    path = migration.source.put(1, "A", path="caf\udce9.json")
    assert migration().tenants[0].path == "caf\\xe9.json"
    migration.back(tmp_path / "out")
    assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_migrate_back_writes_current_state_of_changed_tenants(
    migration: Migration, library: Library, tmp_path: Path
) -> None:
    original = migration.source.put(1, "A", x_unknown={"n": 1.50}, path="eu/1.JSON", slug="a")
    migration.source.put(2, "B", slug="b")
    migration()
    now = library.clock.advance(days=1)
    with migration.metadata.transaction() as tx:
        tx.tenants.update(tx.tenants.get("a").changed(now, name="Ä", qps_quota=5))
        tx.tenants.delete(tx.tenants.get("b"), now)
    born = library.tenant("born", metadata={"n": 1})
    library.database(born, "extra")
    report = migration.back(tmp_path / "out")
    assert (report.unchanged, report.changed, report.new) == (0, 2, 1)
    changed = (tmp_path / "out/eu/1.JSON").read_text()
    assert changed.startswith(original.read_text()[:40])
    document = json.loads(changed)
    assert (document["name"], document["quotas"]) == ("Ä", {"api_rate_limit_per_second": 5})
    assert list(document)[:6] == list(json.loads(original.read_text()))
    assert document["updated_at"] == now.isoformat().replace("+00:00", ".000000Z")
    assert json.loads((tmp_path / "out/2.json").read_text())["status"] == "deleted"
    new = json.loads((tmp_path / "out/born.json").read_text())
    assert (new["tenant_id"], new["metadata"]) == (f"tenant_{born.tenant_id.raw.hex()}", {"n": 1})
    assert [(each.path, list(each.left_behind)) for each in report.tenants if each.left_behind] == [
        ("born.json", ["extra"])
    ]


def test_manifests_migrated_back_import_into_another_store(
    migration: Migration, library: Library, tmp_path: Path, raw: RawSql, clock: Clock
) -> None:
    migration.source.put(1, "A", status="deleted")
    migration()
    library.tenant("born", name="Ünï", metadata={"n": [1, 1.0]}, qps_quota=0)
    with migration.metadata.read() as tx:
        before = [each.tenant for each in tx.legacy_manifests.departures()]
    migration.back(tmp_path / "out")
    raw("DELETE FROM tenants")
    clock.advance(days=1)
    migration.bring(tmp_path / "out")
    with migration.metadata.read() as tx:
        after = [each.tenant for each in tx.legacy_manifests.departures()]
    assert [
        (t.tenant_id, t.name, t.slug, t.status, t.metadata, t.qps_quota, t.created_at) for t in after
    ] == [(t.tenant_id, t.name, t.slug, t.status, t.metadata, t.qps_quota, t.created_at) for t in before]


def test_foreign_files_in_output_are_refused_and_interrupted_run_resumes(
    migration: Migration, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        migration.source.put(number, "A", path=f"x/{number}.json")
    migration()
    out = tmp_path / "out"
    migration.back(out)
    (out / "x/2.json").unlink()
    assert migration.back(out).unchanged == 3
    shutil.copy(out / "x/1.json", tmp_path / "kept")
    (out / "x/2.json").unlink()
    (out / "x/1.json").write_bytes(b"{}")
    for stranger in ("x/1.json", "y.txt"):
        with pytest.raises(InvalidArgument) as caught:
            migration.back(out)
        assert caught.value.field == "out"
        assert not (out / "x/2.json").exists()
        shutil.copy(tmp_path / "kept", out / "x/1.json")
        (out / "y.txt").write_text(stranger)


def test_hostile_paths_stay_within_output_directory(migration: Migration, tmp_path: Path) -> None:
    hostile = [
        b"../escaped.json",
        b"/tmp/escaped.json",
        b"a/../../escaped.json",
        b"a.json",
        b"A.json/b",
        b"x//y",
    ]
    for number in range(1, len(hostile) + 1):
        migration.source.put(number, "A", slug=f"s{number}")
    migration()
    for number, path in enumerate(hostile, start=1):
        with migration.metadata.transaction() as tx:
            connection = tx.legacy_manifests._connection  # type: ignore[attr-defined]
            given = legacy_manifests.c.slug == f"s{number}"
            connection.execute(sa.update(legacy_manifests).where(given).values(path=path))
    out = tmp_path / "deep/er/out"
    report = migration.back(out)
    files = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "deep").rglob("*") if p.is_file())
    assert files == [
        f"deep/er/out/{name}" for name in ("a.json", "s1.json", "s2.json", "s3.json", "s5.json", "s6.json")
    ]
    assert not (tmp_path / "escaped.json").exists()
    assert [each.moved_from for each in report.tenants if each.moved_from] == [
        path.decode() for path in hostile if path != b"a.json"
    ]


def test_path_used_by_two_migrations_is_written_under_distinct_names(
    migration: Migration, tmp_path: Path
) -> None:
    migration.source.put(1, "A", path="tenant.json")
    migration()
    other = Source(tmp_path / "v1-b")
    other.put(2, "B", path="tenant.json")
    migration.bring(other.directory)
    report = migration.back(tmp_path / "out")
    assert [(each.path, each.moved_from) for each in report.tenants] == [
        ("tenant.json", None),
        ("b.json", "tenant.json"),
    ]


def test_minimum_and_maximum_tenant_ids_round_trip(migration: Migration, tmp_path: Path) -> None:
    for number in (0, 1, 2**128 - 1):
        migration.source.put(number, "A")
    assert migration().counts.created == 3
    assert migration.back(tmp_path / "out").unchanged == 3
