"""The change feed of a tenant's metadata in SQL: the recorded changes with their current entities.

Read-only: triggers in the schema write the feed. For deletions it has only the IDs.
"""

from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from akidb.domain.changes import ChangeType, FeedSlice, FeedState, MetadataChange
from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.domain.ids import CollectionId, DatabaseId, EntityId, TenantId, UserId
from akidb.metadata.tables import collections, databases, metadata_changes, metadata_feeds, tenants, users
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

    def read(self, tenant_id: TenantId, since: int, limit: int) -> FeedSlice[MetadataChange]:
        where: dict[str, Any] = {"tenant_id": tenant_id, "since": since}
        rows = _PAGE.all(self._connection, **where, rows=limit + 1)
        for (sequence,) in _TENANT_SEQUENCE.all(self._connection, **where):
            rows = sorted([*rows, [sequence, "tenant", EntityId(tenant_id.raw), 0]], key=itemgetter(0))
        more, rows = len(rows) > limit, rows[:limit]
        there = {row[1] for row in rows if not row[3]}
        found = {
            (entity, getattr(item, f"{entity}_id").raw): item
            for entity in there
            for item in _ENTITIES[entity].readable(self._connection, **where, last=rows[-1][0])
            if item is not None
        }
        changes = []
        for sequence, entity, entity_id, deleted in rows:
            id = str(_IDS[entity](entity_id.raw))
            if deleted:
                changes.append(
                    MetadataChange(sequence=sequence, type=ChangeType.DELETE, entity=entity, id=id)
                )
            elif (item := found.get((entity, entity_id.raw))) is not None:
                values = {"type": ChangeType.UPSERT, "entity": entity, "id": id, entity: item}
                changes.append(MetadataChange(sequence=sequence, **values))
        return FeedSlice(changes, rows[-1][0] if more else None)
