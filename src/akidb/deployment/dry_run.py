"""Dry run of a migration: the target is only read, never opened as a store.

The metadata of a data directory, which no process may have open, is copied and the copy is migrated to the
current schema; so the dry run reports what the migration would do, and every file stays unchanged byte for
byte. A PostgreSQL database is read in a read-only transaction.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from akidb.deployment.note import METADATA_NAME
from akidb.deployment.owner import TENANTS_NAME, kept_closed, patiently
from akidb.domain.errors import Unavailable
from akidb.domain.migration import MigrationReport, Progress
from akidb.legacy import LegacyFiles
from akidb.metadata import schema
from akidb.metadata.legacy import SqlLegacyManifests
from akidb.metadata.store import METADATA_SCHEMA, SqliteMetadataStore
from akidb.ports.metadata import MetadataStore
from akidb.services.migration import planned
from akidb.services.migration_plan import ManifestSource, read_source

FIRST_SCHEMA = "0003"
"""The first version with manifests."""


def read_manifests(directory: Path, progress: Progress) -> ManifestSource:
    """Read and check every manifest before any store is opened. Raises InvalidArgument(`v1_data_dir`)."""
    return read_source(LegacyFiles(), directory, progress)


def try_on(
    place: Path | str, source: ManifestSource, *, overwrite: bool, open_wait_seconds: float = 0
) -> MigrationReport:
    """Report what a migration into a directory or a database URL would do, even if it does not exist yet.

    Raises the errors of the migration, DirectoryHeld if a process has the directory open, and Unavailable
    for a schema that is newer than this program, or a database schema that is too old to be read.
    """
    if isinstance(place, Path):
        with _copy(place, open_wait_seconds) as store, store.snapshot() as tx:
            return planned(source, tx.legacy_manifests, overwrite=overwrite)
    from akidb.sql.postgresql import PostgresDatabase

    with closing(PostgresDatabase(place, METADATA_SCHEMA, kind="metadata", make_schema=False)) as database:
        found = schema.check_way(database, schema.HEAD)
        if found is None:
            with _nothing() as store, store.snapshot() as tx:
                return planned(source, tx.legacy_manifests, overwrite=overwrite)
        if found < FIRST_SCHEMA:
            raise Unavailable(f"{database.name} has schema {found}: run `akidb migrate schema` first")
        with database.read(snapshot=True) as connection:
            return planned(source, SqlLegacyManifests(connection), overwrite=overwrite)


@contextmanager
def _copy(directory: Path, open_wait_seconds: float = 0) -> Iterator[MetadataStore]:
    """Open a temporary copy of a directory's metadata, or an empty store if there is none."""
    with TemporaryDirectory(prefix="akidb-dry-run-") as scratch:
        copy = Path(scratch) / METADATA_NAME
        with ExitStack() as kept:
            patiently(lambda: kept.enter_context(kept_closed(directory)), open_wait_seconds)
            for suffix in ("", "-wal"):
                original = directory / f"{METADATA_NAME}{suffix}"
                try:
                    shutil.copyfile(original, f"{copy}{suffix}")
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise Unavailable(f"{original}: {error.strerror}") from error
            stores = any((directory / TENANTS_NAME).glob("*.db"))
        with closing(SqliteMetadataStore(copy, expected=stores)) as store:
            yield store


@contextmanager
def _nothing() -> Iterator[MetadataStore]:
    with TemporaryDirectory(prefix="akidb-dry-run-") as empty, _copy(Path(empty)) as store:
        yield store
