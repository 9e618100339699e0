"""What the migration from AkiDB 1.x and back needs of files and of the metadata store."""

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
    """A path, and what is wrong with it."""

    path: str
    reason: str


class FoundFiles(msgspec.Struct):
    """What a directory holds; paths are relative to it, and sorted."""

    files: list[str]
    skipped: list[FileProblem]
    faults: list[FileProblem]


class UnreadableFile(Exception):
    """A file that exists and cannot be read as a manifest; the message says why."""


class ManifestOutput(Protocol):
    """A directory that manifests are written to, all of them or none."""

    existing: set[str]
    """The paths of the files in it."""

    def refuse_strangers(self, paths: set[str]) -> None:
        """Raise InvalidArgument(`out`) when there is a file that is none of these."""
        ...

    def refuse_other(self, path: str, body: bytes) -> None:
        """Raise InvalidArgument(`out`) when the file exists with other bytes."""
        ...

    def write(self, path: str, body: bytes) -> None:
        """Write a file that does not exist; it gets its name in `finish`."""
        ...

    def finish(self) -> None:
        """Make what was written durable, under its names."""
        ...


class ManifestFiles(Protocol):
    """Manifests of AkiDB 1.x in directories."""

    def find(self, directory: Path) -> FoundFiles:
        """The manifests in a directory, at any depth. Raises InvalidArgument(`v1_data_dir`)."""
        ...

    def read(self, directory: Path, path: str) -> bytes:
        """The bytes of a file that `find` found. Raises UnreadableFile."""
        ...

    def is_safe(self, path: str) -> bool:
        """Whether a file may be written under this relative path."""
        ...

    def open_output(self, directory: Path) -> ManifestOutput:
        """A directory to write to. Raises InvalidArgument(`out`) for anything else."""
        ...


class LegacyManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest as it was, and what came of it."""

    tenant_id: TenantId
    path: bytes
    manifest: bytes
    sha256: bytes
    slug: str
    """What the migration gave the tenant."""
    migrated_at: datetime


class ImportedTenant(NamedTuple):
    """A tenant that comes from 1.x, and all that comes with it."""

    tenant: Tenant
    database: Database
    manifest: LegacyManifest
    entry: AuditEntry


class KnownTenant(NamedTuple):
    """A tenant's ID that the store knows."""

    slug: str | None
    """None when the tenant is purged."""
    sha256: bytes | None
    """Of the manifest that it came with, None when it did not come from 1.x."""


class ExportedTenant(NamedTuple):
    """A tenant that goes back to 1.x."""

    tenant: Tenant
    manifest: LegacyManifest | None
    databases: Sequence[str]
    """The names of those that are not deleted, `default` left out."""


class LegacyManifests(Protocol):
    """The manifests that tenants came with, and the tenants that come and go with them."""

    def hold(self) -> None:
        """Keep others from writing tenants until the transaction ends."""
        ...

    def standing(self, tenant_ids: Sequence[TenantId]) -> dict[TenantId, KnownTenant]:
        """Those that the store knows, purged ones too."""
        ...

    def taken_slugs(self, slugs: Sequence[str]) -> set[str]:
        """Those that a tenant has, deleted or not."""
        ...

    def add(self, arrivals: Sequence[ImportedTenant]) -> None:
        """Add tenants that are not there."""
        ...

    def replace(self, arrival: ImportedTenant) -> None:
        """Make a tenant that is there what its manifest says; its version goes up by one."""
        ...

    def last_migrated_at(self) -> datetime | None:
        """The time of the last migration, None when there was none."""
        ...

    def written(self, migrated_at: datetime) -> Iterator[tuple[Tenant, LegacyManifest]]:
        """What the migration of that moment wrote, in the order of the IDs."""
        ...

    def count_databases(self, migrated_at: datetime) -> int:
        """How many of these tenants have a database `default` that is ready."""
        ...

    def count_tenants(self) -> int:
        """How many tenants there are, deleted ones too."""
        ...

    def paths(self) -> Iterator[tuple[TenantId, str, bytes | None]]:
        """Each tenant's ID, slug and the path of its manifest, in the order of the IDs."""
        ...

    def departures(self) -> Iterator[ExportedTenant]:
        """Every tenant, deleted ones too, in the order of the IDs."""
        ...
