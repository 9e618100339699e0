"""The dry run of a migration: the target is not opened as a store, it is only read.

A data directory that no process has open is read as a copy, which is brought to this program's schema; so the
dry run says what the migration would, and every file stays byte for byte as it was. A PostgreSQL database is
read in a transaction that may not write.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from akidb.deployment.owner import kept_closed
from akidb.deployment.places import METADATA_NAME, TENANTS_NAME
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
"""The first that knows of manifests."""


def read_manifests(directory: Path, progress: Progress) -> ManifestSource:
    """Read and check every manifest, before any store is opened. Raises InvalidArgument(`v1_data_dir`)."""
    return read_source(LegacyFiles(), directory, progress)


def try_on(place: Path | str, source: ManifestSource, *, overwrite: bool) -> MigrationReport:
    """What the migration into a directory, or the database of a URL, would do, also when there is none yet.

    Raises what the migration would raise, DirectoryHeld when a process has the directory open, Unavailable
    for a schema that is newer than this program, or for a database whose schema is too old to be read.
    """
    if isinstance(place, Path):
        with _copy(place) as store, store.snapshot() as tx:
            return planned(source, tx.legacy_manifests, overwrite=overwrite)
    from akidb.sql.postgresql import PostgresDatabase

    with closing(PostgresDatabase(place, METADATA_SCHEMA, kind="metadata", make_schema=False)) as database:
        found = schema.check_way(database, schema.HEAD)
        if found is None:
            with _nothing() as store, store.snapshot() as tx:
                return planned(source, tx.legacy_manifests, overwrite=overwrite)
        if found < FIRST_SCHEMA:
            raise Unavailable(f"{database.name} has schema {found}: say `akidb migrate schema` first")
        with database.read(snapshot=True) as connection:
            return planned(source, SqlLegacyManifests(connection), overwrite=overwrite)


@contextmanager
def _copy(directory: Path) -> Iterator[MetadataStore]:
    """A copy of the metadata of a directory, in a folder of its own; of no directory, an empty store."""
    with TemporaryDirectory(prefix="akidb-dry-run-") as scratch:
        copy = Path(scratch) / METADATA_NAME
        with kept_closed(directory):
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
