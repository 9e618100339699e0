"""Upgrades from every released schema to the newest and back keep the schema and the data."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from descriptions import Description, describe, rows_of
from released import (
    AKI,
    METADATA,
    METADATA_VERSIONS,
    VECTORS,
    make_directory,
    make_metadata_database,
    make_metadata_file,
    make_tenant_file,
)

from akidb.deployment.local import open_local
from akidb.documents import schema as tenant_schema
from akidb.domain.errors import InvalidState
from akidb.domain.fields import CollectionPath
from akidb.domain.lifecycle import TenantStatus
from akidb.metadata import schema
from akidb.metadata.store import METADATA_SCHEMA
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import RestoreCollection
from akidb.operations.databases import CreateDatabase, RestoreDatabase
from akidb.operations.documents import ScanDocuments, SearchDocuments, UpsertDocuments
from akidb.operations.tenants import GetTenant, GetUsage, RestoreTenant
from akidb.operations.upkeep import CheckStores
from akidb.settings import Settings
from akidb.sql.database import SqlDatabase
from akidb.sql.files import create_file
from akidb.sql.postgresql import PostgresDatabase
from akidb.sql.sqlite import SqliteFile

ALL_VERSIONS = [f"{number:04}" for number in range(1, int(schema.HEAD) + 1)]
COLUMNS = {name: ", ".join(rows[0]) for name, rows in METADATA.items()}


class Sqlite:
    """Metadata stores on SQLite."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fresh(self) -> SqlDatabase:
        path = self._directory / "fresh.db"
        create_file(path)
        return SqliteFile(path)

    def released(self, version: str) -> SqlDatabase:
        path = self._directory / "released.db"
        make_metadata_file(path, version)
        return SqliteFile(path)


class Postgresql:
    """Metadata stores on PostgreSQL."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def fresh(self) -> SqlDatabase:
        return PostgresDatabase(self._server.empty(), METADATA_SCHEMA)

    def released(self, version: str) -> SqlDatabase:
        url = self._server.empty()
        make_metadata_database(url, version)
        return PostgresDatabase(url, METADATA_SCHEMA)


Place = Sqlite | Postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Sqlite(tmp_path)
    return Postgresql(request.getfixturevalue("postgres_server"))


@pytest.fixture
def fresh(place: Place) -> dict[str, Description]:
    """The schema of an empty store at each version."""
    with closing(place.fresh()) as database:
        described = {}
        for version in ALL_VERSIONS:
            schema.go(database, version)
            described[version] = describe(database)
    return described


@pytest.mark.parametrize("version", METADATA_VERSIONS)
def test_released_store_upgrades_to_newest_schema_with_its_data(
    place: Place, fresh: dict[str, Description], version: str
) -> None:
    with closing(place.released(version)) as database:
        assert describe(database) == fresh[version], "a step was changed after its release"
        before = rows_of(database, list(METADATA), COLUMNS)
        schema.bring_forward(database, expected=True)
        assert describe(database) == fresh[schema.HEAD]
        assert rows_of(database, list(METADATA), COLUMNS) == before


def test_each_step_can_be_downgraded_and_upgraded_again(place: Place, fresh: dict[str, Description]) -> None:
    with closing(place.released("0001")) as database:
        before = rows_of(database, list(METADATA), COLUMNS)
        for target in (*ALL_VERSIONS, *reversed(ALL_VERSIONS), *ALL_VERSIONS):
            schema.go(database, target)
            assert describe(database) == fresh[target], target
            assert rows_of(database, list(METADATA), COLUMNS) == before, target


def test_direct_upgrade_and_downgrade_give_same_schemas(place: Place, fresh: dict[str, Description]) -> None:
    with closing(place.released("0001")) as database:
        schema.go(database, schema.HEAD)
        schema.go(database, "0001")
        assert describe(database) == fresh["0001"]
        schema.go(database, schema.HEAD)
        assert describe(database) == fresh[schema.HEAD]


def test_released_tenant_file_upgrades_to_newest_schema(tmp_path: Path) -> None:
    create_file(tmp_path / "fresh.db")
    make_tenant_file(tmp_path / "released.db")
    with (
        closing(SqliteFile(tmp_path / "fresh.db")) as fresh,
        closing(SqliteFile(tmp_path / "released.db")) as released,
    ):
        tenant_schema.go(fresh, 1)
        assert describe(released) == describe(fresh), "a step was changed after its release"
        tenant_schema.bring_forward(fresh)
        tenant_schema.bring_forward(released)
        assert describe(released) == describe(fresh)


def test_released_directory_opens_and_works(tmp_path: Path) -> None:
    make_directory(tmp_path)
    operations = open_local(tmp_path, Settings(models_dir=str(tmp_path / "models")))
    try:
        assert [finding.detail for finding in operations.perform(CheckStores()).items if not finding.ok] == []
        tenant = operations.perform(GetTenant(tenant="aki-labs"))
        assert (tenant.name, tenant.metadata, tenant.version) == ("Café 日本語", {"plan": "pro"}, 2)
        assert tenant.tenant_id.raw == AKI.bytes
        assert operations.perform(GetTenant(tenant="quiet")).status == TenantStatus.SUSPENDED
        path = CollectionPath("aki-labs", "kb", "notes")
        assert [d.id for d in operations.perform(ScanDocuments(**path._asdict())).items] == ["a", "b"]
        [match] = operations.perform(SearchDocuments(**path._asdict(), vector=VECTORS[1], top_k=1)).matches
        assert (match.id, match.score) == ("b", 1.0)
        # What a crash had left in the outbox was applied: the quota is no longer 1 byte.
        operations.perform(
            UpsertDocuments(**path._asdict(), documents=[{"id": "c", "text": "new", "vector": VECTORS[0]}])
        )
        assert operations.perform(GetUsage(tenant="aki-labs")).documents == 3
        assert operations.perform(RestoreTenant(tenant="gone")).status == TenantStatus.ACTIVE
        assert (
            operations.perform(RestoreCollection(tenant="aki-labs", database="kb", collection="dropped")).name
            == "dropped"
        )
        assert (
            operations.perform(RestoreDatabase(tenant="aki-labs", database="old")).description
            == "What is known."
        )
        assert operations.perform(ListAuditEntries(tenant="aki-labs")).items[0].request_id == "first"
        with pytest.raises(InvalidState):
            operations.perform(CreateDatabase(tenant="quiet", name="new"))
    finally:
        operations.close()
