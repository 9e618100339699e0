"""The move of tenants from AkiDB 1.x and back: its reports, and the errors that carry one.

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
"""Of a manifest's file, in any case of letters."""

DirectoryLike = str | os.PathLike[str]

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`; units are the stage's own."""


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


def shown(path: str) -> str:
    """A path that can be printed and put into JSON, also where its bytes are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def check_directory(value: object, field: str) -> Path:
    """The path of a directory, which need not exist yet."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if isinstance(path, bytes) or not path or "\0" in path:
        raise InvalidArgument(field, "must be the path of a directory")
    return Path(path)
