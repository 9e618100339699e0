"""The connection itself, and the embedding models behind it."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from akidb.client.files import FileTarget, writing
from akidb.client.handles.migration import Migration
from akidb.client.handles.tenants import Tenants
from akidb.domain.embedding import EmbeddingResult, check_model
from akidb.domain.upkeep import Finding, MaintenanceReport
from akidb.operations.archives import CreateBackup
from akidb.operations.declare import Operations
from akidb.operations.embeddings import EmbedTexts, GetModel, ListModels, PullModel
from akidb.operations.upkeep import CheckStores, MaintainStores

if TYPE_CHECKING:
    from akidb.domain.embedding import ModelInfo
    from akidb.domain.migration import Progress


class Client:
    """A connection to AkiDB, made by `akidb.connect`. Close it, or use it in a `with` statement."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._perform = operations.perform

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
        """The embedding models of the machine that runs AkiDB."""
        return Models(self._operations)

    @property
    def migration(self) -> Migration:
        """The migration from AkiDB 1.x, and back."""
        return Migration(self._operations)

    def embed(self, texts: str | Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        """Turn up to 2,048 texts into vectors of shape `(n, dimension)`, storing nothing.

        Raises NotFound for an unknown model, Unavailable for one that is not installed.
        """
        if model is not None:
            check_model(model, "model")
        return self._perform(EmbedTexts(texts=[texts] if isinstance(texts, str) else texts, model=model))

    def backup(self, file: FileTarget, *, overwrite: bool = False) -> None:
        """Write a backup of all tenants to a file, for `akidb restore`; others may go on working.

        `file` is a path, which is written whole or not at all, or something with `write`. Raises
        AlreadyExists for a file that is there.
        """
        with writing(file, overwrite=overwrite) as target:
            self._perform(CreateBackup(), sink=target)

    def doctor(self) -> list[Finding]:
        """Look at every store, also while others work: files, counters, what crosses between stores."""
        return self._perform(CheckStores()).items

    def maintain(self) -> MaintenanceReport:
        """Purge what is past its retention, and finish what a crash left; says what was done.

        Whatever keeps a store open for long does so by itself, once a minute.
        """
        return self._perform(MaintainStores())

    def close(self) -> None:
        """Let go of files and connections. Nothing may be called afterwards; closing again is harmless."""
        self._operations.close()


class Models:
    """Embedding models."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._perform = operations.perform

    def list(self) -> "list[ModelInfo]":
        """All models that this AkiDB knows, by name."""
        return self._perform(ListModels())

    def info(self, name: str) -> "ModelInfo":
        """One model. Raises NotFound for an unknown name."""
        return self._perform(GetModel(model=check_model(name, "name")))

    def pull(self, name: str, *, progress: "Progress | None" = None) -> "ModelInfo":
        """Fetch a model's files, check them and make them ready, unless they are there.

        `progress(stage, done, total)` is called now and then, though never by a server. Raises
        Unavailable when no source has the files or they are not the expected ones.
        """
        return self._perform(PullModel(model=check_model(name, "name")), progress=progress)
