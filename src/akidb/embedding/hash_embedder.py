"""An embedder for tests, without model files: texts that share words have similar vectors."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from akidb.embedding.batches import require_unicode
from akidb.embedding.catalog import ModelSpec
from akidb.ports.embedding import Embedding, Purpose

_WORD = re.compile(r"\w+")


class HashEmbedder:
    """Sums a vector of signs per word, then scales the sum to norm 1."""

    def __init__(self, model: ModelSpec) -> None:
        self.model, self.fingerprint = model.name, model.fingerprint
        self.dimension, self.max_tokens = model.dimension, model.max_tokens
        self._prompts = model.prompts

    def embed(self, texts: Sequence[str], purpose: Purpose = "document") -> Embedding:
        """Embed `texts`; vectors are `(n, dimension)` float32.

        Raises InvalidArgument for a text that is not Unicode.
        """
        require_unicode(texts)
        prompt = self._prompts[purpose]
        words = [_WORD.findall((prompt + text).casefold()) for text in texts]
        most = self.max_tokens - 1
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for row, found in zip(vectors, words, strict=True):
            row[:] = self._sum_of_signs(found[:most])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embedding(
            vectors=vectors,
            token_counts=[min(len(found), most) + 1 for found in words],
            truncated=[len(found) > most for found in words],
        )

    def _sum_of_signs(self, words: list[str]) -> NDArray[np.float32]:
        # The start token, which an empty text has as well, weighs 0.25: words contribute integers to
        # each component, so the sum is never zero.
        weights = np.array([0.25, *(1.0 for _ in words)], np.float32)
        digests = b"".join(
            hashlib.blake2b(word.encode(), digest_size=self.dimension // 8).digest() for word in ["", *words]
        )
        bits = np.unpackbits(np.frombuffer(digests, np.uint8).reshape(len(weights), -1), axis=1)
        return weights @ (bits.astype(np.float32) * 2 - 1)
