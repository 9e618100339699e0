"""The adapters under test, and what a test needs beside them: a clock, IDs, raw SQL.

A suite is run against every adapter of its port: another one joins by one more name in `params`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import Clock, Library, RawSql, Shelf, make_ids

from akidb.documents.stores import SqliteTenantStores
from akidb.domain.ids import IdGenerator
from akidb.metadata.store import SqliteMetadataStore
from akidb.ports.documents import TenantStores
from akidb.ports.metadata import MetadataStore


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ids() -> IdGenerator:
    return make_ids()


@pytest.fixture(params=["sqlite"])
def metadata(tmp_path: Path) -> Iterator[MetadataStore]:
    store = SqliteMetadataStore(tmp_path / "metadata.db")
    yield store
    store.close()


@pytest.fixture
def raw(metadata: MetadataStore) -> RawSql:
    """Statements on the metadata store's own connection, past the repositories."""
    assert isinstance(metadata, SqliteMetadataStore)
    return RawSql(metadata._file)


@pytest.fixture
def library(metadata: MetadataStore, clock: Clock, ids: IdGenerator) -> Library:
    """Makes tenants, databases and collections in the metadata store."""
    return Library(metadata, clock, ids)


@pytest.fixture(params=["sqlite"])
def stores(tmp_path: Path) -> Iterator[TenantStores]:
    made = SqliteTenantStores(tmp_path, max_open=8)
    yield made
    made.close()


@pytest.fixture
def shelf(stores: TenantStores, clock: Clock, ids: IdGenerator) -> Shelf:
    """A tenant with a store that holds one empty collection of dimension 16."""
    return Shelf(stores, clock, ids)
