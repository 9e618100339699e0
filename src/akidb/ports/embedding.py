"""What turns texts into vectors, and where the models of a machine are kept."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from akidb.domain.embedding import ModelInfo
from akidb.domain.migration import Progress

Purpose = Literal["document", "query"]


class Embedding(NamedTuple):
    """The answer to one call: a row for each text, in the order of the texts."""

    vectors: NDArray[np.float32]
    """Shape `(n, dimension)`, C-contiguous, each row of Euclidean norm 1."""
    token_counts: Sequence[int]
    """Tokens of each text that went into the model, special tokens included."""
    truncated: Sequence[bool]
    """Whether the text had more tokens than the model takes."""


class Embedder(Protocol):
    """A loaded model. Safe to call from several threads at once."""

    @property
    def model(self) -> str:
        """The model's name, such as `all-minilm-l6-v2`."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash over all that decides the vectors; vectors of two fingerprints are never mixed."""
        ...

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """Tokens of a text beyond this are cut off."""
        ...

    def embed(self, texts: Sequence[str], purpose: Purpose = "document") -> Embedding:
        """Embed `texts` (possibly none)."""
        ...


class EmbeddingModels(Protocol):
    """The models that this machine knows; loads each once."""

    def list(self) -> list[ModelInfo]:
        """All known models, by name."""
        ...

    def info(self, name: str) -> ModelInfo:
        """One model.

        Raises NotFound(entity `embedding_model`) for a name that is not known.
        """
        ...

    def load(self, name: str) -> Embedder:
        """The embedder of a model, loaded at the first call and kept.

        Raises NotFound for an unknown name, Unavailable when its files are missing
        (naming `akidb model pull`) or do not have the expected hash.
        """
        ...

    def pull(self, name: str, progress: Progress | None = None) -> ModelInfo:
        """Fetch the model's files, check them by hash and build what is derived from them.

        Does nothing when they are there. Raises Unavailable when no source has them.
        """
        ...
