"""The connection and its embedding models.

The awaitable twin of `akidb.client.handles.client`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from akidb.aio.base import Twin
from akidb.aio.migration import Migration
from akidb.aio.tenants import Tenants
from akidb.client.files import FileTarget
from akidb.client.handles import client as sync
from akidb.domain.archives import BackupReport
from akidb.domain.embedding import EmbeddingResult
from akidb.domain.upkeep import Finding, MaintenanceReport

if TYPE_CHECKING:
    from akidb.domain.embedding import ModelInfo
    from akidb.domain.migration import Progress


class Client(Twin[sync.Client]):
    """A connection to AkiDB, created by `akidb.connect`. Close it, or use it as a context manager."""

    __slots__ = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def tenants(self) -> Tenants:
        """The tenants."""
        return Tenants(self._sync.tenants, self._threads)

    @property
    def models(self) -> "Models":
        """The embedding models on the machine that runs AkiDB."""
        return Models(self._sync.models, self._threads)

    @property
    def migration(self) -> Migration:
        """The migration from AkiDB 1.x and back."""
        return Migration(self._sync.migration, self._threads)

    async def embed(self, texts: str | Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        """Embed up to 2,048 texts as vectors of shape `(n, dimension)`. Nothing is stored.

        Raises NotFound for an unknown model, Unavailable if the model is not installed.
        """
        return await self._threads(self._sync.embed, texts, model=model)

    async def backup(self, file: FileTarget, *, overwrite: bool = False) -> BackupReport:
        """Write a backup of all tenants to a file, for `akidb restore`. Other clients are not blocked.

        `file` is a path, which is written atomically, or an object with `write`. Raises AlreadyExists
        for an existing file, unless `overwrite` is set. Check `is_complete` of the report: tenants whose
        metadata or stores are damaged are left out, and named there.
        """
        return await self._threads(self._sync.backup, file, overwrite=overwrite)

    async def doctor(self) -> list[Finding]:
        """Check every store: files, counters and references between stores. Other clients are not blocked."""
        return await self._threads(self._sync.doctor)

    async def maintain(self) -> MaintenanceReport:
        """Purge deleted data past its retention, recover from crashes, and return a report.

        A process that keeps a store open does this automatically once a minute.
        """
        return await self._threads(self._sync.maintain)

    async def close(self) -> None:
        """Close files and connections. Do not call other methods afterwards; closing twice is harmless."""
        await self._threads.close(self._sync.close)


class Models(Twin[sync.Models]):
    """Embedding models."""

    __slots__ = ()

    async def list(self) -> "list[ModelInfo]":
        """Return all known models, sorted by name."""
        return await self._threads(self._sync.list)

    async def info(self, name: str) -> "ModelInfo":
        """Return a model. Raises NotFound for an unknown name."""
        return await self._threads(self._sync.info, name)

    async def pull(self, name: str, *, progress: "Progress | None" = None) -> "ModelInfo":
        """Download, verify and install a model's files, unless they are installed.

        `progress(stage, done, total)` is called periodically, but not for a remote server. Raises
        Unavailable if no source provides the files or their hashes do not match.
        """
        return await self._threads(self._sync.pull, name, progress=progress)
