"""Migration from AkiDB 1.x and back. It works on local files and never goes through a server."""

from typing import Annotated

from akidb.domain.fields import DryRun, Flag, field
from akidb.domain.migration import DirectoryLike, MigrationReport, ReturnReport, check_directory
from akidb.operations.declare import Request, operation

Directory = Annotated[DirectoryLike, field(check_directory, "A directory.", wire=str)]


@operation("migration.v1_to_v2", local=True)
class MigrateV1ToV2(Request[MigrationReport], kw_only=True, frozen=True):
    """Migrate the tenants of all manifests in an AkiDB 1.x directory, atomically.

    With `overwrite`, a manifest that has changed since its migration replaces its tenant.
    """

    v1_data_dir: Directory
    dry_run: DryRun = False
    overwrite: Flag = False


@operation("migration.v2_to_v1", local=True, audited=False)
class MigrateV2ToV1(Request[ReturnReport], kw_only=True, frozen=True):
    """Write every tenant as an AkiDB 1.x manifest to a directory that contains nothing else."""

    out: Directory
