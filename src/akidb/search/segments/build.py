"""The child process: merges rows and segments into a new segment. Run by `builder`, with few imports.

It reads a job and writes a directory, which its parent moves to its place. It ends with its parent, when its
standard input does.
"""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.domain.entities import Metric
from akidb.ports.search import GraphSettings
from akidb.search.scoring import Floats
from akidb.search.segments.files import (
    ArrayWriter,
    FileRecord,
    SegmentDamaged,
    write_array,
)
from akidb.search.segments.graph import (
    COMPRESSED,
    NONE,
    PLAIN,
    GraphMaker,
    scale_for,
    set_threads,
)
from akidb.search.segments.header import Header, Recall, write_header
from akidb.search.segments.ids import ids_as_arrays, look_up_arrays
from akidb.search.segments.merging import CHUNK_ROWS, Merged
from akidb.search.segments.recall import SAMPLES, TOP_KS, Truth, measure
from akidb.search.segments.rows import Source
from akidb.search.segments.vectors import vector_bytes

LEAST_RECALL = 0.9
"""A graph whose best measured recall is lower is not used: of compressed vectors, then of any."""
LEAST_SAMPLES = 50
"""A segment that is extended by too few rows for so many samples keeps the recalls that were measured."""
MOST_ERROR = 2.0
"""By how much more the compression may change vectors that are added later, before all is built anew."""


class JobSource(msgspec.Struct, frozen=True):
    """Rows or a segment to read."""

    directory: str
    alive: str | None
    """A file of bools; None to keep all rows."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to build."""

    target: str
    """A directory to create."""
    store_id: str
    collection_id: str
    dimension: int
    metric: Metric
    settings: GraphSettings
    after: int
    through: int
    sources: list[JobSource]
    extend: bool
    """Whether to add to the graph of the first source, whose rows all keep their positions."""
    threads: int
    niceness: int
    import_path: list[str]


class Report(msgspec.Struct, frozen=True):
    """What the child prints when it cannot build."""

    why: str
    damaged: str | None = None
    """The source that cannot be read."""


class _Made(msgspec.Struct, frozen=True):
    kind: str
    recalls: list[Recall]
    error: float
    file: FileRecord | None


def build(job: Job) -> None:
    """Build a segment.

    Raises SegmentDamaged for a source, and ValueError for an id that occurs twice.
    """
    sources = [
        Source(Path(each.directory), None if job.extend and not number else _mask(each.alive))
        for number, each in enumerate(job.sources)
    ]
    extended = sources[0] if job.extend else None
    alive = _mask(job.sources[0].alive) if job.extend else None
    dead = None if alive is None else ~alive
    rows = Merged(sources, SAMPLES, extend=job.extend)
    target = Path(job.target)
    target.mkdir(mode=0o700)
    ids = rows.ids()
    arrays: dict[str, NDArray[Any]] = {
        "keys": rows.keys(),
        "sequences": rows.sequences(),
        "sums": rows.sums(),
    }
    arrays |= {**ids_as_arrays(ids), **look_up_arrays(ids, dead)}
    _refuse_twins(ids, arrays["hashes"], arrays["places"])
    files = {name: write_array(target / name, array) for name, array in arrays.items()}
    largest = _write_vectors(target / "vectors", rows)
    files["vectors"] = FileRecord(4 * rows.count * job.dimension)
    scale = 1.0 if job.metric is Metric.COSINE else scale_for(largest)
    old_recalls = sources[0].header.recalls
    if extended is not None and (extended.header.graph == NONE or extended.header.scale != scale):
        extended = None  # all is built anew, with the same positions
    mapped: Floats = np.memmap(target / "vectors", np.float32, "r", shape=(rows.count, job.dimension))
    made = _make_graph(job, rows, mapped, scale, extended, old_recalls)
    if made.file is not None:
        files["graph"] = made.file
    header = Header(
        store_id=job.store_id,
        collection_id=job.collection_id,
        dimension=job.dimension,
        metric=job.metric,
        count=rows.count,
        after=job.after,
        through=job.through,
        graph=made.kind,
        settings=job.settings,
        scale=scale,
        error=made.error,
        recalls=made.recalls,
        files=files,
    )
    write_header(target, header)


def _mask(path: str | None) -> NDArray[np.bool_] | None:
    return None if path is None else np.fromfile(path, dtype=np.bool_)


def _refuse_twins(ids: list[bytes], hashes: NDArray[np.uint64], places: NDArray[np.uint32]) -> None:
    for at in np.flatnonzero(hashes[1:] == hashes[:-1]).tolist():
        same = np.flatnonzero(hashes == hashes[at])
        if len({ids[places[each]] for each in same}) < len(same):
            raise ValueError("two rows have the same id")


def _write_vectors(path: Path, rows: Merged) -> float:
    """Write all vectors, and return the largest norm."""
    largest = 0.0
    writer = ArrayWriter(path)
    try:
        for chunk in rows.vectors():
            writer.write(vector_bytes(chunk))
            wide = chunk.astype(np.float64)
            largest = max(largest, float(np.vecdot(wide, wide).max()))
    finally:
        writer.close()
    return float(np.sqrt(largest))


def _make_graph(
    job: Job,
    rows: Merged,
    vectors: Floats,
    scale: float,
    extended: Source | None,
    old_recalls: list[Recall],
) -> _Made:
    if extended is not None:
        made = _try(job, rows, vectors, scale, extended.header.graph, extended, old_recalls)
        if made is not None:
            return made
    for kind in (COMPRESSED, PLAIN):
        made = _try(job, rows, vectors, scale, kind, None, old_recalls)
        if made is not None:
            return made
    return _Made(NONE, [], 0.0, None)


def _try(
    job: Job,
    rows: Merged,
    vectors: Floats,
    scale: float,
    kind: str,
    extended: Source | None,
    old_recalls: list[Recall],
) -> _Made | None:
    """Build a graph; None if it is of no use."""
    graph = None if extended is None else extended.graph()
    maker = GraphMaker(kind, job.dimension, job.metric, job.settings, scale, graph)
    if extended is None:
        for _, chunk in _chunks(vectors, 0):
            maker.see(chunk)
        maker.train()
    old = 0 if extended is None else rows.old
    held_out = rows.count - rows.sampled
    truth = Truth(vectors[held_out:], job.metric, scale, max(TOP_KS))
    for start, chunk in _chunks(vectors[:held_out], old):
        if start >= old:
            maker.add(chunk)
        truth.add(chunk)
    if rows.old and rows.sampled < LEAST_SAMPLES:
        recalls = old_recalls  # of almost the same vectors
    else:
        recalls = measure(maker.graph(), truth, vectors[:held_out]) if rows.sampled else []
    if max((each.recall for each in recalls), default=0.0) < LEAST_RECALL:
        return None
    maker.add(np.asarray(vectors[held_out:]))
    error = _error(maker, vectors, old)
    if extended is not None and error > MOST_ERROR * extended.header.error:
        return None  # the compression is not made for the new vectors
    file = write_array(Path(job.target) / "graph", maker.contents())
    return _Made(kind, recalls, error, file)


def _error(maker: GraphMaker, vectors: Floats, start: int) -> float:
    """Return the root mean square of what compression changes in the vectors from a position on."""
    graph, total = maker.graph(), 0.0
    for at, chunk in _chunks(vectors[start:], 0):
        off = (graph.decoded(start + at, len(chunk)) - maker.transformed(chunk)).astype(np.float64)
        total += float(np.vecdot(off, off).sum())
    return float(np.sqrt(total / (len(vectors) - start)))


def _chunks(vectors: Floats, old: int) -> Iterator[tuple[int, Floats]]:
    """Yield chunks with their starts; one begins at `old`."""
    starts = [*range(0, old, CHUNK_ROWS), *range(old, len(vectors), CHUNK_ROWS)]
    for start, end in zip(starts, [*starts[1:], len(vectors)], strict=True):
        yield start, np.asarray(vectors[start:end])


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def main(path: str) -> int:
    """Do the job in this file, and return the exit status."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = msgspec.json.decode(Path(path).read_bytes(), type=Job)
    os.nice(job.niceness)
    set_threads(job.threads)
    try:
        build(job)
    except SegmentDamaged as error:
        report = Report(str(error), str(error.path.parent))
    except (OSError, ValueError, MemoryError) as error:
        report = Report(str(error) or type(error).__name__)
    else:
        return 0
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.buffer.flush()
    return 1
