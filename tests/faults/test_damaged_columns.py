"""A wrong value in each column of the metadata: others are served exactly, and the damaged row is named."""

import io
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from damaged_metadata import KEY, Wrong, damage, pristine, reads, works, writes
from fault_tools import add_tenant, at, document, opened, unsound

from akidb.deployment.local import METADATA_NAME, LocalOperations, open_local, restore_local
from akidb.domain.errors import AkiDBError, Damaged
from akidb.domain.names import MAX_INTEGER
from akidb.metadata.tables import schema
from akidb.observe import context
from akidb.operations.archives import CreateBackup, ExportTenant
from akidb.operations.databases import CreateDatabase
from akidb.operations.documents import SearchDocuments, UpsertDocuments
from akidb.operations.tenants import GetTenant, ListTenants
from akidb.operations.upkeep import CheckStores
from akidb.operations.users import CreateUser
from akidb.settings import Settings
from akidb.sql.damage import STORED
from akidb.sql.types import Enumerated, JsonObject

SECRETS = ("seven", "a\\xffb", "\\x01\\x02\\x03", "lost")


IMPOSSIBLE = {("outbox", "sequence")}
"""It is the number of the row itself: no other type can be in the file."""


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


def beyond_bounds() -> Iterator[Wrong]:
    """Whole numbers that a column must not have."""
    for table in schema.tables.values():
        for column in table.columns:
            if "bounds" in column.info and (table.name, column.name) not in IMPOSSIBLE:
                least, greatest = column.info["bounds"]
                yield Wrong(table.name, column.name, str(least - 1))
                if greatest < MAX_INTEGER:
                    yield Wrong(table.name, column.name, str(greatest + 1))
                    yield Wrong(table.name, column.name, str(MAX_INTEGER))
            if column.name == "version":  # within the bounds, but no archive may have it
                yield Wrong(table.name, column.name, str(2**31))


def of_feeds() -> Iterator[Wrong]:
    """Whole numbers within the bounds that do not fit together."""
    yield Wrong("metadata_feeds", "sequence", "3")
    yield Wrong("metadata_feeds", "sequence", "99")
    yield Wrong("metadata_changes", "sequence", "99")
    yield Wrong("metadata_feeds", "tombstone_floor", "99")
    yield Wrong("metadata_feeds", "tenant_sequence", "99")


WRONG = [*wrong_values(), *beyond_bounds(), *of_feeds()]
USUAL = {
    Wrong("collections", "dimension", "4097"),
    Wrong("tenants", "version", "0"),
    Wrong("metadata_feeds", "sequence", "3"),
}
"""Numbers that are tried always."""


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
        name = f"{wrong.table}.{wrong.column}-{wrong.literal[:5]}"
        is_slow = kinds <= seen and wrong not in USUAL
        yield pytest.param(wrong, id=name, marks=[pytest.mark.slow] if is_slow else [])
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
