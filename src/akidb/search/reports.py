"""What users are told of an index: its state, and the steps of a search."""

from contextlib import suppress
from pathlib import Path

from akidb.domain.documents import SearchStep
from akidb.domain.index_state import IndexState, SegmentState
from akidb.domain.search_fields import DEFAULT_RECALL
from akidb.ports.documents import CollectionControl
from akidb.search.collection import LoadedCollection, Place
from akidb.search.searching import EXACT, Found
from akidb.search.segments.builder import segments_in
from akidb.search.segments.files import SegmentDamaged
from akidb.search.segments.header import Header, read_header
from akidb.search.segments.recall import ef_for

_TOP_K = 10


def state_in_memory(control: CollectionControl, loaded: LoadedCollection, *, is_building: bool) -> IndexState:
    """Return the state of a loaded index."""
    state = loaded.state
    segments = [
        _segment(part.segment.header, part.segment.memory_bytes, part.alive_count) for part in state.parts
    ]
    dead = state.view.size - state.view.alive_count
    return IndexState(
        loaded=True,
        sequence=control.sequence,
        indexed=state.sequence,
        lag=max(0, control.sequence - state.sequence),
        tail=state.view.alive_count,
        deleted=dead + sum(each.deleted or 0 for each in segments),
        building=is_building,
        memory_bytes=loaded.resident_bytes,
        disk_bytes=sum(each.disk_bytes for each in segments),
        segments=segments,
    )


def state_on_disk(control: CollectionControl, place: Place | None) -> IndexState:
    """Return the state of an index that is not in memory."""
    headers = [] if place is None else _headers(place.directory)
    segments = [_segment(header, 0, None) for header in headers]
    indexed = max((header.through for header in headers), default=0)
    return IndexState(
        loaded=False,
        sequence=control.sequence,
        indexed=indexed,
        lag=max(0, control.sequence - indexed),
        tail=0,
        deleted=0,
        building=False,
        memory_bytes=0,
        disk_bytes=sum(each.disk_bytes for each in segments),
        segments=segments,
    )


def steps_of(found: Found, plan: str) -> list[SearchStep]:
    """Return what a search did in each part of the index."""
    if plan != found.plan:  # it read the rows
        why = "the index does not fit into memory_quota_bytes, or changes too fast"
        return [SearchStep(part="store", way=plan, allowed=found.allowed, scanned=found.scanned, why=why)]
    scanned = found.scanned - sum(each.looked_at for each in found.parts)
    allowed = found.allowed - sum(each.allowed for each in found.parts)
    tail = SearchStep(part="tail", way=EXACT, allowed=allowed, scanned=scanned, why="newer than the segments")
    return [
        *([tail] if scanned or not found.parts else []),
        *(
            SearchStep(
                part="segment", way=each.how, allowed=each.allowed, scanned=each.looked_at, why=each.why
            )
            for each in found.parts
        ),
    ]


def _headers(directory: Path) -> list[Header]:
    found = []
    for path in segments_in(directory):
        with suppress(SegmentDamaged, OSError):
            found.append(read_header(path))
    return found


def _segment(header: Header, memory_bytes: int, alive: int | None) -> SegmentState:
    candidates = ef_for(header.recalls, DEFAULT_RECALL, _TOP_K)
    measured = [each.recall for each in header.recalls if (each.top_k, each.ef) == (_TOP_K, candidates)]
    settings = header.settings
    return SegmentState(
        documents=header.count if alive is None else alive,
        deleted=None if alive is None else header.count - alive,
        graph=header.graph,
        m=None if settings is None else settings.m,
        ef_construction=None if settings is None else settings.ef_construction,
        candidates=candidates,
        recall=measured[0] if measured else None,
        memory_bytes=memory_bytes,
        disk_bytes=sum(file.size for file in header.files.values()),
    )
