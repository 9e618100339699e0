"""Verification after a migration: missing or different data in the store rolls it back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from migrating import Migration, Source
from samples import Clock, Library, RawSql

from akidb.domain.errors import Internal
from akidb.domain.ids import IdGenerator
from akidb.metadata.legacy import SqlLegacyManifests
from akidb.metadata.tenants import SqlTenantCatalog
from akidb.ports.metadata import MetadataStore
from akidb.ports.migration import ImportedTenant

LAST = "tenant_id = (SELECT tenant_id FROM legacy_manifests ORDER BY tenant_id DESC LIMIT 1)"
FIRST = LAST.replace("DESC", "ASC")

LOST = {
    "a name": (
        f"UPDATE tenants SET version = 9, name = 'Other' WHERE {LAST}",
        r"3\.json was not stored unchanged",
    ),
    "a quota": (
        f"UPDATE tenants SET version = 9, qps_quota = 1 WHERE {FIRST}",
        r"1\.json was not stored unchanged",
    ),
    "a status": (
        f"UPDATE tenants SET version = 9, status = 'suspended' WHERE {FIRST}",
        r"1\.json was not stored unchanged",
    ),
    "some metadata": (
        f"""UPDATE tenants SET version = 9, metadata = '{{"a":2}}' WHERE {LAST}""",
        r"3\.json was not stored unchanged",
    ),
    "the time of a change": (
        f"UPDATE tenants SET version = 9, updated_at = created_at WHERE {LAST}",
        r"3\.json was not stored unchanged",
    ),
    "a slug": (
        f"UPDATE tenants SET version = 9, slug = 'other' WHERE {LAST}",
        r"3\.json was not stored unchanged",
    ),
    "the digest of a manifest": (
        f"UPDATE legacy_manifests SET sha256 = {{digest}} WHERE {LAST}",
        r"3\.json was not stored unchanged",
    ),
    "the bytes of a manifest": (
        f"UPDATE legacy_manifests SET manifest = {{bytes}} WHERE {LAST}",
        r"the bytes of 3\.json were not stored",
    ),
    "the path of a manifest": (
        f"UPDATE legacy_manifests SET path = {{bytes}} WHERE {FIRST}",
        r"the bytes of 1\.json were not stored",
    ),
    "the first manifest": (
        f"DELETE FROM legacy_manifests WHERE {FIRST}",
        r"1\.json was not stored unchanged",
    ),
    "the last manifest": (
        f"DELETE FROM legacy_manifests WHERE {LAST}",
        r"manifests differ in number",
    ),
    "a tenant that was there": (
        "DELETE FROM tenants WHERE slug = 'there'",
        "found 3 tenants, expected 4",
    ),
    "a default database": (
        f"DELETE FROM databases WHERE {LAST}",
        "1 databases are missing",
    ),
    "the state of default databases": (
        "UPDATE databases SET state = 'provisioning'",
        "3 databases are missing",
    ),
    "the names of default databases": (
        "UPDATE databases SET name = 'other'",
        "3 databases are missing",
    ),
}


@pytest.fixture
def migration(metadata: MetadataStore, ids: IdGenerator, clock: Clock, tmp_path: Path) -> Migration:
    """A migration of three manifests."""
    made = Migration(metadata, ids, clock, Source(tmp_path / "v1"))
    for number in (1, 2, 3):
        made.source.put(number, f"Tenant {number}", metadata={"a": 1}, updated_at="2025-04-01T10:00:00Z")
    return made


@pytest.fixture
def everything(raw: RawSql) -> Callable[[], list[Any]]:
    """All rows of the tables that a migration may write."""
    tables = ("tenants", "databases", "legacy_manifests", "audit_entries", "purged", "outbox")
    return lambda: [raw(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


def spoil(monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Have the database run a statement behind what a migration adds, in its transaction."""
    add = SqlLegacyManifests.add

    def add_and_spoil(store: SqlLegacyManifests, arrivals: Sequence[ImportedTenant]) -> None:
        add(store, arrivals)
        postgresql = store._connection.dialect.name == "postgresql"
        literal = "'\\x{}'" if postgresql else "X'{}'"
        filled = statement.replace("{bytes}", literal.format("00")).replace(
            "{digest}", literal.format("00" * 32)
        )
        store._connection.exec_driver_sql(filled)

    monkeypatch.setattr(SqlLegacyManifests, "add", add_and_spoil)


@pytest.mark.parametrize("lost", LOST)
def test_migration_is_rolled_back_when_stored_data_differs(
    lost: str,
    migration: Migration,
    everything: Callable[[], list[Any]],
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library.tenant("there")
    before = everything()
    statement, message = LOST[lost]
    with monkeypatch.context() as patch:
        spoil(patch, statement)
        with pytest.raises(Internal, match=f"{message}.*nothing was migrated"):
            migration()
    assert everything() == before
    assert migration().counts.created == 3


def test_unexpected_tenant_rolls_back_migration(
    migration: Migration,
    everything: Callable[[], list[Any]],
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = everything()
    add = SqlLegacyManifests.add
    stranger = library.new_tenant("stranger")

    def add_one_more(store: SqlLegacyManifests, arrivals: Sequence[ImportedTenant]) -> None:
        add(store, arrivals)
        SqlTenantCatalog(store._connection).create(stranger)

    monkeypatch.setattr(SqlLegacyManifests, "add", add_one_more)
    with pytest.raises(Internal, match="found 4 tenants, expected 3; nothing was migrated"):
        migration()
    assert everything() == before


def test_overwritten_tenant_is_verified(
    migration: Migration, everything: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    migration()
    migration.source.put(2, "Renamed")
    before = everything()
    replace = SqlLegacyManifests.replace

    def replace_otherwise(store: SqlLegacyManifests, arrival: ImportedTenant) -> None:
        replace(store, arrival)
        store._connection.exec_driver_sql(
            "UPDATE tenants SET version = 9, qps_quota = 1 WHERE name = 'Renamed'"
        )

    monkeypatch.setattr(SqlLegacyManifests, "replace", replace_otherwise)
    with pytest.raises(Internal, match=r"2\.json was not stored unchanged; nothing was migrated"):
        migration(overwrite=True)
    assert everything() == before
    assert migration.get(2).name == "Tenant 2"


def test_missing_new_default_database_is_detected_despite_overwritten_tenant(
    migration: Migration, everything: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    migration()
    for number, name in ((2, "Renamed"), (4, "New")):
        migration.source.put(number, name)
    before = everything()
    with monkeypatch.context() as patch:
        spoil(patch, f"DELETE FROM databases WHERE {LAST}")
        with pytest.raises(Internal, match="1 databases are missing; nothing was migrated"):
            migration(overwrite=True)
    assert everything() == before
    verified = migration(overwrite=True).verification
    assert verified is not None
    assert verified.databases == 2
