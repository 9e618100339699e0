"""Storage locations: a directory of SQLite files that one process owns, or a PostgreSQL database.

A place opens the metadata store and the tenant stores and owns the location-specific resources: the
directory's lock, its backup copies and its scratch files. Everything above the stores is the same for both.
"""

import resource
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Protocol

from akidb.deployment.clock import DirectoryClock
from akidb.deployment.index_directory import IndexDirectory
from akidb.deployment.note import METADATA_NAME
from akidb.deployment.owner import COPIES_NAME, INDEXES_NAME, TENANTS_NAME, OwnerLock
from akidb.deployment.restore import require_finished
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.errors import Unavailable
from akidb.domain.names import MAX_INTEGER
from akidb.metadata.store import SqliteMetadataStore
from akidb.ports.clock import Clock
from akidb.ports.disk import Disk
from akidb.ports.metadata import MetadataStore
from akidb.ports.stores import TenantStores
from akidb.search.keywords.indexes import MAX_OPEN
from akidb.services.purging import PurgeableBackups
from akidb.settings import Settings
from akidb.sql.archive_image import SCRATCH_NAME, clear_scratch
from akidb.sql.files import make_directory
from akidb.sql.identity import FileIdentity
from akidb.sql.room import Room
from akidb.sql.schema_backups import SchemaBackups

RESERVE_NAME = "reserve"
"""A file of allocated blocks, removed while an operation releases space on a full disk."""
DESCRIPTORS_PER_STORE = 5
"""One connection uses three; a store used by several threads at once has more connections."""
OTHER_DESCRIPTORS = 64 + MAX_OPEN

Location = Path | str
"""A data directory, or the URL of a PostgreSQL database."""


class Place(Protocol):
    """An open storage location."""

    @property
    def directory(self) -> Path | None:
        """The data directory, None for PostgreSQL."""

    @property
    def metadata(self) -> MetadataStore:
        """The metadata store."""

    @property
    def tenant_stores(self) -> TenantStores:
        """The tenants' stores."""

    @property
    def clock(self) -> Clock:
        """The clock that everything stored here goes by."""

    @property
    def copies(self) -> PurgeableBackups:
        """Copies taken before a schema change."""

    @property
    def scratch(self) -> Path | None:
        """The scratch directory for archives, None for the system's temporary directory."""

    @property
    def indexes(self) -> Path | None:
        """The directory of this process for the files of search indexes, None for temporary files."""

    @property
    def indexes_disk(self) -> Disk:
        """The disk of that directory."""

    @property
    def was_killed(self) -> bool:
        """Whether the last owner was killed and may have left a purge unfinished."""

    @property
    def disk(self) -> Disk:
        """The disk of the stores."""

    @property
    def scratch_disk(self) -> Disk:
        """The disk of the scratch directory."""

    def publish(self, socket: Path) -> None:
        """Publish the path of this server's socket to other processes on this machine."""

    def keep(self) -> None:
        """Publish again what was published, if that was removed."""

    def is_displaced(self) -> bool:
        """Return whether its directory was removed, moved or replaced."""

    def abandon(self) -> None:
        """Detach in a forked child, leaving all resources to the parent."""

    def close(self) -> None:
        """Close the stores and release the location."""


class DirectoryPlace:
    """A data directory, owned by this process until it is closed."""

    def __init__(self, path: Path, settings: Settings, *, restoring: bool = False) -> None:
        """Open the directory. Raises DirectoryHeld if another process owns it."""
        self.directory = path
        self.copies = SchemaBackups(path / COPIES_NAME, self._now)
        self.scratch = path / SCRATCH_NAME
        self.disk = Room(path, settings.disk_reserve_bytes, ballast=path / RESERVE_NAME)
        self.scratch_disk = self.disk
        self.indexes, self.indexes_disk = path / INDEXES_NAME, self.disk
        with self.disk.releasing():  # to delete on a full disk, the directory must be opened first
            self._lock = OwnerLock(path)
            self._identity = self._lock.identity
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
        self.clock = DirectoryClock(path)
        tenants = path / TENANTS_NAME
        make_directory(tenants)
        self.was_killed = (path / f"{METADATA_NAME}-wal").exists()
        self.metadata = SqliteMetadataStore(
            path / METADATA_NAME,
            synchronous=settings.synchronous,
            expected=any(tenants.glob("*.db")),  # stores without metadata: a loss, not a new directory
            copies=self.copies,
            room=self.disk,
            within=(self._identity,),
        )
        self.tenant_stores = SqliteTenantStores(
            tenants,
            max_open=_affordable(settings.max_open_stores),
            synchronous=settings.synchronous,
            copies=self.copies,
            room=Room(tenants, settings.disk_reserve_bytes),  # a link may lead to another disk
            within=(self._identity, FileIdentity(path / METADATA_NAME)),
        )

    def publish(self, socket: Path) -> None:
        """Write the socket path into the lock file."""
        self._lock.publish(socket)

    def keep(self) -> None:
        """Write the lock file again if it was removed."""
        self._lock.keep()
        self._keep_clock()

    def is_displaced(self) -> bool:
        """Return whether the directory was removed, moved or replaced."""
        return self._identity.problem() is not None

    def abandon(self) -> None:
        """Close the lock file; the parent keeps the lock."""
        self._lock.abandon()

    def close(self) -> None:
        """Close the stores and release the lock."""
        self.tenant_stores.close()
        self.metadata.close()
        self._keep_clock()
        self._lock.release()

    def _now(self) -> datetime:
        return self.clock.now()

    def _keep_clock(self) -> None:
        if not self.is_displaced():  # there may be another's record in its place
            self.clock.keep()


def _affordable(stores: int) -> int:
    """Cap the number of open stores by the limit on file descriptors (`ulimit -n`)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return stores
    return max(1, min(stores, (limit - OTHER_DESCRIPTORS) // DESCRIPTORS_PER_STORE))


class NoCopies:
    """No copies: databases are backed up with PostgreSQL's own tools."""

    def remove(self, *, until: datetime) -> int:  # noqa: ARG002
        """Return 0: there are no copies."""
        return 0

    def remove_before_purge(self, purged_at: datetime, store: str) -> int:  # noqa: ARG002
        """Return 0: there are no copies."""
        return 0


class UnknownDisk:
    """`akidb.ports.disk.Disk` of a database server, which cannot be asked: nothing is refused beforehand."""

    def require(self, growth_bytes: int = 0) -> None:
        """Do nothing."""

    def releasing(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def uploading(self) -> AbstractContextManager[Callable[[int], None]]:
        """Yield a function that does nothing."""
        return nullcontext(self.require)

    def spare_bytes(self) -> int:
        """Return the largest number: no limit is known."""
        return MAX_INTEGER


def _temporary_room(reserve_bytes: int) -> Disk:
    try:
        return Room(Path(tempfile.gettempdir()), reserve_bytes)
    except FileNotFoundError:  # none is usable; an import that needs one says so
        return UnknownDisk()


class PostgresPlace:
    """A PostgreSQL database, possibly shared with other processes."""

    directory = None
    scratch = None
    was_killed = False

    def __init__(self, url: str, settings: Settings) -> None:
        """Connect. Raises the errors of the stores, and of the directory for indexes."""
        self.copies = NoCopies()
        self.disk = UnknownDisk()
        self.scratch_disk = _temporary_room(settings.disk_reserve_bytes)
        self._index_directory = IndexDirectory(settings.index_path)
        self.indexes = self._index_directory.path
        self.indexes_disk: Disk = self.disk
        if self.indexes is not None:
            self.indexes_disk = Room(self.indexes, settings.disk_reserve_bytes)
        try:
            self._connect(url, settings)
        except BaseException:
            self._index_directory.release()
            raise

    def _connect(self, url: str, settings: Settings) -> None:
        from akidb.documents.postgresql import PostgresTenantStores
        from akidb.metadata.store import PostgresMetadataStore

        synchronous, pool_size = settings.synchronous, settings.postgresql_pool_size
        self.metadata = PostgresMetadataStore(url, synchronous=synchronous, pool_size=pool_size)
        try:
            self.tenant_stores = PostgresTenantStores(
                url, max_open=settings.max_open_stores, synchronous=synchronous, pool_size=pool_size
            )
        except BaseException:
            self.metadata.close()
            raise
        self.clock = self.metadata.clock

    def publish(self, socket: Path) -> None:
        """Do nothing: other processes connect to the database themselves."""

    def keep(self) -> None:
        """Do nothing, likewise."""

    def is_displaced(self) -> bool:
        """Return False: a database has no directory here."""
        return False

    def abandon(self) -> None:
        """Leave the connections to the parent."""
        self._index_directory.release()

    def close(self) -> None:
        """Close every connection."""
        self.tenant_stores.close()
        self.metadata.close()
        self._index_directory.release()


def prepare(target: Location) -> Location:
    """Return the canonical name of a location; create a directory if missing."""
    return target if isinstance(target, str) else _make_directory(target)


def open_place(target: Location, settings: Settings, *, restoring: bool = False) -> Place:
    """Open the stores of a location."""
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
