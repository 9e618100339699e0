"""How many tombstones are kept: a bound in sequences for each collection, one in bytes for the tenant.

They are not charged to the storage quota, since a tenant that has used it up must be able to delete. So they
take a share of it beside the documents, however many collections there are.
"""

from contextlib import closing

import sqlalchemy as sa

from akidb.documents.statements import TenantSql
from akidb.ports.documents import CollectionControl
from akidb.sql.answers import limit_bytes

TOMBSTONES_KEPT = 100_000
"""Sequences for which tombstones are kept; a reader that is further behind starts over."""
AT_ONCE = 1_000
"""Rows that PostgreSQL sends at a time."""


def discard_old(connection: sa.Connection, sql: TenantSql, control: CollectionControl, sequence: int) -> None:
    """Discard the tombstones beyond both bounds, after deletions in a collection, now at `sequence`."""
    floor = sequence - TOMBSTONES_KEPT
    if floor > control.tombstone_floor:
        discard(connection, sql, control.collection_key, floor)
    taken, quota = sql.statements.deletions_taken.first(connection, **sql.own)
    limit = limit_bytes(quota)
    if taken > limit:
        _discard_bytes(connection, sql, taken - limit + limit // 8)


def _discard_bytes(connection: sa.Connection, sql: TenantSql, excess: int) -> None:
    """Discard tombstones of so many bytes: the oldest of the collections that have the most.

    All are counted for it, which is paid for by the many deletions until the bound is reached again.
    """
    for key, _size in sql.statements.deletions_of_collections.rows(connection, **sql.own):
        floor = 0
        rows = sql.statements.oldest_deletions.stream(
            connection, at_once=AT_ONCE, collection_key=key, **sql.own
        )
        with closing(rows) as oldest:
            for sequence, bytes in oldest:
                if excess <= 0 or type(sequence) is not int:
                    break
                floor = sequence
                excess -= bytes
        if floor:
            discard(connection, sql, key, floor)
        if excess <= 0:
            return


def discard(connection: sa.Connection, sql: TenantSql, collection_key: int, floor: int) -> None:
    """Discard the tombstones up to a sequence: readers that are further behind start over."""
    parameters = {**sql.own, "key": collection_key, "floor": floor}
    sql.statements.forget_tombstones.run(connection, parameters)
    sql.statements.raise_floor.run(connection, parameters)
