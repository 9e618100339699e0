"""Untrusted archives: any rule violation is rejected by its path, and nothing is stored."""

import hashlib
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from akidb.domain.entities import AuditResult
from akidb.domain.errors import AkiDBError, InvalidArgument, Unavailable
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import AuditEntryId, CollectionId, DatabaseId, TenantId
from akidb.operations.archives import ImportTenant
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import GetTenant, ListTenants, SuspendTenant
from akidb.operations.upkeep import CheckStores
from akidb.ports.archive import (
    AuditRecord,
    CollectionImage,
    Documents,
    LegacyRecord,
    Rows,
    StoreHead,
    Tombstones,
)
from akidb.services.archive_checks import check_rows

from .archived import (
    backed_up,
    changed,
    files_of,
    parts_of,
    put_together,
    refused,
    small_archive,
    with_neighbour,
)
from .worlds import World, notes

NOTES = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return small_archive(tmp_path_factory.mktemp("origin") / "data")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with with_neighbour(tmp_path / "data") as made:
        yield made


def _row(table: str, **fields: Any) -> Callable[[bytes], bytes]:
    """Change the first row of a table."""

    def change(part: Rows) -> Rows:
        if part.table != table:
            return part
        return Rows(table, [replace(part.rows[0], **fields), *part.rows[1:]])

    return lambda archive: changed(archive, Rows, change)


def _image(**fields: Any) -> Callable[[bytes], bytes]:
    return lambda archive: changed(archive, CollectionImage, lambda part: replace(part, **fields))


def _column(name: str, at: int, value: Any) -> Callable[[bytes], bytes]:
    def change(part: Documents) -> Documents:
        column = list(getattr(part, name))
        column[at] = value
        columns: dict[str, Any] = {name: column}
        return part._replace(**columns)

    return lambda archive: changed(archive, Documents, change)


def _vector(at: int, *numbers: float) -> Callable[[bytes], bytes]:
    def change(part: Documents) -> Documents:
        vectors = part.vectors.copy()
        vectors[at] = numbers if len(numbers) > 1 else np.full(vectors.shape[1], numbers[0])
        return part._replace(vectors=vectors)

    return lambda archive: changed(archive, Documents, change)


def _tombstones(**fields: Any) -> Callable[[bytes], bytes]:
    return lambda archive: changed(archive, Tombstones, lambda part: replace(part, **fields))


OTHER = TenantId(bytes(15) + b"\x01")
BEFORE_YEAR_1 = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
AFTER_YEAR_9999 = datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))
TOO_DEEP = "{" + '"a":{' * 100 + "}" * 101


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_row("tenants", slug="../../etc/passwd"), "archive.tenants[0].slug"),
        (_row("tenants", slug="A"), "archive.tenants[0].slug"),
        (_row("tenants", name="a\nb"), "archive.tenants[0].name"),
        (_row("tenants", name=""), "archive.tenants[0].name"),
        (_row("tenants", external_id="a\0b"), "archive.tenants[0].external_id"),
        (_row("tenants", storage_quota_bytes=-1), "archive.tenants[0].storage_quota_bytes"),
        (_row("tenants", qps_quota=2**63), "archive.tenants[0].qps_quota"),
        (_row("tenants", version=0), "archive.tenants[0].version"),
        (_row("tenants", version=2**31 - 1), "archive.tenants[0].version"),
        (_row("users", version=2**63 - 1), "archive.users[0].version"),
        (_image(version=2**31 - 1), "archive.*.version"),
        (_row("tenants", metadata={"a": "\0"}), "archive.tenants[0].metadata.a"),
        (_row("tenants", created_at=datetime(2026, 1, 1)), "archive.tenants[0].created_at"),  # noqa: DTZ001
        (_row("tenants", created_at=BEFORE_YEAR_1), "archive.tenants[0].created_at"),
        (_row("tenants", deleted_at=AFTER_YEAR_9999), "archive.tenants[0].deleted_at"),
        (_row("users", last_login_at=AFTER_YEAR_9999), "archive.users[0].last_login_at"),
        (_row("databases", name="a/b"), "archive.databases[0].name"),
        (_row("databases", description="x" * 4097), "archive.databases[0].description"),
        (_row("databases", tenant_id=OTHER), "archive.databases[0].tenant_id"),
        (_row("collections", tenant_id=OTHER), "archive.collections[0].tenant_id"),
        (_row("collections", database_id=DatabaseId(bytes(16))), "archive.collections[0].database_id"),
        (_row("collections", dimension=0), "archive.collections[0].dimension"),
        (_row("collections", hnsw_m=1), "archive.collections[0].hnsw_m"),
        (_row("collections", embedding_model="a\0"), "archive.collections[0].embedding_model"),
        (_row("collections", embedding_model="x" * 1025), "archive.collections[0].embedding_model"),
        (
            _row("collections", embedding_fingerprint="x" * 1025),
            "archive.collections[0].embedding_fingerprint",
        ),
        (_row("tenants", placement="x" * 1025), "archive.tenants[0].placement"),
        (_row("users", tenant_id=OTHER), "archive.users[0].tenant_id"),
        (_row("users", email="no address"), "archive.users[0].email"),
        (_row("users", email_key="else@example.com"), "archive.users[0].email_key"),
        (_row("users", password_hash="x"), "archive.users[0].password_hash"),
        (_image(collection_id=CollectionId(bytes(16))), f"archive.{CollectionId(bytes(16))}"),
        (_image(dimension=17), "archive.*.vectors"),
        (_image(dimension=2**40), "archive.*.dimension"),
        (_image(metric="dot"), "archive.*"),
        (_image(sequence=5), "archive.*"),
        (_image(sequence=-1), "archive.*.sequence"),
        (_image(sequence=2**62 + 1), "archive.*.sequence"),
        (_image(sequence=2**62, tombstone_floor=2**62 + 1), "archive.*.tombstone_floor"),
        (_image(tombstone_floor=100), "archive.*.tombstone_floor"),
        (_image(tombstone_floor=11), "archive.*"),
        (_image(document_count=10), "archive.*.document_count"),
        (_image(storage_used_bytes=1), "archive.*.storage_used_bytes"),
        (_image(database_id=DatabaseId(bytes(16))), "archive.*"),
        (_column("ids", 3, "n4"), "archive.*.documents"),
        (_column("ids", 3, ""), "archive.*.documents[3].id"),
        (_column("ids", 3, "x" * 513), "archive.*.documents[3].id"),
        (_column("ids", 3, "a\0b"), "archive.*.documents[3].id"),
        (_column("texts", 3, "a\0b"), "archive.*.documents[3].text"),
        (_column("texts", 3, "x" * (2**20 + 1)), "archive.*.documents[3].text"),
        (_column("metadata", 3, "[]"), "archive.*.documents[3].metadata"),
        (_column("metadata", 3, "{"), "archive.*.documents[3].metadata"),
        (_column("metadata", 3, '{"b":1,"a":2}'), "archive.*.documents[3].metadata"),
        (_column("metadata", 3, '{"a":1,"a":1}'), "archive.*.documents[3].metadata"),
        (_column("metadata", 3, '{"a":NaN}'), "archive.*.documents[3].metadata"),
        (_column("metadata", 3, '{"a":"\\u0000"}'), "archive.*.documents[3].metadata.a"),
        (_column("metadata", 3, TOO_DEEP), "archive.*.documents[3].metadata*"),
        (_column("sequences", 3, 3), "archive.*"),
        (_column("sequences", 3, 0), "archive.*"),
        (_column("sequences", 8, 10**6), "archive.*"),
        (_column("sequences", 8, 2**70), "archive"),
        (_vector(3, np.nan), "archive.*.documents[3].vector"),
        (_vector(3, np.inf), "archive.*.documents[3].vector"),
        (_vector(3, 0.0), "archive.*.documents[3].vector"),
        (_vector(3, 1e30), "archive.*.documents[3].vector"),
        (_tombstones(sequences=[99]), "archive.*"),
        (_tombstones(sequences=[1, 2]), "archive.*.tombstones"),
        (_tombstones(ids=[""]), "archive.*.tombstones[0].id"),
        (lambda archive: changed(archive, StoreHead, lambda _: StoreHead(tenant_id=OTHER)), "archive.store"),
        (lambda archive: _with_rows(archive, "tenants", 0), "archive.tenants"),
        (lambda archive: _with_rows(archive, "tenants", 2), "archive.tenants"),
        (lambda archive: _with_rows(archive, "collections", 0), "archive.*"),
        (lambda archive: archive[:-50], "archive"),
        (lambda archive: archive + b"\0", "archive"),
        (lambda archive: _of_kind(archive, "tennis"), "archive"),
        (lambda archive: archive[:30] + bytes([archive[30] ^ 1]) + archive[31:], "archive"),
        (lambda _: b"", "archive"),
        (lambda _: b"SQLite format 3\0" + bytes(4096), "archive"),
    ],
)
def test_rule_violation_is_rejected_by_path(
    change: Callable[[bytes], bytes], field: str, archive: bytes, world: World
) -> None:
    error = refused(world, change(archive))
    assert isinstance(error, InvalidArgument)
    begin, _, end = field.partition("*")
    assert error.field.startswith(begin), error.field
    assert error.field.endswith(end.rstrip("*")) or end.endswith("*"), error.field


def _of_kind(archive: bytes, kind: Any) -> bytes:
    header, parts = parts_of(archive)
    return put_together(replace(header, kind=kind), parts)


def _with_rows(archive: bytes, table: str, times: int) -> bytes:
    header, parts = parts_of(archive)
    made: list[Any] = []
    for part in parts:
        made += [part] * (times if isinstance(part, Rows) and part.table == table else 1)
    return put_together(header, made)


def test_duplicate_rows_are_rejected(archive: bytes, world: World) -> None:
    for table in ("databases", "collections", "users"):
        before = files_of(world.directory)
        with pytest.raises(AkiDBError):
            world.ops.perform(ImportTenant(), source=io.BytesIO(_with_rows(archive, table, 2)))
        assert [tenant.slug for tenant in world.ops.perform(ListTenants()).items] == ["neighbour"]
        after = files_of(world.directory)
        assert before.keys() == after.keys()  # a transaction was begun, and nothing of it is left
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


def test_backup_archive_is_rejected_by_import(world: World) -> None:
    error = refused(world, backed_up(world))
    assert "akidb restore" in error.message


def test_file_modified_between_its_two_reads_is_rejected(archive: bytes, world: World) -> None:
    class Altered(io.BytesIO):
        """Another archive, as good as the first, from the second reading on."""

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.__init__(_column("texts", 3, "text of ab")(archive))  # type: ignore[misc]
            return super().seek(offset, whence)

    with pytest.raises(Unavailable, match="changed while it was read"):
        world.ops.perform(ImportTenant(), source=Altered(archive))
    assert [tenant.slug for tenant in world.ops.perform(ListTenants()).items] == ["neighbour"]
    assert len(list((world.directory / "tenants").glob("*.db"))) <= 1
    assert world.ops.perform(ImportTenant(), source=io.BytesIO(archive)).documents == 9


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"path": b"../../etc/cron.d/x"}, "path"),
        ({"path": b"/etc/passwd"}, "path"),
        ({"path": b"a//b"}, "path"),
        ({"path": b"a\0b"}, "path"),
        ({"manifest": b"{}"}, "sha256"),
        ({"slug": "A/B"}, "slug"),
    ],
)
def test_1x_manifest_with_invalid_field_is_rejected(fields: dict[str, Any], field: str) -> None:
    manifest = b'{"tenant_id":"x"}'
    row: Any = LegacyRecord(
        tenant_id=OTHER,
        path="t/ä.json".encode(),
        manifest=manifest,
        sha256=hashlib.sha256(manifest).digest(),
        slug="aki-labs",
        migrated_at=datetime(2026, 1, 31, tzinfo=UTC),
    )
    check_rows(Rows("legacy_manifests", [row]))
    with pytest.raises(InvalidArgument) as caught:
        check_rows(Rows("legacy_manifests", [replace(row, **fields)]))
    assert caught.value.field == f"archive.legacy_manifests[0].{field}"


def test_audit_metadata_that_cannot_be_stored_is_rejected() -> None:
    row: Any = AuditRecord(
        audit_entry_id=AuditEntryId(bytes(16)),
        tenant_id=OTHER,
        action="tenant.create",
        resource_type="tenant",
        resource_id=str(OTHER),
        result=AuditResult.ALLOWED,
        metadata={"role": "admin"},
        created_at=datetime(2026, 1, 31, tzinfo=UTC),
    )
    check_rows(Rows("audit_entries", [row]))
    with pytest.raises(InvalidArgument) as caught:
        check_rows(Rows("audit_entries", [replace(row, metadata={"a": "\0"})]))
    assert caught.value.field == "archive.audit_entries[0].metadata.a"


def test_timestamps_with_any_offset_keep_their_instant(archive: bytes, world: World) -> None:
    at = datetime(2026, 1, 31, 18, 15, tzinfo=timezone(timedelta(hours=9)))
    report = world.ops.perform(ImportTenant(), source=io.BytesIO(_row("tenants", created_at=at)(archive)))
    assert world.ops.perform(GetTenant(tenant="aki-labs")).created_at == datetime(
        2026, 1, 31, 9, 15, tzinfo=UTC
    )
    assert report.tenant.created_at == at


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_minimum_and_maximum_timestamps_are_imported(at: datetime, archive: bytes, world: World) -> None:
    world.ops.perform(ImportTenant(), source=io.BytesIO(_row("tenants", created_at=at)(archive)))
    assert [
        tenant.created_at for tenant in world.ops.perform(ListTenants()).items if tenant.slug == "aki-labs"
    ] == [at]


def test_maximum_versions_and_sequences_are_imported_and_stay_writable(archive: bytes, world: World) -> None:
    archive = _row("tenants", version=2**31 - 2)(_row("collections", version=2**31 - 2)(archive))
    world.ops.perform(ImportTenant(), source=io.BytesIO(_image(version=2**31 - 2, sequence=2**62)(archive)))
    world.on(NOTES, UpsertDocuments, documents=notes("new"))
    assert world.on(NOTES, CountDocuments) == 10
    assert world.ops.perform(SuspendTenant(tenant="aki-labs")).version == 2**31 - 1


def _hash(memory_kib: int, passes: int, lanes: int, salt: str = "c2FsdHNhbHQ", tag: str = "A" * 43) -> str:
    return f"$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${tag}"


@pytest.mark.parametrize(
    ("password_hash", "taken"),
    [
        (_hash(64 * 1024, 3, 4), True),
        (_hash(256 * 1024, 10, 16), True),
        (_hash(8, 1, 1), True),
        (_hash(256 * 1024 + 1, 1, 1), False),
        (_hash(9999999, 1, 1), False),
        (_hash(1024, 11, 1), False),
        (_hash(1024, 1, 17), False),
        (_hash(1024, 0, 1), False),
        (_hash(1024, 1, 0), False),
        (_hash(15, 1, 2), False),
        (_hash(1024, 1, 1, salt="c2FsdA"), False),
        (_hash(1024, 1, 1, salt="A" * 87), False),
        (_hash(1024, 1, 1, tag="A" * 21), False),
        (_hash(1024, 1, 1, tag="A" * 87), False),
    ],
)
def test_password_hash_cost_is_bounded(password_hash: str, taken: bool, archive: bytes, world: World) -> None:
    changed_archive = _row("users", password_hash=password_hash)(archive)
    if taken:
        assert world.ops.perform(ImportTenant(dry_run=True), source=io.BytesIO(changed_archive)).users == 1
        return
    error = refused(world, changed_archive)
    assert isinstance(error, InvalidArgument)
    assert error.field == "archive.users[0].password_hash"
