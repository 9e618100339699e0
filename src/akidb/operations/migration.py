"""The migration from AkiDB 1.x and back. It works on files where the data is: a server is not asked."""

from typing import Annotated

from akidb.domain.fields import DryRun, Flag, field
from akidb.domain.migration import DirectoryLike, MigrationReport, ReturnReport, check_directory
from akidb.operations.declare import Request, operation

Directory = Annotated[DirectoryLike, field(check_directory, "A directory.", wire=str)]


@operation("migration.v1_to_v2", local=True)
class MigrateV1ToV2(Request[MigrationReport], kw_only=True, frozen=True):
    """Migrate the tenant of every manifest in a directory of AkiDB 1.x, or none of them.

    With `overwrite`, a manifest that has changed since replaces its tenant.
    """

    v1_data_dir: Directory
    dry_run: DryRun = False
    overwrite: Flag = False


@operation("migration.v2_to_v1", local=True)
class MigrateV2ToV1(Request[ReturnReport], kw_only=True, frozen=True):
    """Write every tenant as a manifest of AkiDB 1.x into a directory that holds nothing else."""

    out: Directory
