"""The default embedding model: tokens per second in bulk, and the time of one text."""

import importlib
import inspect
from collections.abc import Iterator

from akidb.bench.measure import Line, at_most, in_turns, latency_lines
from akidb.embedding.models import LocalModels
from akidb.settings import load

SUITE = "embedding"
TEXTS = 400
MODULES = (
    "builtins",
    "os",
    "math",
    "itertools",
    "functools",
    "statistics",
    "subprocess",
    "shutil",
    "random",
    "asyncio",
)
SHORT_CHARACTERS = 100
"""About 20 tokens, as in a typical question."""


def run() -> list[Line]:
    """Return the results of this suite; downloads the model if it is missing."""
    settings = load()
    models = LocalModels(settings.models_path)
    models.pull(settings.default_model)
    embedder = models.load(settings.default_model)
    texts = list(_texts())[:TEXTS]
    tokens = sum(embedder.embed(texts).token_counts)
    bulk = in_turns({"akidb": lambda _: embedder.embed(texts)}, 3, warm_up=0)["akidb"]
    short = [text for text in texts if len(text) <= SHORT_CHARACTERS]
    one = in_turns({"akidb": lambda n: embedder.embed([short[n % len(short)]])}, 200)
    rate = Line(
        suite=SUITE,
        work=f"embed {len(texts)} docstrings of {tokens:,} tokens",
        side="akidb",
        p50=tokens / bulk.p50,
        p95=tokens / bulk.p95,
        unit="tokens/s",
    )
    return [
        rate,
        *latency_lines(SUITE, f"embed one text of at most {SHORT_CHARACTERS} characters", one, at_most(3000)),
    ]


def _texts() -> Iterator[str]:
    """Yield docstrings of functions and classes of the standard library."""
    for name in MODULES:
        for _, member in inspect.getmembers(importlib.import_module(name), callable):
            text = inspect.getdoc(member)
            if text and 40 <= len(text) <= 800:
                yield text
