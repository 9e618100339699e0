"""Migration of tenants from AkiDB 1.x and back."""

from typing import TYPE_CHECKING

from akidb.client.handles.base import Bound
from akidb.operations.migration import MigrateV1ToV2, MigrateV2ToV1

if TYPE_CHECKING:
    from akidb.domain.migration import DirectoryLike, MigrationReport, Progress, ReturnReport


class Migration(Bound):
    """Migration from 1.x and back, with local files; not available over HTTP."""

    __slots__ = ()

    def v1_to_v2(
        self,
        v1_data_dir: "DirectoryLike",
        *,
        dry_run: bool = False,
        overwrite: bool = False,
        progress: "Progress | None" = None,
    ) -> "MigrationReport":
        """Import the tenants of all manifests in a 1.x directory, atomically.

        Running it again changes nothing. With `dry_run`, it only reports what it would do. With `overwrite`,
        a tenant whose manifest has changed since is overwritten. `progress(stage, done, total)` is called
        periodically.

        Raises FaultyManifests, an InvalidArgument, if a file is invalid, and ManifestConflicts, an
        AlreadyExists, if a manifest differs from what was migrated; both have a `report`.
        """
        return self._perform(
            MigrateV1ToV2(v1_data_dir=v1_data_dir, dry_run=dry_run, overwrite=overwrite), progress=progress
        )

    def v2_to_v1(self, out: "DirectoryLike", *, progress: "Progress | None" = None) -> "ReturnReport":
        """Write every tenant as a 1.x manifest into a directory, at its original path if it came from 1.x.

        Manifests of unchanged tenants from 1.x are byte-identical. Raises InvalidArgument(`out`) if the
        directory contains other files.
        """
        return self._perform(MigrateV2ToV1(out=out), progress=progress)
