"""The dry run of a migration: the store is not opened, its files are only read.

A data directory that no process has open is read as a copy, which is brought to this program's schema; so the
dry run says what the migration would, and every file stays byte for byte as it was.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from akidb.domain.errors import Unavailable
from akidb.metadata.store import SqliteMetadataStore
from akidb.ports.metadata import MetadataStore
from akidb.ports.migration import MigrationReport
from akidb.services.migration import planned
from akidb.services.migration_plan import Source
from akidb.services.owner import kept_closed


def try_on_directory(directory: Path, source: Source, *, overwrite: bool) -> MigrationReport:
    """What the migration into this data directory would do, also when there is none yet.

    Raises what the migration would raise, DirectoryHeld when a process has the directory open.
    """
    with _copy(directory) as store, store.snapshot() as tx:
        return planned(source, tx.legacy_manifests, overwrite=overwrite)


@contextmanager
def _copy(directory: Path) -> Iterator[MetadataStore]:
    with TemporaryDirectory(prefix="akidb-dry-run-") as scratch:
        copy = Path(scratch) / "metadata.db"
        with kept_closed(directory):
            for suffix in ("", "-wal"):
                original = directory / f"{copy.name}{suffix}"
                try:
                    shutil.copyfile(original, f"{copy}{suffix}")
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise Unavailable(f"{original}: {error.strerror}") from error
            stores = any((directory / "tenants").glob("*.db"))
        store = SqliteMetadataStore(copy, expected=stores)
        try:
            yield store
        finally:
            store.close()
