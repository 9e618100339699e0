"""The glosses of WordNet 3.0, embedded once with AkiDB's default model and cached.

117,659 short texts on every subject, each with its lexicographer's category, such as `noun.animal`. They
come from the files of Debian's package `wordnet-base`; the cache keeps them with their vectors, so that the
package and the model are needed only once.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.embedding.models import LocalModels
from akidb.settings import Settings

SOURCE = Path("/usr/share/wordnet")
PACKAGE = "wordnet-base"
CHUNK = 2048
"""Texts embedded between two progress messages; an interrupted run continues after the last full chunk."""

# lexnames(5WN): the number in a data file is the place in this list.
CATEGORIES = (
    *("adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact"),
    *("noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling"),
    *("noun.food", "noun.group", "noun.location", "noun.motive", "noun.object", "noun.person"),
    *("noun.phenomenon", "noun.plant", "noun.possession", "noun.process", "noun.quantity", "noun.relation"),
    *("noun.shape", "noun.state", "noun.substance", "noun.time", "verb.body", "verb.change"),
    *("verb.cognition", "verb.communication", "verb.competition", "verb.consumption", "verb.contact"),
    *("verb.creation", "verb.emotion", "verb.motion", "verb.perception", "verb.possession", "verb.social"),
    *("verb.stative", "verb.weather", "adj.ppl"),
)


class MissingData(Exception):
    """The texts are neither cached nor installed."""


class Gloss(msgspec.Struct, frozen=True):
    """A set of synonyms and its definition."""

    words: str
    """The synonyms, separated by commas."""
    category: str
    text: str


class Cached(NamedTuple):
    """The texts and the memory-mapped vectors of shape `(n, dimension)`, in the same order."""

    glosses: list[Gloss]
    vectors: NDArray[np.float32]
    folder: Path


def cache_folder() -> Path:
    """Return the folder of the benchmarks in the user's cache directory, that of the models by default.

    Raises MissingData if the user has no home directory.
    """
    from platformdirs import user_cache_path

    try:
        return user_cache_path("akidb") / "bench"
    except RuntimeError:
        raise MissingData("there is no home directory to cache the vectors in") from None


def cached(folder: Path, settings: Settings) -> Cached:
    """Return the embedded glosses below `folder`, made there if they are missing.

    Raises MissingData if they are not cached and the package `wordnet-base` is not installed.
    """
    models = LocalModels(settings.models_path)
    model = models.info(settings.default_model)
    version = model.fingerprint.removeprefix("sha256:")[:12]
    place = folder / f"wordnet-{model.name}-{version}"
    texts, vectors = place / "glosses.jsonl", place / "vectors.npy"
    if not vectors.is_file():
        place.mkdir(parents=True, exist_ok=True)
        _write_texts(texts)
        models.pull(model.name)
        _embed(models, model.name, _read_texts(texts), vectors)
    return Cached(_read_texts(texts), np.load(vectors, mmap_mode="r"), place)


def read(source: Path = SOURCE) -> list[Gloss]:
    """Return the glosses of the data files in `source`: nouns, verbs, adjectives, adverbs.

    Raises MissingData if the files are not there.
    """
    if not (source / "data.noun").is_file():
        raise MissingData(
            f"the glosses of WordNet are not in {source}: install Debian's package {PACKAGE}"
            f" (apt-get install {PACKAGE}), or measure the seeded set with --data seeded"
        )
    return [gloss for kind in ("noun", "verb", "adj", "adv") for gloss in _file(source / f"data.{kind}")]


def _file(path: Path) -> Iterator[Gloss]:
    """Yield the glosses of one data file, whose format is that of wndb(5WN)."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(" "):  # the licence
                continue
            head, _, text = line.partition(" | ")
            fields = head.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            yield Gloss(
                words=", ".join(word.replace("_", " ") for word in words),
                category=CATEGORIES[int(fields[1])],
                text=text.strip(),
            )


def _write_texts(path: Path) -> None:
    if not path.is_file():
        lines = b"\n".join(msgspec.json.encode(gloss) for gloss in read())
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(lines)
        unfinished.replace(path)


def _read_texts(path: Path) -> list[Gloss]:
    decoder = msgspec.json.Decoder(Gloss)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]


def _embed(models: LocalModels, model: str, glosses: list[Gloss], path: Path) -> None:
    """Write the vectors of the glosses, a chunk at a time to a raw file and then as `.npy`."""
    embedder = models.load(model)
    raw = path.with_suffix(".part")
    row = 4 * embedder.dimension
    with raw.open("ab") as file:
        done = file.tell() // (row * CHUNK) * CHUNK
        file.truncate(done * row)
        for at in range(done, len(glosses), CHUNK):
            print(f"embedding {at:,} of {len(glosses):,} texts ...", file=sys.stderr, flush=True)
            file.write(embedder.embed([gloss.text for gloss in glosses[at : at + CHUNK]]).vectors.tobytes())
            file.flush()
    made = path.with_suffix(".made")
    shape = (len(glosses), embedder.dimension)
    with made.open("wb") as file:
        np.save(file, np.memmap(raw, np.float32, mode="r", shape=shape))
    made.replace(path)
    raw.unlink()
