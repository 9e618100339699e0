"""Where AkiDB's data lies: a directory of SQLite files that one process owns, or a PostgreSQL database.

A deployment opens the two kinds of store and owns what belongs to the place alone: the directory's lock,
its copies and its scratch files. What is done with the stores is the same in both.
"""

import resource
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from akidb.deployment.owner import OwnerLock
from akidb.deployment.restore import require_finished
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.errors import Unavailable
from akidb.metadata.store import SqliteMetadataStore
from akidb.ports.documents import TenantStores
from akidb.ports.metadata import MetadataStore
from akidb.services.purging import PurgeableBackups
from akidb.settings import Settings
from akidb.sql.archive_image import SCRATCH_NAME, clear_scratch
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import make_directory

METADATA_NAME = "metadata.db"
TENANTS_NAME = "tenants"
COPIES_NAME = "backups"
DESCRIPTORS_PER_STORE = 5
"""One connection has three; a store that several threads use at once has more of them."""
OTHER_DESCRIPTORS = 64

Location = Path | str
"""A data directory, or the URL of a PostgreSQL database."""


class Place(Protocol):
    """An open place."""

    @property
    def directory(self) -> Path | None:
        """The data directory, None where there is none."""
        ...

    @property
    def metadata(self) -> MetadataStore:
        """The metadata store."""
        ...

    @property
    def tenant_stores(self) -> TenantStores:
        """The tenants' stores."""
        ...

    @property
    def copies(self) -> PurgeableBackups:
        """Copies that were taken before a schema changed."""
        ...

    @property
    def scratch(self) -> Path | None:
        """Where archives are put while they are looked at; None for the system's own place."""
        ...

    @property
    def was_killed(self) -> bool:
        """Whether its last owner may have left a purge half done."""
        ...

    def room_bytes(self) -> int:
        """What an archive may take when it is unpacked."""
        ...

    def publish(self, socket: Path) -> None:
        """Tell other processes on this machine where this one serves the place."""
        ...

    def abandon(self) -> None:
        """Forget the place in a forked child, where it belongs to the parent."""
        ...

    def close(self) -> None:
        """Close the stores, and let others have the place."""
        ...


class DirectoryPlace:
    """A data directory, owned by this process until it is closed."""

    def __init__(self, path: Path, settings: Settings, *, restoring: bool = False) -> None:
        """Raises DirectoryHeld when another process owns it."""
        self.directory = path
        self.copies = SchemaBackups(path / COPIES_NAME, lambda: datetime.now(UTC))
        self.scratch = path / SCRATCH_NAME
        self._lock = OwnerLock(path)
        try:
            if not restoring:
                require_finished(path)
            for each in (path, path / TENANTS_NAME):
                clear_scratch(each)
            self._open(path, settings)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, path: Path, settings: Settings) -> None:
        tenants = path / TENANTS_NAME
        make_directory(tenants)
        self.was_killed = (path / f"{METADATA_NAME}-wal").exists()
        self.metadata = SqliteMetadataStore(
            path / METADATA_NAME,
            synchronous=settings.synchronous,
            expected=any(tenants.glob("*.db")),  # no metadata beside stores is a loss, not a beginning
            copies=self.copies,
        )
        self.tenant_stores = SqliteTenantStores(
            tenants,
            max_open=_affordable(settings.max_open_stores),
            synchronous=settings.synchronous,
            copies=self.copies,
        )

    def room_bytes(self) -> int:
        """What is free on its disk."""
        return shutil.disk_usage(self.directory).free

    def publish(self, socket: Path) -> None:
        """Write it into the lock file."""
        self._lock.publish(socket)

    def abandon(self) -> None:
        """Close the lock file, whose lock stays with the parent."""
        self._lock.abandon()

    def close(self) -> None:
        """Close the stores and release the lock."""
        self.tenant_stores.close()
        self.metadata.close()
        self._lock.release()


def _affordable(stores: int) -> int:
    """So many open stores, or as many as the process may have descriptors for (`ulimit -n`)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return stores
    return max(1, min(stores, (limit - OTHER_DESCRIPTORS) // DESCRIPTORS_PER_STORE))


class NoCopies:
    """PostgreSQL's own tools copy a database; none is taken here."""

    def remove(self, *, until: datetime, store: str | None = None) -> int:  # noqa: ARG002
        """There is none."""
        return 0


class PostgresPlace:
    """A PostgreSQL database, which other processes may use at the same time."""

    directory = None
    scratch = None
    was_killed = False

    def __init__(self, url: str, settings: Settings) -> None:
        """Connect. Raises as the stores do."""
        from akidb.documents.postgresql import PostgresTenantStores
        from akidb.metadata.store import PostgresMetadataStore

        self.copies = NoCopies()
        synchronous, pool_size = settings.synchronous, settings.postgresql_pool_size
        self.metadata = PostgresMetadataStore(url, synchronous=synchronous, pool_size=pool_size)
        try:
            self.tenant_stores = PostgresTenantStores(
                url, max_open=settings.max_open_stores, synchronous=synchronous, pool_size=pool_size
            )
        except BaseException:
            self.metadata.close()
            raise

    def room_bytes(self) -> int:
        """What is free where temporary files go: the server's disk cannot be asked."""
        return shutil.disk_usage(tempfile.gettempdir()).free

    def publish(self, socket: Path) -> None:
        """Nobody has to be told: others connect to the database themselves."""

    def abandon(self) -> None:
        """The connections stay with the parent."""

    def close(self) -> None:
        """Close every connection."""
        self.tenant_stores.close()
        self.metadata.close()


def prepare(target: Location) -> Location:
    """The one name of a place; a directory is made if it is not there."""
    return target if isinstance(target, str) else _make_directory(target)


def open_place(target: Location, settings: Settings, *, restoring: bool = False) -> Place:
    """Open the stores of a place."""
    if isinstance(target, str):
        return PostgresPlace(target, settings)
    return DirectoryPlace(target, settings, restoring=restoring)


def _make_directory(directory: Path) -> Path:
    try:
        make_directory(directory)
    except FileExistsError:
        raise Unavailable(f"{directory} is not a directory") from None
    except OSError as error:
        raise Unavailable(f"{directory}: {error.strerror}") from error
    return directory.resolve()
