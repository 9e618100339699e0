"""What is searched: documents with vectors, texts and metadata, and questions that are not among them.

`wordnet`: the embedded glosses of WordNet; `QUESTIONS` of them, drawn at random (seeded), are the questions.

`seeded`: vectors like those of an embedding model, in clusters and of low intrinsic dimension. A vector is
`B (t + 0.8 c + 0.6 z) + 0.15 e` divided by its norm. `B` is a fixed `d x 24` matrix with entries from
N(0, 1/d); `t` is drawn once per topic, `c` once per cluster and `z` once per vector, each from N(0, I) of 24
dimensions; `e` is noise from N(0, I/d). A topic has 13, 10 or 9.6 % of the clusters, a cluster about 1,000
vectors (at least 100 clusters).

The metadata of a document: `half`, `tenth`, `hundredth` and `thousandth` are random integers below 2, 10, 100
and 1,000, `number` is a random permutation, `category` is that of the lexicographer or the topic, and `words`
a short text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.bench.search.wordnet import Gloss

SEED = 7
QUESTIONS = 1000
FILTERED_QUESTIONS = 300
"""Questions of a table with filters."""
INTRINSIC = 24
_SHARES = (0.13, 0.10, *[0.77 / 8] * 8)
_CHUNK = 8192

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


class Condition(msgspec.Struct, frozen=True):
    """`field = value`, or `field < value`."""

    field: str
    operator: Literal["=", "<"]
    value: int | str

    def mask(self, values: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return which documents fulfil it, given the columns of the metadata."""
        column = values[self.field]
        found: NDArray[np.bool_] = column == self.value if self.operator == "=" else column < self.value
        return found


class Question(NamedTuple):
    """Questions by number, each with the place of its condition in `conditions`."""

    name: str
    numbers: Numbers
    conditions: Sequence[Condition]
    of: Numbers


class Documents(NamedTuple):
    """Consecutive documents: the number of the first, vectors `(n, dimension)`, texts and metadata."""

    first: int
    vectors: Floats
    texts: Sequence[str]
    metadata: Sequence[dict[str, Any]]


class Described(msgspec.Struct, frozen=True):
    """What a folder with data contains, beside the arrays."""

    name: str
    asked: str
    """The category whose questions are asked with a filter on another."""
    other: str
    """That other category, about 10 % of the documents."""
    deleted: tuple[str, ...]
    """The categories that are deleted, together 13 % of the documents."""


class DataSet:
    """A folder with data; the vectors are memory-mapped, the texts read when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.described = msgspec.json.decode((folder / "described.json").read_bytes(), type=Described)
        self.vectors: Floats = np.load(folder / "documents.npy", mmap_mode="r")
        self.questions: Floats = np.load(folder / "questions.npy")
        self.asked: list[str] = msgspec.json.decode((folder / "categories.json").read_bytes())
        """The category of each question."""
        self._rows: list[tuple[str, dict[str, Any]]] | None = None

    @property
    def count(self) -> int:
        """Number of documents."""
        return len(self.vectors)

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return int(self.vectors.shape[1])

    def documents(self, first: int, count: int) -> Documents:
        """Return the documents from number `first` on, in memory."""
        if self._rows is None:
            decoder = msgspec.json.Decoder(tuple[str, dict[str, Any]])
            self._rows = [
                decoder.decode(line) for line in (self.folder / "documents.jsonl").read_bytes().splitlines()
            ]
        rows = self._rows[first : first + count]
        vectors = np.ascontiguousarray(self.vectors[first : first + count])
        return Documents(first, vectors, [text for text, _ in rows], [metadata for _, metadata in rows])

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the metadata as columns."""
        metadata = self.documents(0, self.count).metadata
        return {field: np.array([row[field] for row in metadata]) for field in metadata[0]}

    def everything(self) -> Question:
        """All questions, without a condition."""
        return Question("unfiltered", np.arange(len(self.questions)), [], np.zeros(0, np.int64))

    def filtered(self) -> list[Question]:
        """Questions with filters: random ones, a range, the question's category, another category."""
        some = np.arange(min(FILTERED_QUESTIONS, len(self.questions)))
        one = np.zeros(len(some), np.int64)
        fields = {"half": "50 %", "tenth": "10 %", "hundredth": "1 %", "thousandth": "0.1 %"}
        random = [
            Question(f"random {share}", some, [Condition(field, "=", 0)], one)
            for field, share in fields.items()
        ]
        limit = Condition("number", "<", self.count * 3 // 10)
        categories = sorted({self.asked[number] for number in some})
        places = np.array([categories.index(self.asked[number]) for number in some])
        own = [Condition("category", "=", category) for category in categories]
        asked = self._asking(self.described.asked)
        unrelated = [Condition("category", "=", self.described.other)]
        return [
            *random,
            Question("range 30 %", some, [limit], one),
            Question("equality, the question's category", some, own, places),
            Question(
                f"unrelated: {self.described.asked} asked, {self.described.other} kept",
                asked,
                unrelated,
                np.zeros(len(asked), np.int64),
            ),
        ]

    def about_deleted(self) -> Question:
        """Questions about the categories that are deleted."""
        return Question("deleted topic", self._asking(*self.described.deleted), [], np.zeros(0, np.int64))

    def _asking(self, *categories: str) -> Numbers:
        found = [number for number, category in enumerate(self.asked) if category in categories]
        return np.array(found[:FILTERED_QUESTIONS] or [0])


def wordnet(folder: Path, glosses: Sequence[Gloss], vectors: Floats, count: int | None) -> DataSet:
    """Write `count` glosses (by default all but the questions) and the questions to `folder`."""
    chance = np.random.default_rng(SEED)
    order = chance.permutation(len(glosses))
    asked = order[:QUESTIONS]
    kept = np.sort(order[QUESTIONS:][: count or len(glosses)])
    described = Described("wordnet", "noun.animal", "noun.artifact", ("noun.animal", "noun.plant"))
    _write_arrays(folder, vectors[kept], vectors[asked])
    rows = [(glosses[at].text, glosses[at].category, glosses[at].words) for at in kept]
    return _write(folder, described, rows, [glosses[at].category for at in asked])


def seeded(folder: Path, count: int, dimension: int = 768, questions: int = QUESTIONS) -> DataSet:
    """Write `count` documents and the questions of the seeded set to `folder`."""
    chance = np.random.default_rng(SEED)
    basis = chance.standard_normal((INTRINSIC, dimension)) / dimension**0.5
    topics = chance.standard_normal((len(_SHARES), INTRINSIC))
    clusters = max(100, count // 1000)
    topic_of = np.searchsorted(np.cumsum(_SHARES), (np.arange(clusters) + 0.5) / clusters)
    centres = topics[topic_of] + 0.8 * chance.standard_normal((clusters, INTRINSIC))
    cluster_of = chance.integers(clusters, size=count + questions)
    made = np.lib.format.open_memmap(folder / "documents.npy", "w+", np.dtype(np.float32), (count, dimension))
    asked = np.empty((questions, dimension), np.float32)
    for at in range(0, count + questions, _CHUNK):
        places = cluster_of[at : at + _CHUNK]
        low = centres[places] + 0.6 * chance.standard_normal((len(places), INTRINSIC))
        noise = chance.standard_normal((len(places), dimension), np.float32)
        rows = (low @ basis).astype(np.float32) + noise * np.float32(0.15 / dimension**0.5)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        ours = max(0, min(len(places), count - at))
        made[at : at + ours] = rows[:ours]
        asked[max(0, at - count) : max(0, at + len(places) - count)] = rows[ours:]
    made.flush()
    np.save(folder / "questions.npy", asked)
    names = [f"topic-{topic}" for topic in topic_of[cluster_of]]
    texts = [
        (
            f"Text {number} about {name}. " + "It has about two hundred characters. " * 5,
            name,
            f"text {number}",
        )
        for number, name in enumerate(names[:count])
    ]
    described = Described("seeded", "topic-0", "topic-1", ("topic-0",))
    return _write(folder, described, texts, names[count:])


def _write_arrays(folder: Path, documents: Floats, questions: Floats) -> None:
    np.save(folder / "documents.npy", documents)
    np.save(folder / "questions.npy", questions)


def _write(
    folder: Path, described: Described, rows: Sequence[tuple[str, str, str]], asked: Sequence[str]
) -> DataSet:
    """Write what is not an array; a row is a text, its category and words."""
    chance = np.random.default_rng(SEED + 1)
    sizes = {"half": 2, "tenth": 10, "hundredth": 100, "thousandth": 1000}
    random = {field: chance.integers(size, size=len(rows)).tolist() for field, size in sizes.items()}
    random["number"] = chance.permutation(len(rows)).tolist()
    with (folder / "documents.jsonl").open("wb") as file:
        for at, (text, category, words) in enumerate(rows):
            metadata = {"category": category, "words": words}
            metadata |= {field: values[at] for field, values in random.items()}
            file.write(msgspec.json.encode((text, metadata)) + b"\n")
    (folder / "categories.json").write_bytes(msgspec.json.encode(asked))
    (folder / "described.json").write_bytes(msgspec.json.encode(described))
    return DataSet(folder)
