"""The change feed of a tenant's metadata in SQL: the recorded changes with their current entities.

Read-only: triggers in the schema write the feed. For deletions it has only the IDs.
"""

from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from akidb.domain.changes import ChangeType, FeedSlice, FeedState, MetadataChange
from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.domain.errors import Damaged
from akidb.domain.ids import CollectionId, DatabaseId, EntityId, TenantId, UserId
from akidb.metadata.tables import collections, databases, metadata_changes, metadata_feeds, tenants, users
from akidb.ports import wire
from akidb.sql.compiled import ROW_BYTES
from akidb.sql.damage import damaged_row
from akidb.sql.prepared import Prepared

_OF_TENANT = metadata_changes.c.tenant_id == sa.bindparam("tenant_id")
_SINCE = metadata_changes.c.sequence > sa.bindparam("since", type_=sa.BigInteger)
_IDS: dict[str, type[EntityId]] = {kind.entity: kind for kind in (TenantId, DatabaseId, CollectionId, UserId)}
_STATE = Prepared(
    sa.select(metadata_feeds.c.feed_id, metadata_feeds.c.sequence, metadata_feeds.c.tombstone_floor).where(
        metadata_feeds.c.tenant_id == sa.bindparam("tenant_id")
    )
)
_TENANT_SEQUENCE = Prepared(
    sa.select(metadata_feeds.c.tenant_sequence).where(
        metadata_feeds.c.tenant_id == sa.bindparam("tenant_id"),
        metadata_feeds.c.tenant_sequence > sa.bindparam("since", type_=sa.BigInteger),
    )
)
_TENANT = Prepared(
    sa.select(*(tenants.c[name] for name in Tenant.__struct_fields__)).where(
        tenants.c.tenant_id == sa.bindparam("tenant_id")
    ),
    Tenant,
)
_PAGE = Prepared(
    sa.select(
        metadata_changes.c.sequence,
        metadata_changes.c.entity,
        metadata_changes.c.entity_id,
        metadata_changes.c.deleted,
    )
    .where(_OF_TENANT, _SINCE)
    .order_by(metadata_changes.c.sequence)
    .limit(sa.bindparam("rows"))
)


def _entities(kind: type, table: sa.Table, key: str) -> Prepared:
    """Return a statement for the entities of one kind that changed between two sequences."""
    fields: tuple[str, ...] = kind.__struct_fields__  # type: ignore[attr-defined]
    return Prepared(
        sa.select(*(table.c[name] for name in fields))
        .select_from(metadata_changes.join(table, table.c[key] == metadata_changes.c.entity_id))
        .where(
            _OF_TENANT,
            _SINCE,
            metadata_changes.c.sequence <= sa.bindparam("last", type_=sa.BigInteger),
            metadata_changes.c.entity == sa.literal(kind.__name__.lower(), sa.Text),
            table.c.tenant_id == metadata_changes.c.tenant_id,
        ),
        kind,
    )


_ENTITIES = {
    "tenant": _TENANT,
    "database": _entities(Database, databases, "database_id"),
    "collection": _entities(Collection, collections, "collection_id"),
    "user": _entities(User, users, "user_id"),
}


class SqlMetadataFeed:
    """`akidb.ports.metadata.MetadataFeed`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def state(self, tenant_id: TenantId) -> FeedState | None:
        row = _STATE.first(self._connection, tenant_id=tenant_id)
        return None if row is None else FeedState(row[0].raw, row[1], row[2])

    def read(
        self, tenant_id: TenantId, since: int, limit: int, most_bytes: int | None = None
    ) -> FeedSlice[MetadataChange]:
        where: dict[str, Any] = {"tenant_id": tenant_id, "since": since}
        entries = self._entries(tenant_id, since, limit)
        more, entries = len(entries) > limit, entries[:limit]
        there = {each.entity for each in entries if not each.deleted}
        items = _Items(self._connection, {**where, "last": entries[-1].sequence if entries else since}, there)
        changes: list[MetadataChange] = []
        size = 0
        for entry in entries:
            error = entry.error or items.damaged.get((entry.entity, entry.id))
            if error is not None:
                if changes:
                    return FeedSlice(changes, changes[-1].sequence)
                error.fields["next_since"] = entry.sequence
                raise error
            if entry.deleted:
                values: dict[str, Any] = {"type": ChangeType.DELETE}
            elif (item := items.found.get((entry.entity, entry.id))) is not None:
                values = {"type": ChangeType.UPSERT, entry.entity: item}
            else:
                continue
            size += ROW_BYTES if most_bytes is None else len(wire.encode(values))
            if changes and most_bytes is not None and size > most_bytes:
                return FeedSlice(changes, changes[-1].sequence)
            changes.append(
                MetadataChange(sequence=entry.sequence, entity=entry.entity, id=entry.id, **values)
            )
        return FeedSlice(changes, entries[-1].sequence if more else None)

    def _entries(self, tenant_id: TenantId, since: int, limit: int) -> "list[_Entry]":
        """Return up to `limit` entries and one more, in order, also damaged ones."""
        where: dict[str, Any] = {"tenant_id": tenant_id, "since": since}
        errors: list[Damaged] = []
        raw = _PAGE.readable(self._connection, **where, rows=limit + 1, damaged=errors.append)
        found = [_entry(*row) for row in raw if row is not None]
        found += [_Entry(_sequence_of(error, since), "", "", False, error) for error in errors]
        for (sequence,) in _TENANT_SEQUENCE.all(self._connection, **where):
            found.append(_Entry(sequence, "tenant", str(tenant_id), False, None))
        return sorted(found, key=attrgetter("sequence"))[: limit + 1]


class _Entry(NamedTuple):
    """A recorded change, or the error for a damaged one."""

    sequence: int
    entity: str
    id: str
    deleted: bool
    error: Damaged | None


class _Items:
    """The entities that changed up to a sequence, and the errors of those that cannot be read."""

    def __init__(self, connection: sa.Connection, where: dict[str, Any], kinds: set[str]) -> None:
        self.found: dict[tuple[str, str], Any] = {}
        self.damaged: dict[tuple[str, str], Damaged] = {}
        for entity in kinds & _ENTITIES.keys():
            errors: list[Damaged] = []
            for item in _ENTITIES[entity].readable(connection, **where, damaged=errors.append):
                if item is not None:
                    self.found[entity, str(getattr(item, f"{entity}_id"))] = item
            self.damaged |= {(entity, str(error.fields["id"])): error for error in errors}


def _entry(sequence: int, entity: str, entity_id: EntityId, deleted: int) -> _Entry:
    kind = _IDS.get(entity)
    if kind is None:
        error = damaged_row("metadata_changes", str(sequence), None, "entity")
        return _Entry(sequence, entity, "", False, error)
    return _Entry(sequence, entity, str(kind(entity_id.raw)), bool(deleted), None)


def _sequence_of(error: Damaged, since: int) -> int:
    """Return the sequence of a damaged entry, from its key."""
    text = str(error.fields["id"]).rpartition("/")[2]
    return int(text) if text.isdecimal() else since + 1
