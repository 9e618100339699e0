"""Conflicts with deleted entities, which keep their names and external IDs until they are purged.

The error says so, and how to get the name back: `already_exists` alone would contradict `not_found`.
"""

from datetime import timedelta
from typing import Any

from akidb.domain.entities import Collection, Database, Tenant
from akidb.domain.errors import AkiDBError, AlreadyExists
from akidb.domain.ids import TenantId
from akidb.ports.metadata import MetadataStore, MetadataTransaction

Entity = Tenant | Database | Collection


def explained(
    error: AlreadyExists, metadata: MetadataStore, request: Any, retention: timedelta
) -> AlreadyExists:
    """Return the error for a value that a deleted entity has; the same error if none has it."""
    entity, field, value = (str(error.fields[name]) for name in ("entity", "field", "value"))
    if "deleted_at" in error.fields:
        return error
    try:
        with metadata.read() as tx:
            holder = _deleted_holder(tx, request, entity, field, value)
            swept = holder is not None and not _was_deleted_in_1x(tx, holder)
    except AkiDBError:  # purged meanwhile, damaged or unavailable: the conflict remains
        return error
    if holder is None or holder.deleted_at is None:
        return error
    found = held_by_deleted(entity, field, value, holder, None if not swept else retention)
    for note in getattr(error, "__notes__", ()):
        found.add_note(note)
    return found


def held_by_deleted(
    entity: str, field: str, value: str, holder: Entity, retention: timedelta | None
) -> AlreadyExists:
    """Return the error for a value that `holder` has, which is not purged by itself without `retention`."""
    deleted_at = holder.deleted_at
    assert deleted_at is not None
    purge_at = None if retention is None else deleted_at + retention
    until = "" if purge_at is None else f", not before {_shown(purge_at)}"
    id = str(getattr(holder, f"{entity}_id"))
    way_out = f"restore or purge {entity} {id}, or take another {field}"
    if field == f"{entity}_id":  # of an archive
        way_out = f"restore {entity} {id}, or use new_ids"
    error = AlreadyExists(
        entity,
        field,
        value,
        message=f"a deleted {entity} has the {field} {value!r}: it was deleted {_shown(deleted_at)}, and"
        f" keeps it until it is purged{until}; {way_out}",
    )
    error.fields |= {
        "id": id,
        "deleted_at": _shown(deleted_at),
        "purge_at": None if purge_at is None else _shown(purge_at),
    }
    return error


def _deleted_holder(
    tx: MetadataTransaction, request: Any, entity: str, field: str, value: str
) -> Entity | None:
    if entity == "tenant":
        if field in {"slug", "tenant_id"}:
            return tx.tenants.find(value if field == "slug" else TenantId.parse(value), deleted=True)
        if field == "external_id":
            page = tx.tenants.list(status=None, external_id=value, deleted=True, limit=1, cursor=None)
            return page.items[0] if page.items else None
        return None
    if field != "name" or entity not in {"database", "collection"}:  # users are not kept
        return None
    if not hasattr(request, "tenant"):  # twice in the archive of an import
        return None
    owner = tx.tenants.get(request.tenant)
    if entity == "database":
        return tx.databases.find(owner.tenant_id, value, deleted=True)
    parent = tx.databases.get(owner.tenant_id, request.database)
    return tx.collections.find(owner.tenant_id, parent.database_id, value, deleted=True)


def _was_deleted_in_1x(tx: MetadataTransaction, holder: Entity) -> bool:
    """Whether it is not swept, since it was deleted in 1.x and not changed since."""
    if not isinstance(holder, Tenant) or holder.version > 1:
        return False
    known = tx.legacy_manifests.standing([holder.tenant_id])
    found = known.get(holder.tenant_id)
    return found is not None and found.sha256 is not None


def _shown(time: Any) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
