"""Searches while segments are sealed, merged, reopened, damaged and removed all the time."""

import logging
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from samples import Clock, Floats, Shelf, batch, document, make_ids, vector_of
from search_samples import PLENTY, assert_best, true_scores

from akidb.documents.postgresql import PostgresTenantStores
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.entities import Metric
from akidb.domain.filters import Filter
from akidb.ports.search import GraphSettings, Hits, VectorQuery
from akidb.ports.stores import TenantStores
from akidb.search import parts, sealing
from akidb.search.index import LocalIndex
from akidb.search.memory import Memory
from akidb.search.segments.build import Job, build
from akidb.search.segments.builder import Build
from akidb.search.segments.files import write_array
from akidb.search.segments.header import Header, write_header

if TYPE_CHECKING:
    from akidb.domain.documents import Document

TINY = 12
"""Rows from which a segment is sealed."""
_numbers = count()
NUMBERS = st.integers(0, 199)
RECALL: Counter[str] = Counter()
"""Of all searches that were not exact."""
BELOW = st.none() | st.sampled_from([0, 5, 30, 30, 150, 200])
METRICS = pytest.mark.parametrize("metric", list(Metric))


class BuildHere(Build):
    """A build in this process: a child process for each of the hundreds would take minutes."""

    def _launch(self, path: Path, threads: int) -> None:
        build(msgspec.json.decode(path.read_bytes(), type=Job))

    def wait(self, timeout_seconds: float | None = None) -> None:
        pass


def vector(number: int, seed: int) -> Floats:
    return vector_of(f"{number} {seed}") * np.float32(1 + seed % 3)


class Machine(RuleBasedStateMachine):
    """Compares every search with the exact answer over a dictionary."""

    model: "dict[str, Document]"
    closing: TenantStores | None = None

    def __init__(self, shelf: Shelf, directory: Path, metric: Metric) -> None:
        super().__init__()
        self.shelf = shelf
        self.metric = metric
        self.directory = directory
        self.model = {}
        self.graph = GraphSettings(m=16, ef_construction=100)
        collection = self.shelf.new_collection(f"segments-{next(_numbers)}", metric)
        self.shelf.collection = collection
        self.shelf.apply()
        self.index = self.opened()

    def opened(self) -> LocalIndex:
        return LocalIndex(Memory(self.directory), threads=1, seal_from=TINY)

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=25, unique=True), seed=st.integers(0, 1000))
    def upsert(self, numbers: list[int], seed: int) -> None:
        made = [document(f"d{n}", None, {"n": n, "seed": seed % 7}, vector(n, seed)) for n in numbers]
        self.shelf.upsert(*made)
        self.model |= {each.id: each for each in made}

    @rule(start=st.integers(0, 140), size=st.integers(10, 60), seed=st.integers(0, 1000))
    def load(self, start: int, size: int, seed: int) -> None:
        self.upsert(list(range(start, start + size)), seed)
        self.search(seed, 1, None)

    @rule(numbers=st.lists(NUMBERS, max_size=12))
    def delete(self, numbers: list[int]) -> None:
        self.shelf.delete(*(f"d{n}" for n in numbers))
        for n in numbers:
            self.model.pop(f"d{n}", None)

    @rule(chance=st.integers(0, 5))
    def clear(self, chance: int) -> None:
        if chance:
            return
        with self.shelf.writing() as writer:
            writer.clear()
        self.model.clear()

    @rule(seed=st.integers(0, 1000), top_k=st.integers(1, 12), below=BELOW)
    def search_few(self, seed: int, top_k: int, below: int | None) -> None:
        self.search(seed, top_k, below)
        self.search(seed + 1, top_k, below)

    @rule(seed=st.integers(0, 1000), top_k=st.integers(1, 250), below=BELOW)
    def search(self, seed: int, top_k: int, below: int | None) -> None:
        filter = None if below is None else Filter.parse({"n": {"$lt": below}})
        question = vector(seed % 200, seed)
        query = VectorQuery(question, top_k, filter, ef_search=500, graph=self.graph)
        with self.shelf.reading() as reader:
            answer = self.index.search(
                self.shelf.tenant.tenant_id, self.shelf.store_id, PLENTY, reader, query
            )
        among = [each for each in self.model.values() if below is None or (each.metadata or {})["n"] < below]
        expected = true_scores(among, question, self.metric)
        if answer.statistics.plan == "exact":
            assert_best(answer, expected, top_k, tolerance=2e-5)
        else:
            self.require_near(answer, expected, top_k)
        assert answer.statistics.allowed == len(among)
        self.index.wait()  # for what the search has begun to build

    @rule(start=st.integers(0, 190), size=st.integers(1, 60))
    def delete_neighbours(self, start: int, size: int) -> None:
        self.delete(list(range(start, start + size)))

    def require_near(self, answer: Hits, expected: dict[str, float], top_k: int) -> None:
        """A graph may miss a document, but finds no other ones, and all scores are exact."""
        assert len(answer.hits) == min(top_k, len(expected))
        for hit in answer.hits:
            assert abs(hit.score - expected[hit.id]) <= 2e-5
        assert answer.hits == sorted(answer.hits, key=lambda hit: (-hit.score, hit.id))
        least = sorted(expected.values(), reverse=True)[len(answer.hits) - 1]
        RECALL["found"] += sum(hit.score >= least - 4e-5 for hit in answer.hits)
        RECALL["wanted"] += len(answer.hits)

    @rule()
    def evict(self) -> None:
        self.index.forget(self.shelf.tenant.tenant_id)

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = self.opened()

    @rule(m=st.sampled_from([12, 16]))
    def change_the_graph(self, m: int) -> None:
        self.graph = GraphSettings(m=m, ef_construction=100)

    @rule(seed=st.integers(0, 10_000), how=st.sampled_from(["flip", "cut", "remove", "empty"]))
    def damage(self, seed: int, how: str) -> None:
        """Also of files that are open."""
        files = [path for path in self.directory.rglob("*") if path.is_file()]
        files.sort(key=lambda path: (path.parent.stat().st_mtime_ns, path.name))  # not by random names
        if not files:
            return
        path = files[seed % len(files)]
        if how == "remove":
            path.unlink()
        elif how == "empty":
            shutil.rmtree(path.parent)
        else:
            data = bytearray(path.read_bytes())
            at = random.Random(seed).randrange(len(data))
            if how == "flip":
                data[at] ^= 1 << seed % 8
                with path.open("r+b") as file:
                    file.write(data)
            else:
                with path.open("r+b") as file:
                    file.truncate(at)

    def teardown(self) -> None:
        self.index.close()
        if self.closing is not None:
            self.closing.close()


def run(make: Callable[[], Machine], examples: int) -> None:
    RECALL.clear()
    run_state_machine_as_test(
        make,  # type: ignore[arg-type]
        settings=settings(max_examples=examples, stateful_step_count=30, deadline=None),
    )
    assert RECALL["found"] >= 0.97 * RECALL["wanted"]


@pytest.fixture(params=["graphs", "scans"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are too small for graphs here, unless that is changed."""
    monkeypatch.setattr(sealing, "Build", BuildHere)
    if request.param == "graphs":
        monkeypatch.setattr(parts, "_WIDEST", 1e9)


@METRICS
@pytest.mark.usefixtures("ways")
def test_searches_are_exact_whatever_happens_to_segments(
    metric: Metric, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    def make() -> Machine:
        directory = tmp_path_factory.mktemp("shelf")
        stores = SqliteTenantStores(directory, max_open=2, synchronous="off")
        machine = Machine(Shelf(stores, Clock(), make_ids()), directory / "indexes", metric)
        machine.closing = stores
        return machine

    run(make, 12)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.usefixtures("ways")
def test_searches_on_postgresql_are_exact_too(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with closing(PostgresTenantStores(postgres_url, max_open=2)) as stores:
        shelf = Shelf(stores, Clock(), make_ids())
        run(lambda: Machine(shelf, tmp_path_factory.mktemp("indexes"), Metric.COSINE), 4)


def test_segments_of_writes_that_the_store_lost_are_not_used(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a crash other documents have their keys and sequences."""
    monkeypatch.setattr(sealing, "Build", BuildHere)
    first = shelf.new_collection("first")
    shelf.apply(first)
    shelf.upsert(*(document(f"d{n}") for n in range(40)), collection=first)
    index = LocalIndex(Memory(tmp_path / "indexes"), threads=1, seal_from=TINY)

    def search(question: Floats) -> list[str]:
        with shelf.reading(first) as reader:
            query = VectorQuery(question, 1)
            found = index.search(shelf.tenant.tenant_id, shelf.store_id, PLENTY, reader, query)
        index.wait()
        return [hit.id for hit in found.hits]

    assert search(vector_of("d7")) == ["d7"]
    [segment] = (tmp_path / "indexes").glob("*/*/segments/*")
    kept = tmp_path / "kept"
    shutil.copytree(segment, kept)
    with shelf.writing(first) as writer:
        writer.upsert(batch([document(f"d{n}", vector=vector_of(f"other {n}")) for n in range(40)]))
    index.forget(shelf.tenant.tenant_id)
    shutil.rmtree(segment)
    header = msgspec.json.decode((kept / "segment.json").read_bytes().split(b"\n")[0], type=Header)
    sequences = np.fromfile(kept / "sequences", np.int64) + 40
    files = {**header.files, "sequences": write_array(kept / "later", sequences)}
    (kept / "later").rename(kept / "sequences")
    (kept / "segment.json").unlink()
    write_header(kept, msgspec.structs.replace(header, files=files, after=40, through=80))
    kept.rename(segment)
    assert search(vector_of("other 7")) == ["d7"]
    assert "the store lost" in caplog.text


def test_vectors_damaged_before_they_are_opened_are_read_from_rows(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their checksums are compared when they are read, first of the newest rows of a segment."""
    monkeypatch.setattr(sealing, "Build", BuildHere)
    shelf.upsert(*(document(f"d{n}") for n in range(40)))
    index = LocalIndex(Memory(tmp_path / "indexes"), threads=1, seal_from=TINY)

    def search(question: Floats) -> list[str]:
        with shelf.reading() as reader:
            query = VectorQuery(question, 1)
            found = index.search(shelf.tenant.tenant_id, shelf.store_id, PLENTY, reader, query)
        index.wait()
        return [hit.id for hit in found.hits]

    assert search(vector_of("d7")) == ["d7"]
    index.forget(shelf.tenant.tenant_id)
    [vectors] = (tmp_path / "indexes").glob("*/*/segments/*/vectors")
    data = bytearray(vectors.read_bytes())
    vectors.write_bytes(bytes(255 - each for each in data))
    assert search(vector_of("d7")) == ["d7"]
    assert not vectors.exists()
