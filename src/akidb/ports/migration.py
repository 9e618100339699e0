"""The ports of the migration from AkiDB 1.x and back, to files and to the metadata store."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from akidb.domain.entities import AuditEntry, Database, Tenant
from akidb.domain.ids import TenantId

DEFAULT_DATABASE = "default"
"""The database that each tenant from 1.x gets."""


class FileProblem(NamedTuple):
    """A path and its problem."""

    path: str
    reason: str


class FoundFiles(msgspec.Struct):
    """The content of a directory; paths are relative to it, and sorted."""

    files: list[str]
    skipped: list[FileProblem]
    faults: list[FileProblem]


class UnreadableFile(Exception):
    """A file that exists but cannot be read as a manifest; the message says why."""


class ManifestOutput(Protocol):
    """A directory to which manifests are written atomically, all or none."""

    existing: set[str]
    """The paths of the files in it."""

    def refuse_strangers(self, paths: set[str]) -> None:
        """Raise InvalidArgument(`out`) if there is a file other than these."""

    def refuse_other(self, path: str, body: bytes) -> None:
        """Raise InvalidArgument(`out`) if the file exists with different content."""

    def write(self, path: str, body: bytes) -> None:
        """Write a file that does not exist; it gets its name in `finish`."""

    def finish(self) -> None:
        """Make the written files durable under their names."""


class ManifestFiles(Protocol):
    """Manifests of AkiDB 1.x in directories."""

    def find(self, directory: Path) -> FoundFiles:
        """Find the manifests in a directory, at any depth. Raises InvalidArgument(`v1_data_dir`)."""

    def read(self, directory: Path, path: str) -> bytes:
        """Return the bytes of a file that `find` found. Raises UnreadableFile."""

    def is_safe(self, path: str) -> bool:
        """Return whether a file may be written to this relative path."""

    def open_output(self, directory: Path) -> ManifestOutput:
        """Open a directory to write to. Raises InvalidArgument(`out`) for anything else."""


class LegacyManifest(msgspec.Struct, frozen=True, kw_only=True):
    """An original manifest, and the result of its migration."""

    tenant_id: TenantId
    path: bytes
    manifest: bytes
    sha256: bytes
    slug: str
    """The slug that the migration assigned to the tenant."""
    migrated_at: datetime


class ImportedTenant(NamedTuple):
    """A tenant migrated from 1.x, with its associated records."""

    tenant: Tenant
    database: Database
    manifest: LegacyManifest
    entry: AuditEntry


class KnownTenant(NamedTuple):
    """A tenant whose ID the store knows."""

    slug: str | None
    """None when the tenant is purged."""
    sha256: bytes | None
    """The hash of its manifest, None if it does not come from 1.x."""


class ExportedTenant(NamedTuple):
    """A tenant that is migrated back to 1.x."""

    tenant: Tenant
    manifest: LegacyManifest | None
    databases: Sequence[str]
    """The names of the databases that are not deleted, except `default`."""


class LegacyManifests(Protocol):
    """The original manifests of migrated tenants, and the tenants that are migrated."""

    def hold(self) -> None:
        """Lock tenants against other writers until the transaction ends."""

    def standing(self, tenant_ids: Sequence[TenantId]) -> dict[TenantId, KnownTenant]:
        """Return those that the store knows, including purged ones."""

    def taken_slugs(self, slugs: Sequence[str]) -> set[str]:
        """Return those that a tenant has, deleted or not."""

    def add(self, arrivals: Sequence[ImportedTenant]) -> None:
        """Add tenants that do not exist."""

    def replace(self, arrival: ImportedTenant) -> None:
        """Set an existing tenant to the content of its manifest, and increment its version."""

    def last_migrated_at(self) -> datetime | None:
        """Return the time of the last migration, None if there was none."""

    def written(self, migrated_at: datetime) -> Iterator[tuple[Tenant, LegacyManifest]]:
        """Return what the migration at that time wrote, sorted by ID."""

    def count_databases(self, migrated_at: datetime) -> tuple[int, int]:
        """Return how many of these tenants have a ready database `default`, and how many got it then."""

    def count_tenants(self) -> int:
        """Return the number of tenants, including deleted ones."""

    def paths(self) -> Iterator[tuple[TenantId, str, bytes | None]]:
        """Return each tenant's ID, slug and the path of its manifest, sorted by ID."""

    def departures(self) -> Iterator[ExportedTenant]:
        """Return every tenant, including deleted ones, sorted by ID."""
