"""The connection itself, and the embedding models behind it.

The awaitable twin of `akidb.client.handles.client`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from akidb.aio.migration import Migration
from akidb.aio.tenants import Tenants
from akidb.client.files import FileTarget
from akidb.client.handles import client as sync
from akidb.client.threads import Threads
from akidb.domain.embedding import EmbeddingResult
from akidb.domain.upkeep import Finding, MaintenanceReport

if TYPE_CHECKING:
    from akidb.domain.embedding import ModelInfo
    from akidb.domain.migration import Progress


class Client:
    """A connection to AkiDB, made by `akidb.connect`. Close it, or use it in a `with` statement."""

    def __init__(self, handle: sync.Client, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

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
        """The embedding models of the machine that runs AkiDB."""
        return Models(self._sync.models, self._threads)

    @property
    def migration(self) -> Migration:
        """The migration from AkiDB 1.x, and back."""
        return Migration(self._sync.migration, self._threads)

    async def embed(self, texts: str | Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        """Turn up to 2,048 texts into vectors of shape `(n, dimension)`, storing nothing.

        Raises NotFound for an unknown model, Unavailable for one that is not installed.
        """
        return await self._threads(self._sync.embed, texts, model=model)

    async def backup(self, file: FileTarget, *, overwrite: bool = False) -> None:
        """Write a backup of all tenants to a file, for `akidb restore`; others may go on working.

        `file` is a path, which is written whole or not at all, or something with `write`. Raises
        AlreadyExists for a file that is there.
        """
        await self._threads(self._sync.backup, file, overwrite=overwrite)

    async def doctor(self) -> list[Finding]:
        """Look at every store, also while others work: files, counters, what crosses between stores."""
        return await self._threads(self._sync.doctor)

    async def maintain(self) -> MaintenanceReport:
        """Purge what is past its retention, and finish what a crash left; says what was done.

        Whatever keeps a store open for long does so by itself, once a minute.
        """
        return await self._threads(self._sync.maintain)

    async def close(self) -> None:
        """Let go of files and connections. Nothing may be called afterwards; closing again is harmless."""
        await self._threads.close(self._sync.close)


class Models:
    """Embedding models."""

    def __init__(self, handle: sync.Models, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

    async def list(self) -> "list[ModelInfo]":
        """All models that this AkiDB knows, by name."""
        return await self._threads(self._sync.list)

    async def info(self, name: str) -> "ModelInfo":
        """One model. Raises NotFound for an unknown name."""
        return await self._threads(self._sync.info, name)

    async def pull(self, name: str, *, progress: "Progress | None" = None) -> "ModelInfo":
        """Fetch a model's files, check them and make them ready, unless they are there.

        `progress(stage, done, total)` is called now and then, though never by a server. Raises
        Unavailable when no source has the files or they are not the expected ones.
        """
        return await self._threads(self._sync.pull, name, progress=progress)
