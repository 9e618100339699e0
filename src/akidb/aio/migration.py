"""The migration of tenants from AkiDB 1.x, and back.

The awaitable twin of `akidb.client.handles.migration`, generated from it by `tools/generate_aio.py`.
"""

from typing import TYPE_CHECKING

from akidb.client.handles import migration as sync
from akidb.client.threads import Threads

if TYPE_CHECKING:
    from akidb.domain.migration import DirectoryLike, MigrationReport, Progress, ReturnReport


class Migration:
    """From 1.x and back, with files of this machine: a server is not asked."""

    def __init__(self, handle: sync.Migration, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

    async def v1_to_v2(
        self,
        v1_data_dir: "DirectoryLike",
        *,
        dry_run: bool = False,
        overwrite: bool = False,
        progress: "Progress | None" = None,
    ) -> "MigrationReport":
        """Take over the tenant of every manifest in a directory of 1.x, or none of them.

        Doing it again changes nothing. `dry_run` says what would be done. With `overwrite` a tenant whose
        manifest has changed since becomes what it says. `progress(stage, done, total)` is called now and
        then.

        Raises FaultyManifests, an InvalidArgument, when a file is wrong, and ManifestConflicts, an
        AlreadyExists, when a manifest differs from what was migrated; both have a `report`.
        """
        return await self._threads(
            self._sync.v1_to_v2, v1_data_dir, dry_run=dry_run, overwrite=overwrite, progress=progress
        )

    async def v2_to_v1(self, out: "DirectoryLike", *, progress: "Progress | None" = None) -> "ReturnReport":
        """Write every tenant as a manifest of 1.x into a directory, under its old path where it has one.

        What came from 1.x and was not changed since is the same byte for byte. Raises InvalidArgument(`out`)
        for a directory that holds other files.
        """
        return await self._threads(self._sync.v2_to_v1, out, progress=progress)
