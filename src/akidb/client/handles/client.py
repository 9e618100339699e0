"""The connection and its embedding models."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from akidb.client.files import FileTarget, writing
from akidb.client.handles.base import Bound
from akidb.client.handles.migration import Migration
from akidb.client.handles.tenants import Tenants
from akidb.domain.archives import BackupReport
from akidb.domain.embedding import EmbeddingResult, check_model
from akidb.domain.upkeep import Finding, MaintenanceReport
from akidb.operations.archives import CreateBackup
from akidb.operations.embeddings import EmbedTexts, GetModel, ListModels, PullModel
from akidb.operations.upkeep import CheckStores, MaintainStores

if TYPE_CHECKING:
    from akidb.domain.embedding import ModelInfo
    from akidb.domain.migration import Progress


class Client(Bound):
    """A connection to AkiDB, created by `akidb.connect`. Close it, or use it as a context manager."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def tenants(self) -> Tenants:
        """The tenants."""
        return Tenants(self._operations)

    @property
    def models(self) -> "Models":
        """The embedding models on the machine that runs AkiDB."""
        return Models(self._operations)

    @property
    def migration(self) -> Migration:
        """The migration from AkiDB 1.x and back."""
        return Migration(self._operations)

    def embed(self, texts: str | Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        """Embed up to 2,048 texts as vectors of shape `(n, dimension)`. Nothing is stored.

        Raises NotFound for an unknown model, Unavailable if the model is not installed.
        """
        if model is not None:
            check_model(model, "model")
        return self._perform(EmbedTexts(texts=[texts] if isinstance(texts, str) else texts, model=model))

    def backup(self, file: FileTarget, *, overwrite: bool = False) -> BackupReport:
        """Write a backup of all tenants to a file, for `akidb restore`. Other clients are not blocked.

        `file` is a path, which is written atomically, or an object with `write`. Raises AlreadyExists
        for an existing file, unless `overwrite` is set. Check `is_complete` of the report: tenants whose
        metadata or stores are damaged are left out, and named there.
        """
        with writing(file, overwrite=overwrite) as target:
            return self._perform(CreateBackup(), sink=target)

    def doctor(self) -> list[Finding]:
        """Check every store: files, counters and references between stores. Other clients are not blocked."""
        return self._perform(CheckStores()).items

    def maintain(self) -> MaintenanceReport:
        """Purge deleted data past its retention, recover from crashes, and return a report.

        A process that keeps a store open does this automatically once a minute.
        """
        return self._perform(MaintainStores())

    def close(self) -> None:
        """Close files and connections. Do not call other methods afterwards; closing twice is harmless."""
        self._operations.close()


class Models(Bound):
    """Embedding models."""

    __slots__ = ()

    def list(self) -> "list[ModelInfo]":
        """Return all known models, sorted by name."""
        return self._perform(ListModels())

    def info(self, name: str) -> "ModelInfo":
        """Return a model. Raises NotFound for an unknown name."""
        return self._perform(GetModel(model=check_model(name, "name")))

    def pull(self, name: str, *, progress: "Progress | None" = None) -> "ModelInfo":
        """Download, verify and install a model's files, unless they are installed.

        `progress(stage, done, total)` is called periodically, but not for a remote server. Raises
        Unavailable if no source provides the files or their hashes do not match.
        """
        return self._perform(PullModel(model=check_model(name, "name")), progress=progress)
