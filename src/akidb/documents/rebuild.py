"""Writes the counters, states and checksums of a tenant's file anew, from the metadata and its documents.

For `akidb doctor --repair`, while nothing else has the file open. Documents are left as they are.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from akidb.documents import control_rows
from akidb.documents.checksums import content_checksum, is_sound_deletion, vector_checksum
from akidb.documents.statements import IN_FILE
from akidb.documents.store_checks import check_rows
from akidb.documents.tables import DELETION_BYTES
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION, Collection, Database, Tenant, limit_of
from akidb.domain.ids import CollectionId
from akidb.domain.names import MAX_SEQUENCE
from akidb.sql.answers import ROW_BYTES, is_sound_answer
from akidb.sql.database import driver_of
from akidb.sql.errors import translated
from akidb.sql.prepared import lenient
from akidb.sql.sqlite import SqliteFile

Pairs = Sequence[tuple[Database, Collection]]

MAX_NAMED = 5
_DIMENSION_AT = 3
"""The place of the dimension among the values of a collection without its ID."""
AT_ONCE = 200
"""Rows that are given checksums in one transaction."""
_SIZE = (
    "length(CAST(id AS BLOB)) + coalesce(length(CAST(text AS BLOB)), 0) + length(CAST(metadata AS BLOB))"
    " + length(vector)"
)
_READABLE = (
    "typeof(id) = 'text' AND typeof(metadata) = 'text' AND typeof(vector) = 'blob'"
    " AND typeof(text) IN ('text', 'null')"
)
_STRAY = "collection_key NOT IN (SELECT collection_key FROM collections)"
_STRAY_ANSWER = f"{_STRAY} OR typeof(created_at) != 'text'"
_UNCHECKED = (
    f"typeof(sequence) = 'integer' AND {_READABLE} AND (content_checksum IS NULL OR vector_checksum IS NULL)"
    # Documents without a vector are newer than checksums.
    " AND (length(vector) > 0 OR vector_checksum IS NOT NULL)"
)


@contextmanager
def _opened(path: Path) -> Iterator[SqliteFile]:
    file = SqliteFile(path)
    try:
        yield file
    finally:
        file.close()


class Wrong(NamedTuple):
    """What is wrong in a file, in words, the first few of each."""

    repairable: list[str]
    """What `rebuild` repairs; damaged documents are not among it."""
    undecided: list[str]
    """What it leaves as it is, since nothing tells which value is right."""


def damage(path: Path, tenant: Tenant, collections: Pairs) -> Wrong:
    """Return what is wrong with the counters and states of a file."""
    with _opened(path) as file, file.read(snapshot=True) as connection, lenient(connection):
        driver = driver_of(connection)
        undecided = _undecided(driver, collections)
        found = control_rows.faults(connection)
        if not found:
            found = list(islice(check_rows(connection, IN_FILE), MAX_NAMED))
        found += list(_differences(driver, tenant, collections, undecided))[:MAX_NAMED]
        words = [
            f"collection {collection_id} has {there} dimensions in the store, {said} in the metadata, and no"
            " vectors that tell which is right: purge it, or restore the metadata"
            for collection_id, (there, said) in undecided.items()
            if said is not None
        ]
        return Wrong(found, words[:MAX_NAMED])


def dimensions(path: Path) -> dict[bytes, int]:
    """Return the length of the vectors of each collection by ID, where most of them have the same."""
    with _opened(path) as file, file.read(snapshot=True) as connection:
        return _dimensions(driver_of(connection))


def kept_twice(path: Path, collection_id: CollectionId) -> dict[str, Any]:
    """Return the values of a collection that follow from its store: a dimension is that of its vectors."""
    with _opened(path) as file, file.read(snapshot=True) as connection:
        found = control_rows.kept_twice(connection, collection_id)
        dimension = _dimensions(driver_of(connection)).get(collection_id.raw)
        return found if dimension is None else {**found, "dimension": dimension}


def _dimensions(driver: Any) -> dict[bytes, int]:
    rows = driver.execute(
        "SELECT collection_id, length(vector) / 4, count(*) FROM documents JOIN collections USING"
        " (collection_key) WHERE typeof(vector) = 'blob' AND length(vector) % 4 = 0 AND length(vector) > 0"
        " GROUP BY 1, 2"
    ).fetchall()
    counted: dict[bytes, Counter[int]] = defaultdict(Counter)
    for collection_id, dimension, number in rows:
        counted[collection_id][dimension] += number
    common = {key: counter.most_common(1)[0] for key, counter in counted.items()}
    return {
        key: dimension
        for key, (dimension, number) in common.items()
        if MIN_DIMENSION <= dimension <= MAX_DIMENSION and 2 * number > counted[key].total()
    }


def _undecided(driver: Any, collections: Pairs) -> dict[CollectionId, tuple[int, int | None]]:
    """Return the dimensions in store and metadata that differ, where no vectors tell which is right.

    That of the metadata is None if they have yet to learn it.
    """
    told = _dimensions(driver)
    there = dict(driver.execute("SELECT collection_id, dimension FROM collections").fetchall())
    found = {}
    for _, collection in collections:
        dimension = there.get(collection.collection_id.raw)
        if (
            control_rows.is_dimension(dimension)
            and dimension != collection.dimension
            and collection.collection_id.raw not in told
        ):
            found[collection.collection_id] = (dimension, collection.dimension)
    return found


def _differences(
    driver: Any, tenant: Tenant, collections: Pairs, undecided: Container[CollectionId]
) -> Iterator[str]:
    """Yield what is not as the metadata say, and rows of collections that there are not."""
    [(version, *control)] = driver.execute(
        "SELECT tenant_version, tenant_status, storage_quota_bytes FROM control"
    ).fetchall()
    if control != [tenant.status.value, limit_of(tenant.storage_quota_bytes)]:
        yield "the tenant's status or quota is not that of the metadata"
    if type(version) is int and version > tenant.version:
        yield f"the tenant's version is {tenant.version} in the metadata, {version} in the store"
    rows = {
        row[0]: row[1:]
        for row in driver.execute(
            "SELECT collection_id, database_id, state, database_state, dimension, metric, max_document_count,"
            " version FROM collections"
        ).fetchall()
    }
    told = _dimensions(driver)
    for database, collection in collections:
        key, *values = _values(database, collection)
        name = f"collection {collection.collection_id}"
        there: list[object] = list(rows.get(key, (None,)))
        version = there.pop()
        own = there[_DIMENSION_AT] if there else None
        dimension = told.get(collection.collection_id.raw, collection.dimension)
        if collection.dimension is None and dimension == own:  # yet to be learnt
            dimension = None
        if dimension != collection.dimension:
            said = "no" if collection.dimension is None else collection.dimension
            yield f"{name} has {said} dimensions in the metadata, its vectors {dimension}"
        is_untold = own is None and collection.collection_id.raw not in told
        if there and (dimension is None or is_untold or collection.collection_id in undecided):
            there[_DIMENSION_AT] = collection.dimension
        if dimension == collection.dimension and there != values:
            yield f"{name} is not as the metadata say"
        if type(version) is int and version > collection.version:
            yield f"the version of {name} is {collection.version} in the metadata, {version} in the store"
    for table, stray in (("tombstones", _STRAY), ("remembered_answers", _STRAY_ANSWER)):
        if driver.execute(f"SELECT 1 FROM {table} WHERE {stray} LIMIT 1").fetchone():  # noqa: S608
            yield f"{table} has rows of no collection, or of no time"


def _values(database: Database, collection: Collection) -> tuple[object, ...]:
    return (
        *(collection.collection_id.raw, database.database_id.raw, collection.state.value),
        *(database.state.value, collection.dimension, collection.metric.value),
        collection.max_document_count,
    )


def unchecked(path: Path) -> int:
    """Return the number of documents without a checksum."""
    with _opened(path) as file, file.read() as connection:
        statement = f"SELECT count(*) FROM documents WHERE {_UNCHECKED}"  # noqa: S608
        found: int = driver_of(connection).execute(statement).fetchone()[0]
        return found


def fill_checksums(path: Path) -> int:
    """Compute the checksums that documents of older versions lack; return the number of these.

    What is damaged by now is not found any more: whatever is stored counts as right, if it can be read.
    """
    done = after = 0
    with _opened(path) as file:
        while True:
            with translated(file.name), file.write() as connection, lenient(connection):
                driver = driver_of(connection)
                rows = driver.execute(
                    "SELECT document_key, sequence, id, text, metadata, vector FROM documents"  # noqa: S608
                    f" WHERE document_key > ? AND {_UNCHECKED} ORDER BY document_key LIMIT {AT_ONCE}",
                    (after,),
                ).fetchall()
                if not rows:
                    return done
                for key, sequence, id, text, metadata, vector in rows:
                    if _is_readable(id, text, metadata):
                        found = (content_checksum(id, sequence, text, metadata), vector_checksum(vector), key)
                        driver.execute(
                            "UPDATE documents SET content_checksum = coalesce(content_checksum, ?),"
                            " vector_checksum = coalesce(vector_checksum, ?) WHERE document_key = ?",
                            found,
                        )
                        done += 1
                after = rows[-1][0]


def _is_readable(id: object, text: object, metadata: object) -> bool:
    if type(id) is not str or type(metadata) is not str or not (text is None or type(text) is str):
        return False
    try:
        msgspec.json.decode(metadata, type=dict[str, Any])
    except msgspec.MsgspecError:
        return False
    return True


def rebuild(path: Path, tenant: Tenant, collections: Pairs) -> None:
    """Write all counters and states anew; discard damaged stored responses.

    `collections` are as `dimensions` says, where it does: a dimension that vectors tell is not overwritten.
    Deletions of a collection are discarded if one is damaged: readers of its change feed start over.
    """
    with _opened(path) as file, translated(file.name), file.write() as connection, lenient(connection):
        driver = driver_of(connection)
        # Triggers count them. SQLite does not look for NULL in a column that must not have it.
        driver.execute("UPDATE remembered_answers SET answer = x'' WHERE typeof(answer) != 'blob'")
        driver.execute(
            f"UPDATE documents SET size_bytes = {_SIZE} WHERE {_READABLE} AND size_bytes IS NOT {_SIZE}"  # noqa: S608
        )
        _write_control(driver, tenant)  # before the rest: triggers of other tables update it
        for *answer, row in driver.execute(
            "SELECT scope, key, fingerprint, answer, checksum, rowid FROM remembered_answers"
        ).fetchall():
            if not is_sound_answer(*answer):
                driver.execute("DELETE FROM remembered_answers WHERE rowid = ?", (row,))
        driver.execute(f"DELETE FROM remembered_answers WHERE {_STRAY_ANSWER}")  # noqa: S608
        lost = driver.execute(f"DELETE FROM tombstones WHERE {_STRAY}").rowcount > 0  # noqa: S608
        known = control_rows.collection_ids(connection)
        keys = {found.raw: key for key, found in known.items()}
        rows = driver.execute("SELECT collection_key FROM collections").fetchall()
        strange = [key for (key,) in rows if key not in known]
        missing = [pair for pair in collections if pair[1].collection_id.raw not in keys]
        if len(strange) == len(missing) == 1:  # its ID is damaged
            keys[missing[0][1].collection_id.raw] = strange[0]
        undecided = _undecided(driver, collections)
        for database, collection in collections:
            key = keys.get(collection.collection_id.raw)
            if collection.collection_id in undecided:
                dimension, _ = undecided[collection.collection_id]
                collection = msgspec.structs.replace(collection, dimension=dimension)  # noqa: PLW2901
            if key is not None:
                _write_collection(driver, key, database, collection, discard=lost)
        _write_control(driver, tenant)


def _write_control(driver: Any, tenant: Tenant) -> None:
    driver.execute(
        "UPDATE control SET singleton = 1, tenant_version = ?, tenant_status = ?, storage_quota_bytes = ?,"  # noqa: S608
        " storage_used_bytes = (SELECT coalesce(sum(size_bytes), 0) FROM documents),"
        f" answers_bytes = (SELECT coalesce(sum(length(answer) + {ROW_BYTES}), 0) FROM remembered_answers),"
        " deletions_bytes ="
        f" (SELECT coalesce(sum(length(CAST(id AS BLOB)) + {DELETION_BYTES}), 0) FROM tombstones)",
        (tenant.version, tenant.status.value, limit_of(tenant.storage_quota_bytes)),
    )


def _write_collection(
    driver: Any, key: int, database: Database, collection: Collection, *, discard: bool
) -> None:
    count, size, newest = driver.execute(
        "SELECT count(*), coalesce(sum(size_bytes), 0), coalesce(max(CASE WHEN typeof(sequence) = 'integer'"
        " THEN sequence END), 0) FROM documents"
        " WHERE collection_key = ?",
        (key,),
    ).fetchone()
    [(sequence, floor)] = driver.execute(
        "SELECT sequence, tombstone_floor FROM collections WHERE collection_key = ?", (key,)
    ).fetchall()
    deletions = driver.execute(
        "SELECT sequence, id, checksum FROM tombstones WHERE collection_key = ?", (key,)
    ).fetchall()
    sequences = [row[0] for row in deletions if type(row[0]) is int]
    if type(sequence) is not int or type(floor) is not int or not 0 <= floor <= min(sequence, MAX_SEQUENCE):
        floor = None
    sequence = max([newest, floor or 0, *sequences])
    is_sound = floor is not None
    if discard or not is_sound or not all(is_sound_deletion(*row) for row in deletions):
        driver.execute("DELETE FROM tombstones WHERE collection_key = ?", (key,))
        floor = sequence
    driver.execute(
        "UPDATE collections SET collection_id = ?, database_id = ?, state = ?, database_state = ?,"
        " dimension = ?, metric = ?, max_document_count = ?, version = ?, document_count = ?,"
        " storage_used_bytes = ?, sequence = ?, tombstone_floor = ? WHERE collection_key = ?",
        (
            *_values(database, collection),
            *(collection.version, count, size, sequence, floor, key),
        ),
    )
