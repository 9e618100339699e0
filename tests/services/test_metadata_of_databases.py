"""Metadata of databases and collections: JSON of up to 64 KiB that goes wherever they go."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict

from akidb.domain.errors import AlreadyExists, InvalidArgument
from akidb.domain.json import MAX_SMALL_OBJECT_BYTES
from akidb.operations.archives import CopyTenant
from akidb.operations.changes import GetTenantChanges
from akidb.operations.collections import (
    CreateCollection,
    GetCollection,
    ListCollections,
    UpdateCollection,
)
from akidb.operations.databases import CreateDatabase, GetDatabase, ListDatabases, UpdateDatabase
from akidb.operations.upkeep import CheckStores
from akidb.ports.archive import Rows

from .archived import changed, exported, parts_of, put_together, take_in
from .worlds import World, opened

DATA: dict[str, Any] = {"owner": "日本", "nested": {"a": [1, None, {"b": 1.5}]}, "": True}
DATABASE: dict[str, Any] = {"tenant": "aki-labs", "database": "kb"}
NOTES: dict[str, Any] = {**DATABASE, "collection": "notes"}


@pytest.fixture
def filled(world: World) -> World:
    world.tenant()
    world.database(metadata=DATA)
    world.collection(metadata={"of": "notes"})
    return world


def metadata_of(world: World, tenant: str = "aki-labs") -> tuple[Any, Any]:
    database = world.ops.perform(GetDatabase(tenant=tenant, database="kb"))
    found = world.ops.perform(GetCollection(tenant=tenant, database="kb", collection="notes"))
    return database.metadata, found.metadata


def test_metadata_is_kept_and_replaced_as_a_whole(filled: World) -> None:
    world = filled
    assert metadata_of(world) == (DATA, {"of": "notes"})
    world.reopen()
    assert metadata_of(world) == (DATA, {"of": "notes"})
    before = world.ops.perform(GetDatabase(**DATABASE))
    assert world.ops.perform(UpdateDatabase(**DATABASE, metadata=DATA)) == before
    found = world.ops.perform(UpdateDatabase(**DATABASE, metadata={**DATA, "": 1}))
    assert found.version == before.version + 1  # 1 is not true
    world.ops.perform(UpdateDatabase(**DATABASE, metadata={"b": 1}))
    world.ops.perform(UpdateCollection(**NOTES, metadata={}))
    assert metadata_of(world) == ({"b": 1}, {})
    world.ops.perform(UpdateDatabase(**DATABASE, description="x"))
    assert [each.metadata for each in world.ops.perform(ListDatabases(tenant="aki-labs")).items] == [{"b": 1}]
    assert [each.metadata for each in world.ops.perform(ListCollections(**DATABASE)).items] == [{}]
    assert world.database(name="plain").metadata == {}
    assert world.collection(name="plain", metadata=None).metadata == {}
    assert [each for each in world.ops.perform(CheckStores()).items if not each.ok] == []


def test_metadata_is_in_the_change_feed(filled: World) -> None:
    changes = filled.ops.perform(GetTenantChanges(tenant="aki-labs")).changes
    databases = [each.database.metadata for each in changes if each.database is not None]
    collections = [each.collection.metadata for each in changes if each.collection is not None]
    assert (databases, collections) == ([DATA], [{"of": "notes"}])


LARGEST = {"x": "é" * ((MAX_SMALL_OBJECT_BYTES - 8) // 2)}
WRONG: list[tuple[Any, str]] = [
    ({"x": LARGEST["x"] + "y"}, "metadata"),
    ([1], "metadata"),
    ("{}", "metadata"),
    ({"x": float("nan")}, "metadata.x"),
    ({"x": "\0"}, "metadata.x"),
    ({1: 2}, "metadata"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG, ids=[each[1] + str(at) for at, each in enumerate(WRONG)])
def test_wrong_metadata_is_refused(filled: World, wrong: Any, field: str) -> None:
    for request in (
        CreateDatabase(tenant="aki-labs", name="new", metadata=wrong),
        UpdateDatabase(**DATABASE, metadata=wrong),
        CreateCollection(**DATABASE, name="new", dimension=3, metadata=wrong),
        UpdateCollection(**NOTES, metadata=wrong),
    ):
        with pytest.raises(InvalidArgument) as refused:
            filled.ops.perform(request)
        assert refused.value.field == field
    assert metadata_of(filled) == (DATA, {"of": "notes"})


def test_largest_metadata_is_kept(filled: World) -> None:
    filled.ops.perform(UpdateDatabase(**DATABASE, metadata=LARGEST))
    filled.ops.perform(UpdateCollection(**NOTES, metadata=LARGEST))
    assert metadata_of(filled) == (LARGEST, LARGEST)


@contextmanager
def elsewhere(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path / "elsewhere") as made:
        yield made


def test_archives_and_copies_carry_metadata(filled: World, tmp_path: Path) -> None:
    filled.ops.perform(CopyTenant(tenant="aki-labs", slug="copy"))
    assert metadata_of(filled, "copy") == (DATA, {"of": "notes"})
    with elsewhere(tmp_path) as other:
        take_in(other, exported(filled))
        assert metadata_of(other) == (DATA, {"of": "notes"})


def test_archive_of_an_older_version_has_none(filled: World, tmp_path: Path) -> None:
    """Before schema 0008 there was no such field."""
    header, parts = parts_of(exported(filled))

    def older(part: Any) -> Any:
        if not isinstance(part, Rows) or part.table not in {"databases", "collections"}:
            return part
        rows: list[Any] = [{n: v for n, v in asdict(row).items() if n != "metadata"} for row in part.rows]
        return Rows(part.table, rows)

    header = msgspec.structs.replace(header, metadata_schema="0007", documents_schema=4)
    with elsewhere(tmp_path) as other:
        take_in(other, put_together(header, [older(part) for part in parts]))
        assert metadata_of(other) == ({}, {})
        assert [each for each in other.ops.perform(CheckStores()).items if not each.ok] == []


@pytest.mark.parametrize("table", ["databases", "collections"])
def test_archive_with_too_large_metadata_is_refused(filled: World, tmp_path: Path, table: str) -> None:
    def change(part: Rows) -> Rows:
        if part.table != table:
            return part
        return Rows(table, [msgspec.structs.replace(part.rows[0], metadata={"x": "y" * 70_000})])

    archive = changed(exported(filled), Rows, change)
    with elsewhere(tmp_path) as other, pytest.raises(InvalidArgument) as refused:
        take_in(other, archive)
    assert refused.value.field == f"archive.{table}[0].metadata"


def test_get_or_create_compares_metadata(place: Path | str) -> None:
    import akidb

    with akidb.connect(place) as db:
        tenant = db.tenants.create("Aki Labs")
        kb = tenant.databases.get_or_create("kb", metadata={"a": 1})
        assert tenant.databases.get_or_create("kb", metadata={"a": 1}) == kb
        assert tenant.databases.get_or_create("kb") == kb
        with pytest.raises(AlreadyExists) as refused:
            tenant.databases.get_or_create("kb", metadata={"a": True})
        assert refused.value.fields["field"] == "metadata"
        notes = kb.collections.get_or_create("notes", dimension=2, metadata={"a": 1})
        assert notes.metadata == {"a": 1}
        with pytest.raises(AlreadyExists):
            kb.collections.get_or_create("notes", metadata={})
        assert kb.collections.update("notes", metadata={"b": 2}).metadata == {"b": 2}
        kb.update(metadata={})
        assert (kb.metadata, tenant.databases.get("kb").metadata) == ({}, {})
