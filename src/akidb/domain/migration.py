"""Reports and errors of the migration of tenants from AkiDB 1.x and back.

Paths in reports are relative to the directory of the manifests; bytes that are not UTF-8 are escaped.
"""

import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from akidb.domain.errors import AlreadyExists, InvalidArgument
from akidb.domain.ids import TenantId

SUFFIX = ".json"
"""The suffix of manifest files, in upper or lower case."""

DirectoryLike = str | os.PathLike[str]

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`; the units depend on the stage."""


class Outcome(StrEnum):
    """The outcome for a manifest; in a dry run, the expected outcome."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    OVERWRITTEN = "overwritten"
    CONFLICT = "conflict"
    PURGED = "purged"
    """The tenant was purged, and is not migrated again."""


class ManifestFault(msgspec.Struct, frozen=True, kw_only=True):
    """An error in a file."""

    path: str
    field: str | None
    """The field, such as `quotas.max_storage_bytes`; None for the file as a whole."""
    reason: str


class SkippedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not a manifest."""

    path: str
    reason: str


class MigratedTenant(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest and its tenant."""

    path: str
    tenant_id: TenantId
    slug: str | None
    """The slug in 2.0, None for a purged tenant."""
    given_slug: str | None
    """The slug in the manifest, even if it is invalid; truncated to 100 characters."""
    outcome: Outcome
    reason: str | None = None
    """The reason for a conflict."""
    unknown_fields: Sequence[str] = ()
    content_hash: str | None = None
    """SHA-256 of the migrated content, including the manifest's bytes; verified by reading it back."""


class Counts(msgspec.Struct, kw_only=True):
    """The number of manifests per outcome; `faulty` and `skipped` count files."""

    manifests: int = 0
    created: int = 0
    unchanged: int = 0
    overwritten: int = 0
    conflicts: int = 0
    purged: int = 0
    faulty: int = 0
    skipped: int = 0


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of what was read back and verified before the commit."""

    tenants: int
    databases: int
    manifests: int


class MigrationReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a migration from 1.x, or of a dry run."""

    v1_data_dir: str
    dry_run: bool
    counts: Counts
    faults: Sequence[ManifestFault] = ()
    skipped: Sequence[SkippedFile] = ()
    tenants: Sequence[MigratedTenant] = ()
    """Every manifest, sorted by tenant ID."""
    verification: Verification | None = None
    """None in a dry run, and when nothing was written."""


class WrittenManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant and the file that it was written to."""

    path: str
    tenant_id: TenantId
    slug: str
    origin: str
    """`unchanged` or `changed` since the migration from 1.x, or `new` in 2.0."""
    left_behind: Sequence[str] = ()
    """Databases other than `default`, which 1.x cannot represent."""
    moved_from: str | None = None
    """The original path of the manifest, if another one now has it or it leads out of the directory."""


class ReturnReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a migration back to 1.x."""

    out: str
    unchanged: int
    changed: int
    new: int
    tenants: Sequence[WrittenManifest] = ()
    """Every tenant, sorted by ID."""


class FaultyManifests(InvalidArgument):
    """Some files are faulty, so nothing was written. `report` lists all of them."""

    def __init__(self, report: MigrationReport) -> None:
        first = report.faults[0]
        where = f"{first.path}: {first.field}" if first.field else first.path
        count = report.counts.faulty
        files = "1 file is faulty" if count == 1 else f"{count} files are faulty"
        super().__init__("v1_data_dir", f"{files}, and nothing is migrated; {where}: {first.reason}")
        self.report = report


class ManifestConflicts(AlreadyExists):
    """Some manifests conflict with existing tenants, so nothing was written. `report` lists them."""

    def __init__(self, report: MigrationReport) -> None:
        first = next(each for each in report.tenants if each.outcome is Outcome.CONFLICT)
        super().__init__("tenant", "tenant_id", first.tenant_id)
        count = report.counts.conflicts
        manifests = "1 manifest conflicts" if count == 1 else f"{count} manifests conflict"
        self.message = (
            f"{manifests} with existing tenants, and nothing is migrated; {first.path}: {first.reason}"
        )
        self.args = (self.message,)
        self.report = report


def shown(path: str) -> str:
    """Return a path that can be printed and put into JSON, even if its bytes are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def check_directory(value: object, field: str) -> Path:
    """Return the path of a directory, which need not exist yet."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if isinstance(path, bytes) or not path or "\0" in path:
        raise InvalidArgument(field, "must be the path of a directory")
    return Path(path)
