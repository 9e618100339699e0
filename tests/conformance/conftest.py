"""Adapters under test, and shared fixtures: clock, IDs, raw SQL.

Each suite runs against every adapter of its port. To add an adapter, add its name to `params`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import Clock, Library, RawSql, Shelf, make_ids

from akidb.documents.postgresql import PostgresTenantStores
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.ids import IdGenerator
from akidb.metadata.store import PostgresMetadataStore, SqliteMetadataStore, SqlMetadataStore
from akidb.ports.metadata import MetadataStore
from akidb.ports.stores import TenantStores


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ids() -> IdGenerator:
    return make_ids()


@pytest.fixture(params=["sqlite", "postgresql"])
def metadata(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlMetadataStore]:
    store = (
        SqliteMetadataStore(tmp_path / "metadata.db")
        if request.param == "sqlite"
        else PostgresMetadataStore(request.getfixturevalue("postgres_url"))
    )
    yield store
    store.close()


@pytest.fixture
def raw(metadata: SqlMetadataStore) -> RawSql:
    """Execute raw SQL on the metadata store's connection, bypassing the repositories."""
    return RawSql(metadata._database)


@pytest.fixture
def library(metadata: MetadataStore, clock: Clock, ids: IdGenerator) -> Library:
    """Create tenants, databases and collections in the metadata store."""
    return Library(metadata, clock, ids)


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TenantStores]:
    made: TenantStores
    if request.param == "sqlite":
        made = SqliteTenantStores(tmp_path, max_open=8)
    else:
        made = PostgresTenantStores(request.getfixturevalue("postgres_url"), max_open=8)
    yield made
    made.close()


@pytest.fixture
def shelf(stores: TenantStores, clock: Clock, ids: IdGenerator) -> Shelf:
    """A tenant whose store has one empty collection of dimension 16."""
    return Shelf(stores, clock, ids)
