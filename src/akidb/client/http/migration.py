"""The migration from 1.x and back, which no server is asked for: it works on files where the data is."""

from typing import NoReturn

from akidb.domain.errors import InvalidArgument
from akidb.ports.migration import DirectoryLike, Progress


class HttpMigration:
    """`akidb.ports.operations.MigrationOperations`, refused."""

    def v1_to_v2(
        self,
        v1_data_dir: DirectoryLike,
        *,
        dry_run: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> NoReturn:
        """Raise InvalidArgument(`url`)."""
        _refuse(v1_data_dir, dry_run, overwrite, progress)

    def v2_to_v1(self, out: DirectoryLike, *, progress: Progress | None = None) -> NoReturn:
        """Raise InvalidArgument(`url`)."""
        _refuse(out, progress)


def _refuse(*_arguments: object) -> NoReturn:
    raise InvalidArgument(
        "url", "must be the data directory or the database: stop its server, and migrate where the data is"
    )
