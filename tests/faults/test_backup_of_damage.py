"""After any wrong value a backup leaves that tenant out and says so, or restores with every tenant."""

import io
import shutil
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
import pytest
from damaged_metadata import Wrong, damage, pristine
from fault_tools import add_tenant, at, documents, opened, unsound
from wrong_values import OF_TYPE, columns, put, tables

import akidb
from akidb.archive import FramedArchives
from akidb.deployment.local import METADATA_NAME, LocalOperations, open_local, restore_local
from akidb.documents import archive_image
from akidb.domain.archives import BackupReport
from akidb.domain.errors import AkiDBError, Damaged, Unavailable
from akidb.domain.ids import TenantId
from akidb.metadata.tables import schema
from akidb.observe.context import request as keyed
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant, ImportTenant
from akidb.operations.audit import ListAuditEntries
from akidb.operations.documents import CountDocuments, DeleteDocuments, UpsertDocuments
from akidb.operations.tenants import GetTenant, ListTenants
from akidb.ports.archive import RECORDS, StoreHead
from akidb.ports.conflicts import MachineFailure
from akidb.settings import Settings
from akidb.sql.damage import STORED
from akidb.sql.sqlite_library import library
from api.running import process

H: dict[str, Any] = at("hurt")._asdict()
MORE: dict[str, dict[str, str]] = {
    "INTEGER": {"none": "0", "largest": "9223372036854775807", "dimension": "17", "next": "{c} + 1"},
    "TEXT": {"metric": "'l2'", "state": "'deleting'", "status": "'suspended'", "longer": "{c} || 'x'"},
    "BLOB": {"other ID": "x'07070707070707070707070707070707'"},
}
REFUSED = {"damaged", "unavailable", "not_found", "invalid_state"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed directory with two tenants that have the same in their stores. Copy it."""
    directory = tmp_path_factory.mktemp("stored")
    with opened(directory) as operations:
        for slug in ("hurt", "sound"):
            fill(operations, slug)
    return directory


def fill(operations: LocalOperations, slug: str) -> None:
    add_tenant(operations, slug, "c", "e")
    path: dict[str, Any] = at(slug)._asdict()
    operations.perform(UpsertDocuments(**path, documents=documents(6)))
    operations.perform(UpsertDocuments(**at(slug, "e")._asdict(), documents=documents(3)))
    operations.perform(DeleteDocuments(**path, ids=["x4", "x5"]))
    with keyed(idempotency_key="k"):
        operations.perform(UpsertDocuments(**path, documents=documents(1)))


def store_of(directory: Path, slug: str = "hurt") -> Path:
    with closing(library.connect(directory / METADATA_NAME)) as connection:
        (raw,) = connection.execute("SELECT tenant_id FROM tenants WHERE slug = ?", (slug,)).fetchone()
    return directory / "tenants" / f"{TenantId(raw)}.db"


def backed_up(operations: LocalOperations) -> tuple[BackupReport, io.BytesIO]:
    sink = io.BytesIO()
    report: BackupReport = operations.perform(CreateBackup(), sink=sink)
    sink.seek(0)
    return report, sink


def counts(operations: LocalOperations, slug: str) -> list[int | str]:
    found: list[int | str] = []
    for name in ("c", "e"):
        try:
            found.append(operations.perform(CountDocuments(**at(slug, name)._asdict())))
        except AkiDBError as error:
            found.append(error.code)
    return found


def keeps_its_word(directory: Path, folder: Path, hurt: str, case: str) -> bool:
    """Back up, export and copy; return whether the tenant is in the backup."""
    with opened(directory) as operations:
        report, archive = backed_up(operations)
        left_out = {str(each) for each in report.tenants_left_out}
        # Also a tenant that there is only by a wrong value.
        assert {each for each in left_out if not each.startswith(("01010101", "07"))} <= {hurt}, case
        exported = io.BytesIO()
        refusals: list[tuple[str, str]] = []
        for request, ends in (
            (ExportTenant(tenant=hurt), {"sink": exported}),
            (CopyTenant(tenant=hurt, slug="copy"), {}),
        ):
            try:
                operations.perform(request, **ends)
            except AkiDBError as caught:
                refusals.append((caught.code, caught.message))
                if ends:
                    assert exported.getvalue() == b"", case
        assert {code for code, _ in refusals} <= REFUSED, (case, refusals)
        expected = {slug: counts(operations, slug) for slug in ("hurt", "sound")}
        copies = [each.tenant_id for each in operations.perform(ListTenants()).items if each.slug == "copy"]
        wrong = unsound(operations)
        for copy in copies:
            assert not any(str(copy) in line for line in wrong), (case, wrong)
    restored, other = folder / "restored", folder / "other"
    with archive:
        restore_local(restored, Settings(), archive)
    with opened(restored) as operations:
        listed = operations.perform(ListTenants()).items
        deleted = operations.perform(ListTenants(deleted=True)).items
        found = {str(each.tenant_id): each.slug for each in (*listed, *deleted)}
        assert (hurt in found) == (hurt not in left_out), (case, found)
        assert unsound(operations) == [], case
        assert counts(operations, "sound") == expected["sound"], case
        if found.get(hurt) == "hurt" and all(type(count) is int for count in expected["hurt"]):
            assert counts(operations, "hurt") == expected["hurt"], case
    if exported.getvalue():
        exported.seek(0)
        with opened(other) as operations:
            operations.perform(ImportTenant(), source=exported)
            assert unsound(operations) == [], case
    shutil.rmtree(restored)
    shutil.rmtree(other, ignore_errors=True)
    return hurt not in left_out


@pytest.mark.slow
@pytest.mark.parametrize("table", tables())
def test_any_wrong_value_in_a_store_is_left_out_or_restored(table: str, stored: Path, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    hurt = store_of(stored).stem
    outcomes = set()
    for column, kind in columns(store_of(stored), table):
        for name, expression in (OF_TYPE[kind] | MORE[kind]).items():
            shutil.copytree(stored, directory)
            if put(store_of(directory), table, column, expression.format(c=column)):
                outcomes.add(keeps_its_word(directory, tmp_path, hurt, f"{table}.{column} {name}"))
            shutil.rmtree(directory)
    assert outcomes == ({True} if table == "remembered_answers" else {True, False})


USUAL = (
    ("collections", "document_count", "3"),
    ("collections", "storage_used_bytes", "3"),
    ("collections", "sequence", "1"),
    ("collections", "sequence", "4611686018427387904"),
    ("collections", "database_id", "x'05050505050505050505050505050505'"),
    ("collections", "metric", "'l2'"),
    ("documents", "collection_key", "77"),
    ("documents", "text", "text || 'x'"),
    ("documents", "size_bytes", "0"),
    ("tombstones", "id", "'y'"),
    ("control", "tenant_status", "'lost'"),
)


@pytest.mark.parametrize(("table", "column", "expression"), USUAL)
def test_wrong_value_in_a_store_is_left_out_or_restored(
    table: str, column: str, expression: str, stored: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "data"
    shutil.copytree(stored, directory)
    assert put(store_of(directory), table, column, expression)
    is_in = keeps_its_word(directory, tmp_path, store_of(stored).stem, f"{table}.{column}")
    assert is_in == (column == "size_bytes")


IN_METADATA = (
    Wrong("collections", "dimension", "17"),
    Wrong("collections", "metric", "'l2'"),
    Wrong("collections", "embedding_fingerprint", "'f'"),
    Wrong("tenant_stores", "tenant_id", "x'01010101010101010101010101010101'"),
    Wrong("tenant_stores", "store_id", "x'01010101010101010101010101010101'"),
    Wrong("tenants", "status", "'decommissioned'"),
    Wrong("users", "created_by", "x'07070707070707070707070707070707'"),
)


@pytest.mark.parametrize("wrong", IN_METADATA, ids=lambda wrong: f"{wrong.table}.{wrong.column}")
def test_wrong_value_in_metadata_is_left_out(wrong: Wrong, tmp_path: Path) -> None:
    assert not with_wrong_metadata(wrong, tmp_path)


def with_wrong_metadata(wrong: Wrong, folder: Path) -> bool:
    directory = folder / "data"
    shutil.copytree(pristine(), directory)
    try:
        hurt = damage(directory / METADATA_NAME, wrong)
        return keeps_its_word(directory, folder, hurt, str(wrong))
    finally:
        shutil.rmtree(directory)


@pytest.mark.slow
@pytest.mark.parametrize("table", [*RECORDS, "tenant_stores", "outbox"])
def test_any_wrong_value_in_metadata_is_left_out_or_restored(table: str, tmp_path: Path) -> None:
    names = {int: "INTEGER", str: "TEXT", bytes: "BLOB"}
    for column in schema.tables[table].columns:
        kind = names[STORED[type(column.type)]]
        for expression in (OF_TYPE[kind] | MORE[kind]).values():
            try:
                with_wrong_metadata(Wrong(table, column.name, expression.format(c=column.name)), tmp_path)
            except library.IntegrityError:  # of an index, or of the type of a row's number
                continue


def test_backup_over_http_names_damaged_tenants(stored: Path, tmp_path: Path) -> None:
    """Also one that is found after the header was sent."""
    directory = tmp_path / "data"
    with opened(directory) as operations:
        for number in range(3):
            slug = f"t{number}"
            fill(operations, slug)
            if number < 2:  # more than is sent at once, before the last
                big = [{**each, "text": token_hex(100_000)} for each in documents(4, prefix="big")]
                operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=big))
    damaged = store_of(directory, "t2")
    assert put(damaged, "documents", "text", "text || 'x'")
    with process(directory) as served, akidb.connect(served.url) as db:
        report = db.backup(tmp_path / "backup")
    assert [str(each) for each in report.tenants_left_out] == [damaged.stem]
    assert report.tenants_left_out_count == 1
    with (tmp_path / "backup").open("rb") as archive:
        restore_local(tmp_path / "restored", Settings(), archive)
    with opened(tmp_path / "restored") as operations:
        assert {each.slug for each in operations.perform(ListTenants()).items} == {"t0", "t1"}


def test_damage_found_midway_is_passed_over(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of the store before is not restored, and not counted."""
    monkeypatch.setattr(archive_image, "PART_ROWS", 1)
    directory = tmp_path / "data"
    shutil.copytree(stored, directory)
    damaged = store_of(directory)
    with closing(library.connect(damaged)) as connection:
        connection.execute("UPDATE documents SET text = 'x' WHERE id = 'x3'")
        connection.commit()
    with opened(directory) as operations:
        report, archive = backed_up(operations)
        assert [str(each) for each in report.tenants_left_out] == [damaged.stem]
        expected = counts(operations, "sound")
    reader = FramedArchives().reader(archive, room_bytes=10**9)
    heads = {str(part.tenant_id) for part in reader if isinstance(part, StoreHead)}
    assert damaged.stem in heads
    archive.seek(0)
    told = restore_local(tmp_path / "restored", Settings(), archive)
    assert (told["stores"], told["documents"], told["tenants_left_out"]) == (1, sum(map(int, expected)), 1)
    with opened(tmp_path / "restored") as operations:
        assert [each.slug for each in operations.perform(ListTenants()).items] == ["sound"]
        assert counts(operations, "sound") == expected
        assert unsound(operations) == []


def test_id_that_occurs_twice_is_left_out(stored: Path, tmp_path: Path) -> None:
    """Such as in rows of older versions, which have no checksums, where the index has another value."""
    directory = tmp_path / "data"
    shutil.copytree(stored, directory)
    with closing(library.connect(store_of(directory), isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'sqlite_autoindex_documents_1'")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'UNIQUE (collection_key, id),', '')"
            " WHERE name = 'documents'"
        )
        connection.execute(
            "UPDATE sqlite_master SET name = 'sqlite_autoindex_documents_1'"
            " WHERE name = 'sqlite_autoindex_documents_2'"
        )
    with closing(library.connect(store_of(directory), isolation_level=None)) as connection:
        connection.execute("UPDATE documents SET id = 'x2', content_checksum = NULL WHERE id = 'x1'")
    assert not keeps_its_word(directory, tmp_path, store_of(stored).stem, "twice")


def test_what_concerns_every_store_leaves_nobody_out(stored: Path, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(stored, directory)
    with opened(directory) as operations:
        scratch = directory / "tenants" / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.write_bytes(b"")  # where the copies of stores are made
        with pytest.raises(MachineFailure):
            backed_up(operations)
        scratch.unlink()
        assert backed_up(operations)[0].is_complete


class Ending:
    """A sink that ends the server's other sessions at its first write."""

    def __init__(self, url: str) -> None:
        self.url: str | None = url

    def write(self, data: bytes, /) -> None:
        del data
        if self.url is not None:
            with psycopg.connect(self.url) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid != pg_backend_pid()"
                )
            self.url = None


def test_lost_connection_leaves_nobody_out(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_image, "PART_ROWS", 1)
    with closing(open_local(postgres_url, Settings())) as operations:
        for slug in ("t0", "t1"):
            fill(operations, slug)
        try:
            report: BackupReport = operations.perform(CreateBackup(), sink=Ending(postgres_url))
        except Unavailable:
            return
        assert report.is_complete


def broken_page(path: Path) -> None:
    """Overwrite the pages with the texts, as a failing disk does."""
    content = bytearray(path.read_bytes())
    for at_page in range(4096 * 4, len(content), 4096):
        content[at_page : at_page + 64] = b"\xa5" * 64
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["pages", "missing", "another's", "not a database"])
def test_unreadable_store_is_left_out(how: str, stored: Path, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(stored, directory)
    path = store_of(directory)
    if how == "pages":
        broken_page(path)
    elif how == "missing":
        path.unlink()
    elif how == "another's":
        shutil.copy(store_of(directory, "sound"), path)
    else:
        path.write_bytes(b"not a database" * 1000)
    assert not keeps_its_word(directory, tmp_path, path.stem, how)
    with opened(directory) as operations:
        entries = operations.perform(ListAuditEntries(tenant=TenantId.parse(path.stem), limit=1000)).items
        assert [(entry.result, entry.reason) for entry in entries if entry.action == "backup.create"] == [
            ("allowed", None),
            ("denied", "unavailable"),
        ]
        for request, ends in (
            (ExportTenant(tenant="hurt"), {"sink": io.BytesIO()}),
            (CopyTenant(tenant="hurt", slug="b"), {}),
        ):
            with pytest.raises(Unavailable, match=path.stem):
                operations.perform(request, **ends)


def test_copy_of_a_store_with_wrong_totals_is_refused(stored: Path, tmp_path: Path) -> None:
    """Which are copied with the file, while an archive does not have them."""
    directory = tmp_path / "data"
    shutil.copytree(stored, directory)
    with closing(library.connect(store_of(directory))) as connection:
        connection.execute("UPDATE control SET storage_used_bytes = storage_used_bytes + 7")
        connection.commit()
    with opened(directory) as operations:
        with pytest.raises(Unavailable, match="counted as"):
            operations.perform(CopyTenant(tenant="hurt", slug="b"))
        operations.perform(ExportTenant(tenant="hurt"), sink=io.BytesIO())


def test_damaged_store_on_postgresql_is_left_out(postgres_url: str, tmp_path: Path) -> None:
    with closing(open_local(postgres_url, Settings())) as operations:
        for slug in ("hurt", "sound"):
            fill(operations, slug)
        hurt = operations.perform(GetTenant(tenant="hurt")).tenant_id
        database: Any = operations._runtime.tenant_stores._database  # type: ignore[attr-defined]
        changes = (
            ("documents", "text = text || 'x'", Damaged),
            ("documents", "text = left(text, -1)", None),
            ("collections", "document_count = document_count + 1", Unavailable),
            ("collections", "document_count = document_count - 1", None),
            ("collections", "metric = 'dot'", Unavailable),
        )
        for table, change, error in changes:
            with database.write() as connection:
                connection.exec_driver_sql(f"UPDATE {table} SET {change} WHERE tenant_id = %s", (str(hurt),))
            report, archive = backed_up(operations)
            assert report.tenants_left_out == ([] if error is None else [hurt]), change
            if error is not None:
                with pytest.raises(error):
                    operations.perform(ExportTenant(tenant="hurt"), sink=io.BytesIO())
                with pytest.raises(error):
                    operations.perform(CopyTenant(tenant="hurt", slug="b"))
            restore_local(tmp_path / f"{table} {change}", Settings(), archive)
