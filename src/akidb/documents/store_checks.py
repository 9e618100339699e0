"""What a check of a tenant's store finds: counters, sizes and checksums that do not match the rows."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from akidb.documents.checksums import damaged, damaged_deletion, is_sound, is_sound_deletion
from akidb.documents.reader import WIDE_ROWS
from akidb.documents.statements import TenantSql
from akidb.sql.answers import ROW_BYTES, is_sound_answer

MAX_SIZE_BYTES = 2**40
"""More than any document takes."""
MAX_NAMED = 100
"""Damaged documents of a store that a check names."""


def _counted(sql: TenantSql) -> sa.Select[tuple[object, ...]]:
    tables = sql.tables
    collections, documents = tables.collections, tables.documents
    same = (
        documents.c.collection_key == collections.c.collection_key,
        *tables.own(documents),
    )
    tombstones = tables.tombstones
    last_deletion = sa.select(sa.func.max(tombstones.c.sequence)).where(
        tombstones.c.collection_key == collections.c.collection_key, *tables.own(tombstones)
    )
    deleted = sa.func.coalesce(last_deletion.correlate(collections).scalar_subquery(), 0)
    # Wrong sizes are named by themselves; a sum of them may be beyond what the database can compute.
    size = sa.case((documents.c.size_bytes.between(0, MAX_SIZE_BYTES), documents.c.size_bytes), else_=0)
    length = sa.func.length(documents.c.vector)
    dimension = sa.func.coalesce(collections.c.dimension, 0)
    misshapen = sa.case((length.not_in((0, 4 * dimension)), 1), else_=0)
    return (
        sa.select(
            collections.c.collection_id,
            collections.c.document_count,
            collections.c.storage_used_bytes,
            collections.c.sequence,
            collections.c.tombstone_floor,
            deleted.label("deleted"),
            sa.func.count(documents.c.document_key).label("documents"),
            sa.cast(sa.func.coalesce(sa.func.sum(size), 0), sa.BigInteger).label("bytes"),
            sa.func.coalesce(sa.func.max(documents.c.sequence), 0).label("newest"),
            sa.func.coalesce(sa.func.sum(misshapen), 0).label("misshapen"),
        )
        .select_from(collections.outerjoin(documents, sa.and_(*same)))
        .where(*tables.own(collections))
        .group_by(*collections.c)
    )


def damaged_rows(connection: sa.Connection, sql: TenantSql) -> Iterator[str]:
    """Yield a message for each document that does not match its checksums."""
    known = sql.statements.all_controls.all(connection, **sql.own)
    ids = {control.collection_key: control.collection_id for control in known}
    for *row, key in sql.statements.whole.stream(connection, at_once=WIDE_ROWS, **sql.own):
        if not is_sound(row):
            yield damaged(row, ids.get(key, "unknown")).message


def check_rows(connection: sa.Connection, sql: TenantSql) -> Iterator[str]:
    """Yield what is wrong with the counters, the tombstones and the stored responses."""
    yield from _check_counters(connection, sql)
    known = sql.statements.all_controls.all(connection, **sql.own)
    ids = {control.collection_key: control.collection_id for control in known}
    for *deletion, key in sql.statements.deletions.rows(connection, **sql.own):
        if not is_sound_deletion(*deletion):
            yield damaged_deletion(deletion[0], ids.get(key, "unknown")).message
    for *answer, key in sql.statements.kept_answers.rows(connection, **sql.own):
        if not is_sound_answer(*answer):
            yield f"a stored response of collection {ids.get(key, 'unknown')} is damaged"


def _check_counters(connection: sa.Connection, sql: TenantSql) -> list[str]:
    """Recount, and return the differences from the stored counters."""
    found, total = [], 0
    for row in connection.execute(_counted(sql), sql.own):
        total += row.bytes
        name = f"collection {row.collection_id}"
        if row.documents != row.document_count:
            found.append(f"{name}: {row.documents} documents, counted as {row.document_count}")
        if row.bytes != row.storage_used_bytes:
            found.append(f"{name}: {row.bytes} bytes, counted as {row.storage_used_bytes}")
        sequences = (row.newest, row.deleted, row.tombstone_floor)
        if all(type(each) is int for each in sequences) and max(sequences) != row.sequence:
            found.append(f"{name}: its last change has sequence {max(sequences)}, counted as {row.sequence}")
        if row.misshapen:
            found.append(f"{name}: {row.misshapen} vectors have the wrong dimension")
    found += _check_sizes(connection, sql)
    account = sql.statements.storage.first(connection, **sql.own)
    if account is None:
        return [*found, "the control row is missing"]
    if account[1] != total:
        found.append(f"the store holds {total} bytes, counted as {account[1]}")
    return found


def _check_sizes(connection: sa.Connection, sql: TenantSql) -> Iterator[str]:
    """Yield what documents or stored responses take, where it is not what was counted."""
    d, a, control = sql.tables.documents, sql.tables.remembered_answers, sql.tables.control
    texts: tuple[sa.ColumnElement[Any], ...] = (d.c.id, d.c.text, d.c.metadata)
    if sql.tables.shared:
        texts = tuple(sa.func.octet_length(text) for text in texts)
    else:  # in bytes
        texts = tuple(sa.func.length(sa.cast(text, sa.BLOB)) for text in texts)
    taken = [sa.func.coalesce(text, 0) for text in texts]
    size = taken[0] + taken[1] + taken[2] + sa.func.length(d.c.vector)
    wrong = sa.select(sa.func.count()).where(*sql.tables.own(d), d.c.size_bytes != size)
    number = connection.execute(wrong, sql.own).scalar_one()
    if number:
        yield f"{number} documents are charged for another size than they have"
    answers = sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(a.c.answer) + ROW_BYTES), 0))
    found = connection.execute(answers.where(*sql.tables.own(a)), sql.own).scalar_one()
    counted = connection.execute(sa.select(control.c.answers_bytes).where(*sql.tables.own(control)), sql.own)
    for (known,) in counted:
        if known != found:
            yield f"the stored responses take {found} bytes, counted as {known}"
    yield from _check_deletions(connection, sql)


def _check_deletions(connection: sa.Connection, sql: TenantSql) -> Iterator[str]:
    account = sql.statements.deletions_taken.first(connection, **sql.own)
    found = sum(size for _key, size in sql.statements.deletions_of_collections.rows(connection, **sql.own))
    if account is not None and account[0] != found:
        yield f"the deletions kept for change feeds take {found} bytes, counted as {account[0]}"
