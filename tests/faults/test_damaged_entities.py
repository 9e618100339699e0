"""Damaged metadata: what backups leave out, what lists count, and how the damaged entities are removed."""

import io
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from damaged_metadata import Wrong, damage, pristine, works
from fault_tools import at, opened, unsound

from akidb.archive import FramedArchives
from akidb.deployment.local import METADATA_NAME
from akidb.domain.errors import Damaged
from akidb.domain.ids import TenantId
from akidb.operations.archives import CreateBackup
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import GetCollection, PurgeCollection
from akidb.operations.databases import CreateDatabase, GetDatabase, PurgeDatabase
from akidb.operations.tenants import CountTenants, CreateTenant, ListTenants, PurgeTenant
from akidb.operations.upkeep import CheckStores
from akidb.operations.users import DeleteUser, GetUser
from akidb.ports.archive import Summary
from akidb.sql.sqlite_library import library


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
