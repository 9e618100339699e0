"""Migration from 1.x on each database: imported manifests, and conflicts with existing tenants."""

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from migrating import Migration, Source, one, suffixed, tenant_id
from samples import Clock, Library, RawSql

from akidb.domain.entities import DEFAULT_QPS_QUOTA, DEFAULT_STORAGE_QUOTA_BYTES
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.ids import IdGenerator
from akidb.domain.lifecycle import DatabaseState, TenantStatus
from akidb.domain.migration import FaultyManifests, ManifestConflicts, Outcome
from akidb.ports.metadata import MetadataStore


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "v1")


@pytest.fixture
def migration(metadata: MetadataStore, ids: IdGenerator, clock: Clock, source: Source) -> Migration:
    return Migration(metadata, ids, clock, source)


@pytest.fixture
def everything(raw: RawSql) -> Callable[[], list[Any]]:
    """All rows of the tables that a migration may write."""
    tables = ("tenants", "databases", "legacy_manifests", "audit_entries", "purged", "outbox")
    return lambda: [raw(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


def test_tenant_fields_match_manifest(migration: Migration, clock: Clock) -> None:
    migration.source.put(
        1,
        "Ünï & Co",
        status="suspended",
        created_at="2025-03-01T10:00:00.123456789+09:00",
        updated_at="2024-01-01T00:00:00Z",
        quotas={"max_storage_bytes": 0, "api_rate_limit_per_second": 7, "max_collections": 1},
        metadata={"b": [1.0, None, {"c": "ü"}], "a": True},
    )
    migration()
    tenant = migration.get(1)
    assert (tenant.name, tenant.slug, tenant.status) == ("Ünï & Co", "uni-co", TenantStatus.SUSPENDED)
    assert (tenant.storage_quota_bytes, tenant.qps_quota) == (0, 7)
    assert tenant.metadata == {"a": True, "b": [1.0, None, {"c": "ü"}]}
    assert tenant.created_at.isoformat() == "2025-03-01T01:00:00.123456+00:00"
    assert tenant.updated_at.isoformat() == "2024-01-01T00:00:00+00:00"
    assert (tenant.version, tenant.deleted_at) == (1, None)
    (database,) = migration.databases(1)
    assert (database.name, database.state, database.created_at) == ("default", DatabaseState.READY, clock.now)
    with migration.metadata.read() as tx:
        (entry,) = tx.audit.list(tenant_id(1), limit=10, cursor=None).items
    assert (entry.action, entry.resource_id, entry.metadata) == ("tenant.migrate", str(tenant_id(1)), {})


def test_missing_quotas_and_metadata_get_defaults(migration: Migration) -> None:
    migration.source.put(1, "A", quotas={"max_storage_bytes": 2**63 - 1})
    migration.source.put(2, "B", quotas={"api_rate_limit_per_second": 0}, metadata=None)
    migration.source.put(3, "C")
    migration()
    tenants = [migration.get(number) for number in (1, 2, 3)]
    assert [t.storage_quota_bytes for t in tenants] == [None, *2 * [DEFAULT_STORAGE_QUOTA_BYTES]]
    assert [t.qps_quota for t in tenants] == [DEFAULT_QPS_QUOTA, 0, DEFAULT_QPS_QUOTA]
    assert [t.metadata for t in tenants] == [{}, {}, {}]


def test_slugs_are_derived_from_names(migration: Migration) -> None:
    names = ["日本語", "Café", "A/B", "AB", "...", "Case", "cASE", "x" * 255, "x" * 255, "Ж", "😀"]
    for number, name in enumerate(names, start=1):
        migration.source.put(number, name)
    migration()
    slugs = migration.slugs()
    assert len(set(slugs.values())) == len(names)
    assert (slugs[2], slugs[3], slugs[4], slugs[6]) == ("cafe", "a-b", "ab", "case")
    assert slugs[7] == suffixed("case", 7)
    assert slugs[8] == "x" * 63
    assert slugs[9] == suffixed("x" * 54, 9)
    assert all(1 <= len(slug) <= 63 for slug in slugs.values())
    assert slugs[1].isascii()


def test_given_slugs_take_precedence_then_id_order(migration: Migration) -> None:
    migration.source.put(1, "Taken")  # its slug would be made, and is given to another
    migration.source.put(2, "Same")
    migration.source.put(3, "Same")
    migration.source.put(4, "Other", slug="taken")
    migration.source.put(6, "First", slug="twice", path="a.json")
    migration.source.put(5, "Second", slug="twice", path="z.json")
    migration.source.put(7, "In valid", slug="In valid!")
    migration.source.put(8, "Shaped", slug="018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f")
    report = migration()
    assert migration.slugs() == {
        1: suffixed("taken", 1),
        2: "same",
        3: suffixed("same", 3),
        4: "taken",
        5: "twice",
        6: suffixed("twice", 6),
        7: "in-valid",
        8: "shaped",
    }
    assert (one(report, 6).given_slug, one(report, 7).given_slug) == ("twice", "In valid!")


def test_slug_taken_in_store_gets_suffix(migration: Migration, library: Library) -> None:
    live, deleted = library.tenant("acme"), library.tenant("gone")
    with migration.metadata.transaction() as tx:
        tx.tenants.delete(deleted, library.clock.now)
    library.tenant(suffixed("both", 3))
    library.tenant("both")
    for number, slug in ((1, "acme"), (2, "gone"), (3, "both")):
        migration.source.put(number, "Name", slug=slug)
    report = migration()
    assert one(report, 1).slug == suffixed("acme", 1)
    assert one(report, 2).slug == suffixed("gone", 2)
    assert one(report, 3).slug == f"both-{sha256(tenant_id(3).raw).hexdigest()[:9]}"
    with migration.metadata.read() as tx:
        assert tx.tenants.get("acme") == live


def test_second_migration_changes_nothing(
    migration: Migration, everything: Callable[[], list[Any]], clock: Clock
) -> None:
    migration.source.put(1, "Same")
    migration.source.put(2, "Same", status="deleted")
    first = migration()
    before = everything()
    clock.advance(days=1)
    (migration.source.directory / "1.json").rename(migration.source.directory / "moved.json")
    again = migration()
    assert (again.counts.unchanged, again.counts.created, again.verification) == (2, 0, None)
    assert [each.slug for each in again.tenants] == [each.slug for each in first.tenants]
    assert everything() == before


def test_second_migration_with_new_manifests_keeps_existing_slugs(migration: Migration) -> None:
    migration.source.put(5, "Same")
    migration()
    migration.source.put(1, "Same")
    migration.source.put(2, "Other", slug="same")
    report = migration()
    assert (report.counts.created, report.counts.unchanged) == (2, 1)
    assert migration.slugs() == {1: suffixed("same", 1), 2: suffixed("same", 2), 5: "same"}


def test_dry_run_reports_same_result_and_writes_nothing(
    migration: Migration, everything: Callable[[], list[Any]]
) -> None:
    migration.source.put(1, "A", x_unknown=1)
    migration.source.put(2, "A")
    before = everything()
    tried = migration(dry_run=True)
    assert everything() == before
    done = migration()
    assert tried.dry_run
    assert (tried.tenants, tried.counts, tried.skipped) == (done.tenants, done.counts, done.skipped)
    assert one(done, 1).unknown_fields == ["x_unknown"] or one(done, 1).unknown_fields == ("x_unknown",)


def test_all_faults_are_reported_and_nothing_is_written(
    migration: Migration, everything: Callable[[], list[Any]]
) -> None:
    migration.source.put(1, "Sound")
    migration.source.put(2, "", quotas={"max_storage_bytes": -1}, path="x/2.json")
    migration.source.put(3, "Twin", path="3.json")
    migration.source.put(
        3, "Twin", path="y/3.json", tenant_id=f"tenant_{tenant_id(3)}".upper().replace("TENANT", "tenant")
    )
    (migration.source.directory / "text.json").write_text("not JSON")
    (migration.source.directory / "other.json").write_text("[]")
    before = everything()
    for dry_run in (True, False):
        with pytest.raises(FaultyManifests) as caught:
            migration(dry_run=dry_run)
        report = caught.value.report
        assert [(fault.path, fault.field) for fault in report.faults] == [
            ("3.json", "tenant_id"),
            ("text.json", None),
            ("x/2.json", "name"),
            ("x/2.json", "quotas.max_storage_bytes"),
            ("y/3.json", "tenant_id"),
        ]
        assert (report.counts.faulty, report.counts.skipped, report.dry_run) == (4, 1, dry_run)
        assert "y/3.json" in report.faults[0].reason
        assert caught.value.field == "v1_data_dir"
    assert everything() == before


def test_changed_manifest_is_conflict_unless_overwrite(
    migration: Migration, everything: Callable[[], list[Any]]
) -> None:
    migration.source.put(1, "Before", slug="kept")
    migration.source.put(2, "Other")
    migration()
    migration.source.put(1, "After", slug="kept", status="suspended", metadata={"n": 1}, api_key_hash="x")
    migration.source.put(3, "New")
    before = everything()
    for dry_run in (True, False):
        with pytest.raises(ManifestConflicts) as caught:
            migration(dry_run=dry_run)
        assert one(caught.value.report, 1).outcome is Outcome.CONFLICT
        assert caught.value.code == "already_exists"
        assert caught.value.fields["value"] == str(tenant_id(1))
    assert everything() == before
    report = migration(overwrite=True)
    assert (report.counts.overwritten, report.counts.created, report.counts.unchanged) == (1, 1, 1)
    tenant = migration.get(1)
    assert (tenant.name, tenant.slug, tenant.version) == ("After", "kept", 2)
    assert (tenant.status, tenant.metadata) == (TenantStatus.SUSPENDED, {"n": 1})
    assert len(migration.databases(1)) == 1
    again = migration()
    assert again.counts.unchanged == 3


@pytest.mark.parametrize("field", ["api_key_hash", "x_unknown"])
def test_changed_unmapped_field_is_conflict(migration: Migration, field: str) -> None:
    migration.source.put(1, "A", **{field: "1"})
    migration()
    migration.source.put(1, "A", **{field: "2"})
    with pytest.raises(ManifestConflicts):
        migration()


def test_overwrite_applies_new_slug_and_keeps_suffixed_slug(migration: Migration) -> None:
    migration.source.put(1, "A", slug="same")
    migration.source.put(2, "B", slug="same")
    migration()
    migration.source.put(1, "A", slug="other")
    migration.source.put(2, "B two", slug="same")
    migration(overwrite=True)
    assert migration.slugs() == {1: "other", 2: suffixed("same", 2)}


def test_overwrite_deletes_and_restores_tenants(migration: Migration, clock: Clock) -> None:
    migration.source.put(1, "A")
    migration.source.put(2, "B", status="deleted")
    migration()
    migration.source.put(1, "A", status="deleted")
    migration.source.put(2, "B")
    now = clock.advance(days=3)
    migration(overwrite=True)
    assert (migration.find(1), migration.get(1, deleted=True).deleted_at) == (None, now)
    assert (migration.get(2).status, migration.get(2).deleted_at) == (TenantStatus.ACTIVE, None)


def test_existing_tenant_not_from_1x_is_conflict(migration: Migration, library: Library) -> None:
    there = library.tenant("there", external_id="crm-1", memory_quota_bytes=5)
    number = int.from_bytes(there.tenant_id.raw, "big")
    migration.source.put(number, "From 1.x")
    with pytest.raises(ManifestConflicts) as caught:
        migration()
    assert "did not come from 1.x" in str(one(caught.value.report, number).reason)
    migration(overwrite=True)
    tenant = migration.get(number)
    assert (tenant.name, tenant.slug, tenant.external_id, tenant.memory_quota_bytes) == (
        "From 1.x",
        "from-1-x",
        "crm-1",
        5,
    )
    assert [database.name for database in migration.databases(number)] == ["default"]


def test_purged_tenant_is_not_migrated_again(
    migration: Migration, everything: Callable[[], list[Any]], raw: RawSql, clock: Clock
) -> None:
    path = migration.source.put(1, "Purged", api_key_hash="to-be-forgotten")
    migration.source.put(2, "Kept")
    migration()
    with migration.metadata.transaction() as tx:
        tx.tenants.delete(tx.tenants.get(tenant_id(1)), clock.now)
        tx.tenants.purge(tenant_id(1), clock.now)
    assert len(raw("SELECT 1 FROM legacy_manifests")) == 1
    before = everything()
    path.write_text(path.read_text() + "\n")
    wanted: list[dict[str, Any]] = [{}, {"overwrite": True}, {"dry_run": True}]
    for options in wanted:
        report = migration(**options)
        assert (report.counts.purged, report.counts.unchanged) == (1, 1)
        assert (one(report, 1).outcome, one(report, 1).slug) == (Outcome.PURGED, None)
    assert everything() == before


def test_changes_made_in_2_0_are_kept(migration: Migration, clock: Clock) -> None:
    migration.source.put(1, "A")
    migration()
    with migration.metadata.transaction() as tx:
        tx.tenants.update(tx.tenants.get(tenant_id(1)).changed(clock.now, name="Renamed", slug="renamed"))
    assert migration().counts.unchanged == 1
    assert migration.get(1).name == "Renamed"


def test_tenant_deleted_in_1x_expires_only_after_second_delete(migration: Migration, clock: Clock) -> None:
    migration.source.put(1, "A", status="deleted", slug="gone")
    migration()
    tenant = migration.get(1, deleted=True)
    assert (tenant.status, tenant.deleted_at) == (TenantStatus.DECOMMISSIONED, clock.now)
    later = clock.advance(days=1000)
    with migration.metadata.transaction() as tx:
        assert tx.tenants.expired(later, 10) == []
        restored = tx.tenants.restore(tenant, later)
    assert (restored.status, restored.deleted_at) == (TenantStatus.ACTIVE, None)
    with migration.metadata.transaction() as tx:
        tx.tenants.delete(restored, later)
        assert [each.tenant_id for each in tx.tenants.expired(later + timedelta(days=1), 10)] == [
            tenant_id(1)
        ]


def test_file_changed_during_migration_aborts_it(
    migration: Migration, everything: Callable[[], list[Any]]
) -> None:
    paths = [migration.source.put(number, "A") for number in range(1, 4)]
    before = everything()

    def change(stage: str, done: int, total: int) -> None:
        assert (stage, done, total) == ("check", 3, 3)
        paths[2].write_text(paths[2].read_text() + " ")

    with pytest.raises(Unavailable, match=r"3\.json changed"):
        migration(progress=change)
    assert everything() == before


def test_more_than_1000_manifests_are_migrated_in_batches(migration: Migration, tmp_path: Path) -> None:
    seen = []
    for number in range(1, 1202):
        migration.source.put(
            number, f"Tenant {number % 700}", status="deleted" if number % 3 == 0 else "active"
        )
    report = migration(progress=lambda *step: seen.append(step))
    assert report.counts.created == 1201
    assert report.verification is not None
    assert report.verification.databases == 1201
    assert {stage for stage, done, total in seen if done == total == 1201} == {"check", "write", "verify"}
    assert len(set(migration.slugs().values())) == 1201
    back = migration.back(tmp_path / "out")
    assert back.unchanged == 1201
    assert migration().counts.unchanged == 1201


@pytest.mark.parametrize("wrong", ["", b"x", 5, None, "a\0b"])
def test_invalid_directory_argument_is_refused(migration: Migration, wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="v1_data_dir"):
        migration.bring(wrong)
    with pytest.raises(InvalidArgument, match="out"):
        migration.back(wrong)


def test_empty_directory_migrates_nothing(migration: Migration) -> None:
    assert migration().counts.manifests == 0


def test_schema_rejects_invalid_manifests(migration: Migration, raw: RawSql) -> None:
    migration.source.put(1, "A")
    migration()
    for change in ("sha256 = path", "slug = ''", "manifest = NULL", "migrated_at = NULL", "path = NULL"):
        with pytest.raises(Exception, match="legacy_manifests"):
            raw(f"UPDATE legacy_manifests SET {change}")
    with pytest.raises(Exception, match=r"legacy_manifests|uuid"):
        raw("UPDATE legacy_manifests SET tenant_id = '123456789012345'")
