"""Metadata with one wrong value in them, and what the damaged tenant and its sound neighbour are asked.

The values are put in with the checks of SQLite switched off, as flipped bytes leave them in a file.
"""

import atexit
import io
import shutil
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from fault_tools import add_tenant, at, document, opened

from akidb.deployment.local import METADATA_NAME, LocalOperations
from akidb.domain.documents import Page
from akidb.domain.entities import UserRole
from akidb.observe import context
from akidb.operations.archives import CopyTenant, ExportTenant
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
from akidb.operations.upkeep import MaintainStores
from akidb.operations.users import CountUsers, CreateUser, GetUser, ListUsers, UpdateUser
from akidb.sql.sqlite_library import library

KEY = "key of a request"


class Wrong(NamedTuple):
    """A value, as an SQL literal, that a column must not have."""

    table: str
    column: str
    literal: str


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
            "collections": "tenant_id = ? AND name = 'c'",
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
