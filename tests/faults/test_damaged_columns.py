"""A wrong value in each column of the metadata: others are served exactly, and the damaged row is named.

The values are put in with the checks of SQLite switched off, as flipped bytes leave them in a file.
"""

import atexit
import io
import shutil
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import pytest
from fault_tools import add_tenant, at, document, opened, unsound

from akidb.archive import FramedArchives
from akidb.deployment.local import METADATA_NAME, LocalOperations, open_local, restore_local
from akidb.domain.documents import Page
from akidb.domain.entities import UserRole
from akidb.domain.errors import AkiDBError, Damaged
from akidb.domain.ids import TenantId
from akidb.metadata.tables import schema
from akidb.observe import context
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant
from akidb.operations.audit import ListAuditEntries
from akidb.operations.changes import GetTenantChanges
from akidb.operations.collections import (
    CreateCollection,
    DeleteCollection,
    GetCollection,
    ListCollections,
    PurgeCollection,
    UpdateCollection,
)
from akidb.operations.databases import (
    CountDatabases,
    CreateDatabase,
    DeleteDatabase,
    GetDatabase,
    ListDatabases,
    PurgeDatabase,
    RestoreDatabase,
    UpdateDatabase,
)
from akidb.operations.documents import CountDocuments, SearchDocuments, UpsertDocuments
from akidb.operations.tenants import (
    CountTenants,
    CreateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    ListTenants,
    PurgeTenant,
    RestoreTenant,
    UpdateTenant,
)
from akidb.operations.upkeep import CheckStores, MaintainStores
from akidb.operations.users import CountUsers, CreateUser, DeleteUser, GetUser, ListUsers, UpdateUser
from akidb.ports.archive import Summary
from akidb.settings import Settings
from akidb.sql.damage import STORED
from akidb.sql.sqlite_library import library
from akidb.sql.types import Enumerated, JsonObject

KEY = "key of a request"
SECRETS = ("seven", "a\\xffb", "\\x01\\x02\\x03", "lost")


IMPOSSIBLE = {("outbox", "sequence")}
"""It is the number of the row itself: no other type can be in the file."""


class Wrong(NamedTuple):
    """A value, as an SQL literal, that a column must not have."""

    table: str
    column: str
    literal: str


def wrong_values() -> Iterator[Wrong]:
    for table in schema.tables.values():
        for column in table.columns:
            kind = type(column.type)
            if (table.name, column.name) in IMPOSSIBLE:
                continue
            if STORED[kind] is int:
                yield Wrong(table.name, column.name, "'seven'")
            elif STORED[kind] is bytes:
                yield Wrong(table.name, column.name, "7")
            else:
                yield Wrong(table.name, column.name, "CAST(x'61ff62' AS TEXT)")
                if kind in {Enumerated, JsonObject} or kind.__name__ == "Instant":
                    yield Wrong(table.name, column.name, "'lost'")
                else:
                    yield Wrong(table.name, column.name, "x'010203'")


WRONG = list(wrong_values())


@cache
def pristine() -> Path:
    """A closed directory with two tenants that have everything, and the rows that only crashes leave."""
    folder = Path(mkdtemp(prefix="akidb-columns-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    directory = folder / "data"
    with opened(directory) as operations:
        for slug in ("hurt", "sound"):
            add_tenant(operations, slug, "c", external_id=f"x-{slug}", metadata={"of": slug})
            operations.perform(CreateUser(tenant=slug, email=f"u@{slug}", password="correct horse"))
            operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=[document(slug)]))
        with context.request(idempotency_key=KEY):
            operations.perform(CreateDatabase(tenant="hurt", name="kept"))
        operations.perform(CreateDatabase(tenant="hurt", name="gone"))
        operations.perform(DeleteDatabase(tenant="hurt", database="gone"))
        operations.perform(PurgeDatabase(tenant="hurt", database="gone"))
    with closing(library.connect(directory / METADATA_NAME)) as connection:
        (raw,) = connection.execute("SELECT tenant_id FROM tenants WHERE slug = 'hurt'").fetchone()
        connection.execute(
            "INSERT INTO outbox (tenant_id, subject, subject_id) VALUES (?, 'tenant', ?)", (raw, raw)
        )
        connection.execute(
            "INSERT INTO legacy_manifests SELECT tenant_id, x'61', x'7b7d', ?, slug, created_at"
            " FROM tenants WHERE slug = 'hurt'",
            (bytes.fromhex("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),),
        )
        connection.commit()
    return directory


def damage(path: Path, wrong: Wrong) -> str:
    """Put the value into one row that belongs to the tenant `hurt`; return the tenant's ID."""
    with closing(library.connect(path)) as connection:
        run = connection.execute
        (raw,) = run("SELECT tenant_id FROM tenants WHERE slug = 'hurt'").fetchone()
        kept = run("SELECT rowid, name, tbl_name, rootpage, sql, type FROM sqlite_master").fetchall()
        run("PRAGMA writable_schema = ON")
        run("DELETE FROM sqlite_master WHERE type = 'trigger'")
        run("UPDATE sqlite_master SET sql = replace(replace(sql, ') STRICT, ', ') '), ') STRICT', ')')")
        connection.commit()
    with closing(library.connect(path)) as connection:
        run = connection.execute
        run("PRAGMA ignore_check_constraints = ON")
        one = {
            "purged": "entity_id = (SELECT min(entity_id) FROM purged)",
            "audit_entries": "audit_entry_id = (SELECT min(audit_entry_id) FROM audit_entries)",
            "metadata_changes": "tenant_id = ? AND entity = 'user'",
            "databases": "tenant_id = ? AND name = 'd'",
        }.get(wrong.table, "tenant_id = ?")
        changed = run(
            f"UPDATE {wrong.table} SET {wrong.column} = {wrong.literal} WHERE {one}",
            (raw,) if "?" in one else (),
        )
        assert changed.rowcount == 1
        run("PRAGMA writable_schema = ON")
        for rowid, name, table, rootpage, sql, kind in kept:
            if kind == "trigger":
                values = (rowid, kind, name, table, rootpage, sql)
                run(
                    "INSERT INTO sqlite_master (rowid, type, name, tbl_name, rootpage, sql)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    values,
                )
            else:
                run("UPDATE sqlite_master SET sql = ? WHERE rowid = ?", (sql, rowid))
        connection.commit()
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def reads(tenant: str) -> list[Any]:
    """Requests that change nothing."""
    path: Any = at(tenant)._asdict()
    return [
        GetTenant(tenant=tenant),
        GetUsage(tenant=tenant),
        ListDatabases(tenant=tenant),
        CountDatabases(tenant=tenant),
        GetDatabase(tenant=tenant, database="d"),
        ListCollections(tenant=tenant, database="d"),
        GetCollection(**path),
        ListUsers(tenant=tenant),
        CountUsers(tenant=tenant),
        GetUser(tenant=tenant, user=f"u@{tenant}"),
        ListAuditEntries(tenant=tenant),
        GetTenantChanges(tenant=tenant, limit=1000),
        SearchDocuments(**path, vector=document(tenant)["vector"], top_k=3),
        CountDocuments(**path),
    ]


def writes(tenant: str) -> list[Any]:
    """Requests that change something, and bring back what they took away."""
    path: Any = at(tenant)._asdict()
    return [
        UpdateTenant(tenant=tenant, name="new name"),
        UpdateDatabase(tenant=tenant, database="d", description="new"),
        UpdateCollection(**path, max_document_count=1000),
        UpdateUser(tenant=tenant, user=f"u@{tenant}", role=UserRole.ADMIN),
        UpsertDocuments(**path, documents=[document("another")]),
        CreateDatabase(tenant=tenant, name="e"),
        CreateCollection(tenant=tenant, database="e", name="f", dimension=16),
        DeleteCollection(tenant=tenant, database="e", collection="f"),
        PurgeCollection(tenant=tenant, database="e", collection="f"),
        DeleteDatabase(tenant=tenant, database="e"),
        RestoreDatabase(tenant=tenant, database="e"),
        DeleteDatabase(tenant=tenant, database="e"),
        PurgeDatabase(tenant=tenant, database="e"),
        DeleteTenant(tenant=tenant),
        RestoreTenant(tenant=tenant),
        CopyTenant(tenant=tenant, slug=f"{tenant}-2"),
        DeleteTenant(tenant=f"{tenant}-2"),
        PurgeTenant(tenant=f"{tenant}-2"),
    ]


def works(operations: LocalOperations) -> None:
    """The sound tenant can do everything."""
    for request in [*reads("sound"), *writes("sound")]:
        answer = operations.perform(request)
        if isinstance(answer, Page):
            assert not answer.damaged or isinstance(request, ListAuditEntries)
    operations.perform(ExportTenant(tenant="sound"), sink=io.BytesIO())
    listed = operations.perform(ListTenants())
    assert "sound" in {tenant.slug for tenant in listed.items}
    assert len(listed.items) + (listed.damaged or 0) == operations.perform(CountTenants())
    operations.perform(CreateTenant(name="third", slug="third"))
    operations.perform(MaintainStores())


def is_clear(operations: LocalOperations, wrong: Wrong) -> None:
    """The damaged tenant gets answers, or errors that say what it is."""
    requests = [*reads("hurt"), *writes("hurt")]
    with context.request(idempotency_key=KEY):
        _try(operations, CreateDatabase(tenant="hurt", name="kept"), wrong)
    for request in requests:
        _try(operations, request, wrong)
    _try(operations, ExportTenant(tenant="hurt"), wrong, sink=io.BytesIO())


CODES = {"damaged", "not_found", "idempotency_mismatch", "already_exists", "unavailable", "invalid_state"}


def _try(operations: LocalOperations, request: Any, wrong: Wrong, **ends: Any) -> None:
    raised: AkiDBError | None = None
    try:
        operations.perform(request, **ends)
    except AkiDBError as error:
        raised = error
    if raised is not None:
        assert raised.code in CODES, (request, raised.code, raised.message)
        assert not any(secret in f"{raised.message} {raised.fields}" for secret in SECRETS), raised.message
        if raised.code == "unavailable":
            assert wrong.table in {"tenant_stores", "collections", "tenants"}, raised.message


def cases() -> Iterator[Any]:
    """One column of each table, and one of each type; the others are slow together."""
    seen: set[object] = set()
    for wrong in WRONG:
        kinds = {wrong.table, type(schema.tables[wrong.table].c[wrong.column].type)}
        name = f"{wrong.table}.{wrong.column}-{wrong.literal[:3]}"
        yield pytest.param(wrong, id=name, marks=[pytest.mark.slow] if kinds <= seen else [])
        seen |= kinds


@pytest.mark.parametrize("wrong", list(cases()))
def test_wrong_value_concerns_its_own_tenant_only(wrong: Wrong, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(pristine(), directory)
    hurt = damage(directory / METADATA_NAME, wrong)
    with opened(directory) as operations:
        found = unsound(operations)
        assert found, "doctor does not see it"
        assert not any(secret in line for secret in SECRETS for line in found)
        sink = io.BytesIO()
        report = operations.perform(CreateBackup(), sink=sink)
        works(operations)
        is_clear(operations, wrong)
        operations.perform(CheckStores())
    sink.seek(0)
    restored = tmp_path / "restored"
    restore_local(restored, Settings(), sink)
    with opened(restored) as operations:
        slugs = {tenant.slug for tenant in operations.perform(ListTenants()).items}
        assert slugs == ({"sound"} if report.tenants_left_out else {"hurt", "sound"})
        assert {str(each) for each in report.tenants_left_out} <= {hurt}
        assert unsound(operations) == []
        [found_document] = operations.perform(
            SearchDocuments(**at("sound")._asdict(), vector=document("sound")["vector"], top_k=1)
        ).matches
        assert found_document.id == "sound"


def test_damaged_tenant_on_postgresql_concerns_itself_only(postgres_url: str) -> None:
    """Its types and checks leave no way to such a row, but a superuser has."""
    with closing(open_local(postgres_url, Settings())) as operations:
        for slug in ("hurt", "sound"):
            add_tenant(operations, slug, "c")
            operations.perform(CreateUser(tenant=slug, email=f"u@{slug}", password="correct horse"))
            operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=[document(slug)]))
        hurt = operations.perform(GetTenant(tenant="hurt")).tenant_id
        database: Any = operations._runtime.metadata._database  # type: ignore[attr-defined]
        with database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE tenants DROP CONSTRAINT tenants_status")
            connection.exec_driver_sql("UPDATE tenants SET status = 'lost' WHERE slug = 'hurt'")
        assert any(f"tenant {hurt} cannot be read" in line for line in unsound(operations))
        sink = io.BytesIO()
        assert operations.perform(CreateBackup(), sink=sink).tenants_left_out == [hurt]
        works(operations)
        with pytest.raises(Damaged) as caught:
            operations.perform(GetTenant(tenant="hurt"))
        assert (caught.value.fields["id"], caught.value.fields["damaged_field"]) == (str(hurt), "status")


def test_backup_says_what_it_leaves_out(tmp_path: Path) -> None:
    """In its report, in the audit of the tenant, in the log and in the archive."""
    directory = tmp_path / "data"
    shutil.copytree(pristine(), directory)
    hurt = damage(directory / METADATA_NAME, Wrong("tenants", "metadata", "'lost'"))
    damage(directory / METADATA_NAME, Wrong("audit_entries", "reason", "CAST(x'61ff62' AS TEXT)"))
    sink = io.BytesIO()
    with opened(directory) as operations:
        report = operations.perform(CreateBackup(), sink=sink)
        assert ([str(each) for each in report.tenants_left_out], report.rows_left_out) == ([hurt], 1)
        entries = operations.perform(ListAuditEntries(tenant=TenantId.parse(hurt), limit=1000)).items
        last = entries[-1]
        assert (last.action, last.result, last.reason) == ("backup.create", "denied", "damaged")
        assert not any(entry.reason == "damaged" for entry in entries[:-1])
    *_, summary = FramedArchives().reader(io.BytesIO(sink.getvalue()), room_bytes=2**30)
    assert isinstance(summary, Summary)
    assert ([str(each) for each in summary.left_out], summary.rows_left_out) == ([hurt], 1)


def test_lists_count_what_they_leave_out_on_each_page(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with opened(directory) as operations:
        for number in range(6):
            operations.perform(CreateTenant(name=f"t{number}", slug=f"t{number}"))
    with closing(library.connect(directory / METADATA_NAME)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE tenants SET metadata = '{' WHERE slug IN ('t1', 't2', 't5')")
        connection.commit()
    with opened(directory) as operations:
        for limit in (1, 2, 3, 6):
            slugs, damaged, cursor = [], 0, None
            while True:
                page = operations.perform(ListTenants(limit=limit, cursor=cursor))
                slugs += [tenant.slug for tenant in page.items]
                damaged += page.damaged or 0
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert (slugs, damaged) == (["t0", "t3", "t4"], 3)
        assert operations.perform(CountTenants()) == 6


def test_damaged_entities_can_be_removed_by_their_ids(tmp_path: Path) -> None:
    """Not by names, and not with a version: neither can be compared."""
    directory = tmp_path / "data"
    shutil.copytree(pristine(), directory)
    with opened(directory) as operations:
        user_id = operations.perform(GetUser(tenant="hurt", user="u@hurt")).user_id
        collection = operations.perform(GetCollection(**at("hurt")._asdict()))
        operations.perform(CreateDatabase(tenant="hurt", name="e"))
        database_id = operations.perform(GetDatabase(tenant="hurt", database="e")).database_id
    for table, column, where in (
        ("users", "email", "email_key = 'u@hurt'"),
        ("collections", "metric", "tenant_id = (SELECT tenant_id FROM tenants WHERE slug = 'hurt')"),
        ("databases", "state", "name = 'e'"),
    ):
        with closing(library.connect(directory / METADATA_NAME)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            wrong = "CAST(x'61ff62' AS TEXT)" if table == "users" else "'lost'"
            connection.execute(f"UPDATE {table} SET {column} = {wrong} WHERE {where}")
            connection.commit()
    with opened(directory) as operations:
        assert len(unsound(operations)) > 0
        for refused in (
            DeleteUser(tenant="hurt", user=user_id, if_version=1),
            PurgeDatabase(tenant="hurt", database="e"),
            PurgeCollection(**at("hurt")._asdict()),
        ):
            with pytest.raises(Damaged):
                operations.perform(refused)
        operations.perform(DeleteUser(tenant="hurt", user=user_id))
        operations.perform(PurgeDatabase(tenant="hurt", database=database_id))
        operations.perform(PurgeCollection(tenant="hurt", database="d", collection=collection.collection_id))
        operations.perform(CheckStores())
        assert operations.perform(CreateBackup(), sink=io.BytesIO()).is_complete
    hurt = TenantId.parse(damage(directory / METADATA_NAME, Wrong("tenants", "metadata", "'lost'")))
    with opened(directory) as operations:
        with pytest.raises(Damaged):
            operations.perform(PurgeTenant(tenant="hurt"))
        operations.perform(PurgeTenant(tenant=hurt))
        assert operations.perform(CreateBackup(), sink=io.BytesIO()).is_complete
        assert unsound(operations) == []
        works(operations)
        last = operations.perform(ListAuditEntries(tenant=hurt, limit=1000)).items[-1]
        assert (last.action, last.reason) == ("tenant.purge", "damaged")
