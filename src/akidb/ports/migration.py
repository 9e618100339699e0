"""The move from AkiDB 1.x and back: what is reported of it, and what it needs of the metadata store.

Paths in reports are relative to the directory of the manifests; bytes that are not UTF-8 are escaped.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from akidb.domain.entities import AuditEntry, Database, Tenant
from akidb.domain.errors import AlreadyExists, InvalidArgument
from akidb.domain.ids import TenantId

DirectoryLike = str | os.PathLike[str]

DEFAULT_DATABASE = "default"
"""What each tenant gets that comes from 1.x."""

Progress = Callable[[str, int, int], None]
"""Called with a stage, how many of its manifests are done, and how many there are."""


class Outcome(StrEnum):
    """What became of a manifest, or in a dry run what would."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    OVERWRITTEN = "overwritten"
    CONFLICT = "conflict"
    PURGED = "purged"
    """Its tenant was purged, and is not brought back."""


class ManifestFault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with one file."""

    path: str
    field: str | None
    """Where, such as `quotas.max_storage_bytes`; None for the file as a whole."""
    reason: str


class SkippedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is no manifest."""

    path: str
    reason: str


class MigratedTenant(msgspec.Struct, frozen=True, kw_only=True):
    """One manifest and its tenant."""

    path: str
    tenant_id: TenantId
    slug: str | None
    """The slug in 2.0, None for a purged tenant."""
    given_slug: str | None
    """What the manifest gives as a slug, also when it is none; cut after 100 characters."""
    outcome: Outcome
    reason: str | None = None
    """Why it is a conflict."""
    unknown_fields: Sequence[str] = ()
    content_hash: str | None = None
    """SHA-256 of what was taken over, the manifest's bytes included; read back and compared."""


class Counts(msgspec.Struct, kw_only=True):
    """How many manifests had which outcome; `faulty` and `skipped` count files."""

    manifests: int = 0
    created: int = 0
    unchanged: int = 0
    overwritten: int = 0
    conflicts: int = 0
    purged: int = 0
    faulty: int = 0
    skipped: int = 0


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was read back before the commit, and agreed."""

    tenants: int
    databases: int
    manifests: int


class MigrationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration from 1.x did, or would do."""

    v1_data_dir: str
    dry_run: bool
    counts: Counts
    faults: Sequence[ManifestFault] = ()
    skipped: Sequence[SkippedFile] = ()
    tenants: Sequence[MigratedTenant] = ()
    """Every manifest, in the order of the tenants' IDs."""
    verification: Verification | None = None
    """None in a dry run, and when nothing was written."""


class WrittenManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant and the file that it went to."""

    path: str
    tenant_id: TenantId
    slug: str
    origin: str
    """`unchanged` since it came from 1.x, `changed` since, or `new` in 2.0."""
    left_behind: Sequence[str] = ()
    """Databases beside `default`, for which 1.x has no place."""
    moved_from: str | None = None
    """The path that the manifest had, where another has it now or it leads out of the directory."""


class ReturnReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration back to 1.x wrote."""

    out: str
    unchanged: int
    changed: int
    new: int
    tenants: Sequence[WrittenManifest] = ()
    """Every tenant, in the order of the IDs."""


class FaultyManifests(InvalidArgument):
    """There are faulty files, so that nothing was written. `report` names all of them."""

    def __init__(self, report: MigrationReport) -> None:
        first = report.faults[0]
        where = f"{first.path}: {first.field}" if first.field else first.path
        count = report.counts.faulty
        files = "1 file is faulty" if count == 1 else f"{count} files are faulty"
        super().__init__("v1_data_dir", f"{files}, and nothing is migrated; {where}: {first.reason}")
        self.report = report


class ManifestConflicts(AlreadyExists):
    """Manifests differ from what was migrated before, so that nothing was written. `report` names them."""

    def __init__(self, report: MigrationReport) -> None:
        first = next(each for each in report.tenants if each.outcome is Outcome.CONFLICT)
        super().__init__("tenant", "tenant_id", first.tenant_id)
        count = report.counts.conflicts
        manifests = "1 manifest is in conflict" if count == 1 else f"{count} manifests are in conflict"
        self.message = (
            f"{manifests} with what is there, and nothing is migrated; {first.path}: {first.reason}"
        )
        self.args = (self.message,)
        self.report = report


class MigrationOperations(Protocol):
    """From AkiDB 1.x and back. Asked of the process that has the data: a server refuses."""

    def v1_to_v2(
        self,
        v1_data_dir: DirectoryLike,
        *,
        dry_run: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> MigrationReport:
        """Take over the tenant of every manifest in a directory, or none of them.

        Raises FaultyManifests when a file is wrong, ManifestConflicts when one differs from what was
        migrated and is not to `overwrite` it.
        """
        ...

    def v2_to_v1(self, out: DirectoryLike, *, progress: Progress | None = None) -> ReturnReport:
        """Write every tenant as a manifest into a directory that holds nothing else."""
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
