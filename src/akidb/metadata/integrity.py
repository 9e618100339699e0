"""Finds unreadable rows: values that the constraints forbid, written while bypassing them.

Lists skip such rows; this reports them, for `akidb doctor`. It repairs nothing.
"""

from collections.abc import Iterator
from itertools import islice

import sqlalchemy as sa

from akidb.domain.names import fold_name
from akidb.metadata.tables import (
    answer_totals,
    metadata_changes,
    metadata_feeds,
    remembered_answers,
    schema,
    tenants,
)
from akidb.sql.answers import ROW_BYTES
from akidb.sql.damage import shown_key
from akidb.sql.prepared import Prepared

MAX_NAMED = 100

_ALL = {name: Prepared(sa.select(*table.c)) for name, table in schema.tables.items()}
_TOTALS = Prepared(
    sa.select(answer_totals.c.tenant_id)
    .where(
        answer_totals.c.bytes
        != sa.select(
            sa.func.coalesce(sa.func.sum(sa.func.length(remembered_answers.c.answer) + ROW_BYTES), 0)
        )
        .where(remembered_answers.c.tenant_id == answer_totals.c.tenant_id)
        .scalar_subquery()
    )
    .order_by(answer_totals.c.tenant_id)
)
# Every change gets the next sequence of its feed, in the row of the feed or in one of its own.
_NEWEST = sa.func.coalesce(
    sa.select(sa.func.max(metadata_changes.c.sequence))
    .where(metadata_changes.c.tenant_id == metadata_feeds.c.tenant_id)
    .scalar_subquery(),
    0,
)
_FEEDS = Prepared(
    sa.select(metadata_feeds.c.tenant_id)
    .where(
        sa.or_(
            metadata_feeds.c.sequence
            != sa.case(
                (metadata_feeds.c.tenant_sequence > _NEWEST, metadata_feeds.c.tenant_sequence), else_=_NEWEST
            ),
            metadata_feeds.c.tombstone_floor > metadata_feeds.c.sequence,
        )
    )
    .order_by(metadata_feeds.c.tenant_id)
)
# Raw IDs, not converted: rows with unreadable values are reported above.
_NAMES = Prepared(
    sa.select(sa.type_coerce(tenants.c.tenant_id, sa.types.NullType), tenants.c.name, tenants.c.name_folded)
)


def find_faults(connection: sa.Connection) -> list[str]:
    """Return the faults found in metadata rows. The connection must be in a transaction."""
    return list(islice(_faults(connection), MAX_NAMED))


def _faults(connection: sa.Connection) -> Iterator[str]:
    for statement in _ALL.values():
        for error in statement.faults(connection):
            fields = error.fields
            yield f"{fields['entity']} {fields['id']} cannot be read (its {fields['damaged_field']})"
    for row in _TOTALS.readable(connection):
        if row is not None:
            yield f"the total of the stored responses of tenant {row[0]} is wrong"
    for row in _FEEDS.readable(connection):
        if row is not None:
            yield f"the change feed of tenant {row[0]} is damaged: its sequence is not its last change's"
    for key, tenant_name, folded in _NAMES.stream(connection):
        if isinstance(tenant_name, str) and folded != fold_name(tenant_name):
            yield f"tenant {shown_key(key)} cannot be found by name: it was renamed outside AkiDB"
