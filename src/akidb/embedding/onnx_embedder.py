"""Inference with a model's ONNX graph: tokenise, batch, infer, restore the order.

ONNX Runtime must be imported after this module, which switches off its telemetry.
"""

import ctypes
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb.embedding.batches import plan, require_unicode
from akidb.embedding.catalog import ModelSpec
from akidb.ports.embedding import Embedding, Purpose

# From 1.29, ONNX Runtime reports its use to Microsoft and keeps a device ID in the user's cache directory.
# It reads this once, when it is imported; its function `disable_telemetry_events` comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

BATCH_TOKENS = 512
"""Tokens per batch, padding included. The fastest of 256 to 1,024 on 2 cores, for short and long texts."""


_sessions: "weakref.WeakSet[Any]" = weakref.WeakSet()
"""All sessions of this process."""


class OnnxEmbedder:
    """A model loaded into ONNX Runtime, on the CPU.

    Thread-safe: the session and the tokenizer are not modified after construction.
    """

    def __init__(self, model: ModelSpec, *, graph: Path, tokenizer: Path, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self.model, self.fingerprint = model.name, model.fingerprint
        self.dimension, self.max_tokens = model.dimension, model.max_tokens
        self._prompts = model.prompts
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        # The file configures a fixed length of 128 tokens; truncation and padding are done here instead.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning would make one text 0.6 ms and bulk 5 % faster, but burn a core after every call.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The graph is already fused; a higher level would introduce SkipLayerNormalization again.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        _sessions.add(self._session)

    def embed(self, texts: Sequence[str], purpose: Purpose = "document") -> Embedding:
        """Embed `texts`; vectors are `(n, dimension)` float32.

        Raises InvalidArgument for a text that is not Unicode.
        """
        require_unicode(texts)
        prompt = self._prompts[purpose]
        encoded = [
            encoding.ids for encoding in self._tokenizer.encode_batch_fast([prompt + text for text in texts])
        ]
        tokens = [self._cut(ids) for ids in encoded]
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for batch in plan([len(ids) for ids in tokens], BATCH_TOKENS):
            vectors[batch] = self._infer([tokens[index] for index in batch])
        return Embedding(
            vectors=vectors,
            token_counts=[len(ids) for ids in tokens],
            truncated=[len(ids) > self.max_tokens for ids in encoded],
        )

    def _cut(self, ids: list[int]) -> list[int]:
        """Truncate to the model's maximum, keeping the last token, which ends the text."""
        if len(ids) <= self.max_tokens:
            return ids
        return ids[: self.max_tokens - 1] + ids[-1:]

    def _infer(self, rows: list[list[int]]) -> NDArray[np.float32]:
        lengths = np.array([len(ids) for ids in rows])
        mask = np.arange(lengths.max()) < lengths[:, None]
        padded = np.zeros(mask.shape, np.int64)
        padded[mask] = np.concatenate(rows)
        (vectors,) = self._session.run(
            ["embedding"], {"input_ids": padded, "attention_mask": mask.astype(np.int64)}
        )
        return np.asarray(vectors, np.float32)


def _after_fork_in_child() -> None:
    """Never destroy a session here: its destructor would wait for threads, which only the parent has."""
    for session in list(_sessions):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


os.register_at_fork(after_in_child=_after_fork_in_child)
