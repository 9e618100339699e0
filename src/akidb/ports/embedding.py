"""The ports to embedders, which convert texts to vectors, and to the installed models."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from akidb.domain.embedding import ModelInfo
from akidb.domain.migration import Progress

Purpose = Literal["document", "query"]


class Embedding(NamedTuple):
    """The result of one call: a row for each text, in the order of the texts."""

    vectors: NDArray[np.float32]
    """Shape `(n, dimension)`, C-contiguous, each row of Euclidean norm 1."""
    token_counts: Sequence[int]
    """Tokens of each text that the model processed, including special tokens."""
    truncated: Sequence[bool]
    """Whether the text had more tokens than the model accepts."""


class Embedder(Protocol):
    """A loaded model. Safe to call from several threads at once."""

    @property
    def model(self) -> str:
        """The model's name, such as `all-minilm-l6-v2`."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines the vectors; vectors of two fingerprints are never mixed."""

    @property
    def dimension(self) -> int:
        """Length of each vector."""

    @property
    def max_tokens(self) -> int:
        """Maximum tokens of a text; further tokens are truncated."""

    def embed(self, texts: Sequence[str], purpose: Purpose = "document") -> Embedding:
        """Embed `texts` (possibly none)."""


class EmbeddingModels(Protocol):
    """The models known on this machine; loads each once."""

    def list(self) -> list[ModelInfo]:
        """Return all known models, sorted by name."""

    def info(self, name: str) -> ModelInfo:
        """Return one model.

        Raises NotFound(entity `embedding_model`) for an unknown name.
        """

    def load(self, name: str) -> Embedder:
        """Return the embedder of a model, loaded on the first call and cached.

        Raises NotFound for an unknown name, Unavailable if its files are missing
        (naming `akidb model pull`) or do not have the expected hash.
        """

    def pull(self, name: str, progress: Progress | None = None) -> ModelInfo:
        """Download the model's files, verify their hashes and build the derived files.

        Does nothing if they are installed. Raises Unavailable if no source has them.
        """
