"""Seals what a collection has in its tail into segments, and merges segments: in the background, one by one.

A segment covers a range of sequences. A new one takes the tail, and the newest segments that are not much
larger than what they are joined with: so a collection has few segments, each several times as large as the
next, and a vector is added to a graph a few times in its life.
"""

import os
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np

from akidb.domain.errors import AkiDBError
from akidb.observe import telemetry
from akidb.observe.logs import logger
from akidb.ports.disk import Disk
from akidb.ports.search import GraphSettings
from akidb.search.collection import LoadedCollection, Place, State
from akidb.search.parts import PartView
from akidb.search.segments.builder import Build, BuildFailed, BuildSource, remove_leftovers
from akidb.search.segments.files import SegmentDamaged
from akidb.search.segments.rows import write_rows
from akidb.search.segments.segment import Segment

SEAL_FROM: Final = 4096
"""Rows of a tail from which it is sealed."""
MERGE_UP_TO: Final = 4
"""A segment up to so many times as large as what is added to it is merged with that."""
MOST_DEAD: Final = 0.2
"""A segment with a larger share of dead rows is built anew."""
RETRY_SECONDS: Final = 60.0
"""How long a collection waits after a failure."""
_log = logger("akidb.search")


class Plan(NamedTuple):
    """A segment to build."""

    state: State
    sources: Sequence[PartView]
    """The first is the one that is extended, if any is."""
    is_extended: bool
    with_tail: bool

    @property
    def through(self) -> int:
        """The sequence up to which it has all documents from `after` on."""
        return self.state.sequence if self.with_tail else self.sources[-1].segment.header.through


def plan(state: State, settings: GraphSettings, seal_from: int = SEAL_FROM) -> Plan | None:
    """Return what should be built of a collection, if anything."""
    if state.damaged:  # a damaged document may be repaired, and would be missing then
        return None
    rows = state.view.alive_count
    if rows >= seal_from:
        sources: list[PartView] = []
        for part in reversed(state.parts):
            if part.alive_count > MERGE_UP_TO * rows:
                break
            sources.append(part)
            rows += part.alive_count
        return _ordered(state, sources, settings, with_tail=True)
    for part in state.parts:
        if _is_outdated(part, settings) and part.alive_count >= seal_from:
            return Plan(state, [part], is_extended=False, with_tail=False)
    return None


def _ordered(state: State, sources: list[PartView], settings: GraphSettings, *, with_tail: bool) -> Plan:
    sources.sort(key=lambda part: part.segment.count, reverse=True)
    is_extended = bool(sources) and not _is_outdated(sources[0], settings)
    return Plan(state, sources, is_extended, with_tail)


def _is_outdated(part: PartView, settings: GraphSettings) -> bool:
    """Return whether the graph should not be used any more as it is."""
    segment = part.segment
    dead = segment.count - part.alive_count
    return dead > MOST_DEAD * segment.count or segment.header.settings != settings


class Sealer:
    """Builds segments. Its thread ends when there is nothing to build."""

    def __init__(self, threads: int, disk: Disk | None, seal_from: int = SEAL_FROM) -> None:
        """`threads` are those of a build."""
        self._threads = threads
        self._disk = disk
        self._seal_from = seal_from
        self._lock = threading.Lock()
        self._wanted: dict[LoadedCollection, GraphSettings] = {}
        self._thread: threading.Thread | None = None
        self._sealing: LoadedCollection | None = None
        self._current: tuple[LoadedCollection, Build] | None = None
        self._is_closed = False
        self._told: set[str] = set()

    def look(self, collection: LoadedCollection, settings: GraphSettings) -> None:
        """Build what a collection needs, later, if it needs anything."""
        if collection.place is None or collection in self._wanted:
            return
        if plan(collection.state, settings, self._seal_from) is None:
            return
        if time.monotonic() < collection.seal_after:
            return
        with self._lock:
            if self._is_closed:
                return
            self._wanted[collection] = settings
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="akidb-segments", daemon=True)
                self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of collections for which something is built, or waits for that."""
        return len(self._wanted) + (self._sealing is not None)

    def is_building(self, collection: LoadedCollection) -> bool:
        """Return whether something is built for a collection, or waits for that."""
        return collection in self._wanted or self._sealing is collection

    def end_retired(self) -> None:
        """End the build for a collection that is no longer loaded: its directory may be removed."""
        with self._lock:
            for each in [each for each in self._wanted if each.is_retired]:
                del self._wanted[each]
            if self._current is not None and self._current[0].is_retired:
                self._current[1].kill()

    def wait(self) -> None:
        """Wait until nothing is to be built."""
        while (thread := self._thread) is not None:
            thread.join()

    def close(self) -> None:
        """End the running build, and build no more."""
        with self._lock:
            self._is_closed = True
            self._wanted.clear()
            if self._current is not None:
                self._current[1].kill()
        self.wait()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted or self._is_closed:
                    self._thread = None
                    return
                collection = next(iter(self._wanted))
                settings = self._wanted.pop(collection)
                self._sealing = collection
            self._seal(collection, settings)
            self._sealing = None

    def _seal(self, collection: LoadedCollection, settings: GraphSettings) -> None:
        """Build until nothing is left to do. Failures are logged once, and retried later."""
        try:
            while not self._is_over(collection):
                wanted = plan(collection.state, settings, self._seal_from)
                if wanted is None or not self._build(collection, wanted, settings):
                    return
                telemetry.count("segments_built", telemetry.OK)
                collection.measure()
        except (AkiDBError, OSError, BuildFailed, SegmentDamaged, MemoryError) as error:
            collection.seal_after = time.monotonic() + RETRY_SECONDS
            telemetry.count("segments_built", "unavailable")
            if not self._is_over(collection):
                self._tell(error, collection)
        except Exception:  # noqa: BLE001 - the thread goes on with other collections
            collection.seal_after = time.monotonic() + RETRY_SECONDS
            _log.exception("a segment cannot be built")

    def _tell(self, error: Exception, collection: LoadedCollection) -> None:
        if isinstance(error, BuildFailed) and error.damaged is not None:
            error = SegmentDamaged(error.damaged / "segment.json", str(error))
        if isinstance(error, SegmentDamaged):  # the next search reads its documents from the rows
            collection.discard(error)
            collection.seal_after = 0.0
            return
        said = str(error)
        if said not in self._told and len(self._told) < 100:
            self._told.add(said)
            _log.warning("a segment cannot be built, and searches scan its vectors instead: %s", said)

    def _is_over(self, collection: LoadedCollection) -> bool:
        return self._is_closed or collection.is_retired

    def _build(self, collection: LoadedCollection, wanted: Plan, settings: GraphSettings) -> bool:
        """Build a segment and use it. Return whether it is in use."""
        place = collection.place
        assert place is not None
        sources = [part.segment for part in wanted.sources]
        if self._disk is not None:
            self._disk.require(_bytes_of(wanted, place.expected.dimension))
        remove_leftovers(place.directory)
        build = Build(place.directory)
        with self._lock:
            if self._is_over(collection):
                build.cancel()
                _remove_empty(place)
                return False
            self._current = collection, build
        try:
            build_sources = [BuildSource(part.segment.directory, part.alive) for part in wanted.sources]
            if wanted.with_tail:
                _write_tail(build, collection, wanted.state)
                build_sources.append(BuildSource(build.rows))
            after = min((each.header.after for each in sources), default=None)
            if after is None:
                after = max((part.segment.header.through for part in wanted.state.parts), default=0)
            build.start(
                place.expected,
                settings,
                build_sources,
                after,
                wanted.through,
                self._threads,
                extend=wanted.is_extended,
            )
            build.wait()
            with self._lock:
                if self._is_over(collection):
                    return False
                final = build.finish()
        finally:
            with self._lock:
                self._current = None
            build.cancel()
            if collection.is_retired:
                _remove_empty(place)
        segment = Segment(final, place.expected)
        if not collection.install(segment, sources):
            shutil.rmtree(final, ignore_errors=True)
            return False
        for source in sources:
            shutil.rmtree(source.directory, ignore_errors=True)
        return True


def _remove_empty(place: Place) -> None:
    """Remove the directories that a build has made after a purge removed them."""
    with suppress(OSError):
        for directory in (place.directory, *place.directory.parents[:2]):
            directory.rmdir()


def _write_tail(build: Build, collection: LoadedCollection, state: State) -> None:
    view = state.view
    assert collection.place is not None
    at = np.arange(view.size) if view.alive is None else np.flatnonzero(view.alive)
    ids = view.ids
    write_rows(
        build.rows,
        collection.place.expected,
        view.rows[at],
        view.keys[at],
        view.sequences[at],
        [ids[each] for each in at.tolist()],
        {},
    )


def _bytes_of(wanted: Plan, dimension: int) -> int:
    """Return about how many bytes a build writes."""
    rows = wanted.state.view.alive_count if wanted.with_tail else 0
    sealed = sum(part.segment.count for part in wanted.sources)
    return (2 * rows + sealed) * 4 * dimension + (rows + sealed) * (dimension + 256)


def default_threads() -> int:
    """Return how many cores a build may use: half of them."""
    with suppress(AttributeError):
        return max(1, len(os.sched_getaffinity(0)) // 2)
    return max(1, (os.cpu_count() or 1) // 2)
