"""Schema migrations of the stores of a directory or database, forward and back.

A directory is locked meanwhile. Each store changes in its own transaction: going back the tenant stores
before the metadata, going forward after it, so that a killed run can be repeated, and a process that opens
the stores in between can migrate them forward.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from akidb.deployment.note import METADATA_NAME
from akidb.deployment.owner import COPIES_NAME, TENANTS_NAME, OwnerLock, patiently
from akidb.deployment.places import Location
from akidb.deployment.restore import require_finished
from akidb.documents import schema as tenant_schema
from akidb.domain.errors import InvalidArgument, NotFound
from akidb.metadata import schema as metadata_schema
from akidb.observe.logs import logger
from akidb.observe.operations import Running
from akidb.settings import Settings
from akidb.sql.database import SqlDatabase
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import SqliteFile

OPERATION = "schema.migrate"
"""Its name in metrics. It has no row in the table of operations: it works on stores that are not open."""

_log = logger("akidb.deployment")

Advance = Callable[[int, int], None]
"""Called with the number of tenant stores done and their total."""


class Loss(msgspec.Struct, kw_only=True, frozen=True):
    """Data that a step back loses."""

    version: str
    """The version that is reverted."""
    what: str
    rows: int | None
    """The number of lost rows, None if it is not counted."""


# Steps that only add constraints lose nothing.
_LOSSES = (
    ("0008", "the metadata of databases and collections", None),
    ("0007", "the checksums of documents, which are not checked until they are written again", None),
    ("0005", "the index of tenants' names, which is rebuilt when migrating forward", None),
    ("0004", "the change feeds of tenants, whose readers must start over", None),
    (
        "0003",
        "manifests of AkiDB 1.x, and which tenants were deleted by 1.x: those will be purged like others",
        "legacy_manifests",
    ),
    ("0002", "users of tenants", "users"),
)


_LEAST_DIMENSION = 16
"""The least dimension of collections before version 0008."""
_UNSTORABLE = (
    (
        "0008",
        f"dimension < {_LEAST_DIMENSION}",
        f"collections with fewer than {_LEAST_DIMENSION} dimensions",
    ),
    ("0009", "dimension IS NULL", "collections without a dimension"),
)
"""Conditions on collections that versions before these cannot store, and their names."""
_HAS_TABLE = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE name = 'collections'",
    "postgresql": "SELECT to_regclass('collections')",
}


class SchemaChange(msgspec.Struct, kw_only=True, frozen=True):
    """The result of a schema migration, or of its dry run."""

    found: str | None = msgspec.field(name="from")
    """The version of the metadata store before, None for a new one."""
    to: str
    stores: int
    """The number of tenant stores changed, or to be changed."""
    changed: bool
    dry_run: bool
    lost: Sequence[Loss] = ()
    """Data that the older version cannot store, in the order of the steps back."""


def migrate(
    place: Location,
    settings: Settings,
    *,
    to: str | None = None,
    dry_run: bool = False,
    advance: Advance = lambda _done, _of: None,
) -> SchemaChange:
    """Migrate the stores of a directory or database to a schema version, by default the newest.

    Raises InvalidArgument(`to`) for an unknown or unreachable version, NotFound if there is no store and `to`
    is given, Unavailable for a schema newer than this program.
    """
    target = metadata_schema.HEAD if to is None else metadata_schema.check_version(to)
    with Running(OPERATION, settings.slow_operation_seconds):
        change = _migrate(place, settings, target, known=to is not None, dry_run=dry_run, advance=advance)
    if change.changed:
        _log.info("the schema was migrated from %s to %s", change.found, change.to)
    return change


def _migrate(
    place: Location, settings: Settings, target: str, *, known: bool, dry_run: bool, advance: Advance
) -> SchemaChange:
    if isinstance(place, str):
        return _migrate_database(place, settings, target, dry_run=dry_run)
    if not (place / METADATA_NAME).exists():
        if known:
            raise NotFound("store", place)
        if not dry_run:
            _make(place, settings)
        return SchemaChange(found=None, to=target, stores=0, changed=not dry_run, dry_run=dry_run)
    with _owned(place, settings):
        return _migrate_directory(place, settings, target, dry_run=dry_run, advance=advance)


def _lost(metadata: SqlDatabase, found: str | None, target: str) -> list[Loss]:
    """Return the data lost by stepping back from a version to an older one."""
    losses = []
    with metadata.read() as connection:
        for version, what, table in _LOSSES:
            if found is not None and target < version <= found:
                query = f"SELECT count(*) FROM {table}"  # noqa: S608 - one of the above
                rows = connection.exec_driver_sql(query).scalar_one() if table else None
                losses.append(Loss(version=version, what=what, rows=rows))
    return losses


def _require_storable(store: SqlDatabase, found: str | None, target: str) -> None:
    """Raise InvalidArgument(`to`) if an older version cannot store what there is."""
    for since, condition, what in _UNSTORABLE:
        if found is None or not target < since <= found:
            continue
        with store.read() as connection:
            if connection.exec_driver_sql(_HAS_TABLE[connection.dialect.name]).scalar() is None:
                return  # left by a crash
            query = f"SELECT count(*) FROM collections WHERE {condition}"  # noqa: S608 - one of the above
            number = connection.exec_driver_sql(query).scalar_one()
        if number:
            reason = f"cannot store {what}: there are {number}"
            raise InvalidArgument("to", f"version {target} {reason}, deleted ones included")


def _make(place: Path, settings: Settings) -> None:
    from akidb.deployment.local import open_local

    patiently(lambda: open_local(place, settings), settings.open_wait_seconds).close()


@contextmanager
def _owned(directory: Path, settings: Settings) -> Iterator[None]:
    lock = patiently(lambda: OwnerLock(directory), settings.open_wait_seconds)
    try:
        require_finished(directory)
        yield
    finally:
        lock.release()


@contextmanager
def _opened(path: Path, settings: Settings) -> Iterator[SqliteFile]:
    file = SqliteFile(path, synchronous=settings.synchronous)
    try:
        yield file
    finally:
        file.close()


def _migrate_directory(
    directory: Path, settings: Settings, target: str, *, dry_run: bool, advance: Advance
) -> SchemaChange:
    copies = SchemaBackups(directory / COPIES_NAME, lambda: datetime.now(UTC))
    paths = sorted((directory / TENANTS_NAME).glob("*.db"))
    wanted = tenant_schema.version_with(target)
    with _opened(directory / METADATA_NAME, settings) as metadata:
        found = metadata_schema.check_way(metadata, target)
        _require_storable(metadata, found, target)
        changing = []
        for path in paths:
            with _opened(path, settings) as file:
                if tenant_schema.check_way(file, wanted):
                    _require_storable(file, found, target)
                    changing.append(path)
        change = SchemaChange(
            found=found,
            to=target,
            stores=len(changing),
            changed=not dry_run and (found != target or bool(changing)),
            dry_run=dry_run,
            lost=_lost(metadata, found, target),
        )
        if dry_run:
            return change
        forward = found is None or found <= target
        if forward:
            metadata_schema.go(metadata, target, copies)
        for done, path in enumerate(changing, start=1):
            with _opened(path, settings) as file:
                tenant_schema.go(file, wanted, copies)
            advance(done, len(changing))
        if not forward:
            metadata_schema.go(metadata, target, copies)
        return change


def _migrate_database(url: str, settings: Settings, target: str, *, dry_run: bool) -> SchemaChange:
    from akidb.documents import postgresql as shared
    from akidb.metadata.store import METADATA_SCHEMA, SCHEMA_LOCK
    from akidb.sql.postgresql import PostgresDatabase

    wanted = f"{tenant_schema.version_with(target):04}"
    metadata = PostgresDatabase(url, METADATA_SCHEMA, kind="metadata", synchronous=settings.synchronous)
    tenants = PostgresDatabase(url, shared.SCHEMA, synchronous=settings.synchronous)
    try:
        with metadata.locked(SCHEMA_LOCK), tenants.locked(shared.SCHEMA_LOCK):
            found = metadata_schema.check_way(metadata, target)
            _require_storable(metadata, found, target)
            changing = shared.check_way(tenants, wanted)
            _require_storable(tenants, found, target)
            change = SchemaChange(
                found=found,
                to=target,
                stores=int(changing),
                changed=not dry_run and (found != target or changing),
                dry_run=dry_run,
                lost=_lost(metadata, found, target),
            )
            if dry_run:
                return change
            steps: list[Callable[[], object]] = [
                lambda: metadata_schema.go(metadata, target),
                lambda: shared.go(tenants, wanted),
            ]
            for step in steps if found is None or found <= target else reversed(steps):
                step()
            return change
    finally:
        tenants.close()
        metadata.close()
