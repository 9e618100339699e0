"""Conflicts between an archive and stored data, and how they are reported."""

from collections.abc import Sequence
from typing import NoReturn

from akidb.domain.archives import ImportConflict, ImportReport
from akidb.domain.entities import Tenant
from akidb.domain.errors import AkiDBError, AlreadyExists, Damaged, InvalidState
from akidb.ports.archive import TENANT_TABLES, Rows, TenantRecord
from akidb.ports.metadata import MetadataTransaction
from akidb.services.archive_checks import Contents

IDS_AT_ONCE = 500


def find_conflicts(tx: MetadataTransaction, contents: Contents) -> list[ImportConflict]:
    """Find what prevents an import: IDs that are taken or purged, a taken slug, a taken external ID."""
    found = []
    for table in TENANT_TABLES:
        rows = contents.rows[table]
        for at in range(0, len(rows), IDS_AT_ONCE):
            known = tx.records.known_ids(Rows(table, rows[at : at + IDS_AT_ONCE]))
            found += [
                ImportConflict(field=f"{table.removesuffix('s')}_id", value=value, reason=reason)
                for value, reason in known
            ]
    tenant = contents.tenant
    if not is_free_slug(tx, tenant.slug):
        found.append(taken("slug", tenant.slug))
    external_id = tenant.external_id
    if external_id is not None and not _free_external_id(tx, external_id):
        found.append(taken("external_id", external_id))
    return found


def taken(field: str, value: str) -> ImportConflict:
    """Return the conflict for a value that is taken."""
    return ImportConflict(field=field, value=value, reason="taken")


def is_free_slug(tx: MetadataTransaction, slug: str) -> bool:
    """Whether no tenant has that slug, deleted ones included."""
    try:
        return not any(tx.tenants.find(slug, deleted=deleted) for deleted in (False, True))
    except Damaged:
        return False


def _free_external_id(tx: MetadataTransaction, external_id: str) -> bool:
    return not any(
        tx.tenants.count(external_id=external_id, deleted=deleted)  # also damaged ones
        for deleted in (False, True)
    )


def refuse(conflicts: Sequence[ImportConflict]) -> None:
    """Raise the error of the first conflict."""
    for conflict in conflicts:
        _raise(conflict, len(conflicts) - 1)


def _raise(conflict: ImportConflict, more: int) -> NoReturn:
    entity = conflict.field.removesuffix("_id") if conflict.field.endswith("_id") else "tenant"
    entity = "tenant" if entity == "external" else entity
    error: AkiDBError
    if conflict.reason == "purged":
        error = InvalidState(entity, "purged", "import", [])
        error.message = error.public = (
            f"{entity} {conflict.value} was purged here and cannot be imported again with its ID: use new_ids"
        )
        error.args = (error.message,)
    else:
        error = AlreadyExists(entity, conflict.field, conflict.value)
    if more:
        error.add_note(f"{more} more conflicts; a dry run lists them")
    raise error


def report_of(contents: Contents, conflicts: list[ImportConflict], *, dry_run: bool) -> ImportReport:
    """Return the report of an import, or of its dry run."""
    return ImportReport(
        tenant=_entity(contents.tenant),
        dry_run=dry_run,
        conflicts=conflicts,
        databases=len(contents.rows["databases"]),
        collections=len(contents.rows["collections"]),
        users=len(contents.rows["users"]),
        documents=contents.counts.get("documents", 0),
    )


def _entity(record: TenantRecord) -> Tenant:
    return Tenant(**{name: getattr(record, name) for name in Tenant.__struct_fields__})
