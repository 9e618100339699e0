"""Answers over `max_answer_bytes`, and filters over `filter_timeout_seconds`, in process and over HTTP."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import akidb
from akidb.domain.errors import InvalidArgument, OperationTimeout

from .worlds import ids_of, notes, opened, vector_of

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))  # its server serves here too

LONG = "x" * 1_000
IDS = [f"d{n:02}" for n in range(20)]
SETTINGS = {"AKIDB_MAX_ANSWER_BYTES": "5000", "AKIDB_FILTER_TIMEOUT_SECONDS": "1e-9"}
"""Answers have room for four documents, and filters have hardly any time."""


@contextmanager
def collection(place: Path | str, models: Path, *, served: bool = False) -> Iterator[Any]:
    """The handle of a collection of long documents, in this process or of a server."""
    from congruence_deployments import server

    with pytest.MonkeyPatch.context() as patch:
        with opened(place) as world:
            world.place()
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        if served:
            with server(place, models) as url, akidb.connect(url) as client:
                yield _filled(client)
        else:
            with akidb.connect(place, models_dir=str(models), default_model="hash") as client:
                yield _filled(client)


def _filled(client: Any) -> Any:
    found = client.tenants.get("aki-labs").databases.get("kb").collections.get("notes")
    found.upsert([{**each, "text": LONG} for each in notes(*IDS, metadata={"n": 1})])
    return found


def get_names_the_ids(found: Any) -> None:
    assert ids_of(found.get_many(IDS[:4])) == IDS[:4]
    with pytest.raises(InvalidArgument, match=r"^ids: selects more than the 5000 bytes .* fewer ids, or"):
        found.get_many(IDS)
    assert len(found.get_many(IDS, include=["metadata"])) == len(IDS)


def search_names_top_k(found: Any) -> None:
    question = vector_of("d07")
    assert found.search(question, top_k=4)[0].id == "d07"
    with pytest.raises(InvalidArgument, match=r"^top_k: selects more than the 5000 bytes .* include$"):
        found.search(question, top_k=20)
    assert len(found.search(question, top_k=20, include=[])) == 20


def scan_gives_everything_in_shorter_pages(found: Any) -> None:
    assert len(found.scan(limit=20)) == 4
    for filter in (None, {"n": {"$gte": 1}}):
        seen: list[str] = []
        page = found.scan(limit=20, filter=filter)
        while True:
            seen += ids_of(page)
            if page.next_cursor is None:
                break
            page = found.scan(limit=20, filter=filter, cursor=page.next_cursor)
        assert seen == IDS


def chosen_fields_count_without_the_rest(found: Any) -> None:
    found.update({"long": "x" * 2_000}, ids=IDS)
    assert [each.metadata for each in found.get_many(IDS, include=["metadata.n"])] == [{"n": 1}] * len(IDS)
    assert len(found.scan(limit=20, include=["metadata.n"])) == len(IDS)
    assert len(found.search(vector_of("d07"), top_k=20, include=["metadata.n"])) == len(IDS)
    assert len(found.changes(limit=20, include=["metadata.n"]).changes) == len(IDS)
    with pytest.raises(InvalidArgument, match=r"^ids: selects more"):
        found.get_many(IDS, include=["metadata.n", "metadata.long"])
    found.update({"long": None}, ids=IDS)


def changes_give_everything_in_shorter_pages(found: Any) -> None:
    page = found.changes(limit=20)
    seen = [each.id for each in page.changes]
    assert len(seen) == 4
    while page.more:
        page = found.changes(since=page.next_since, feed=page.feed, limit=20)
        seen += [each.id for each in page.changes]
    assert seen == IDS


def filters_time_out_and_change_nothing(found: Any) -> None:
    some: dict[str, Any] = {"n": 1}
    calls: list[Callable[[], Any]] = [
        lambda: found.count(filter=some),
        lambda: found.search(vector_of("a"), filter=some),
        lambda: found.delete(filter=some),
        lambda: found.update({"n": 2}, filter=some),
    ]
    for call in calls:
        with pytest.raises(OperationTimeout, match=r"^filter: .* within 1e-09 seconds"):
            call()
    assert found.count() == len(IDS)
    assert [each.metadata for each in found.get_many(IDS, include=["metadata"])] == [{"n": 1}] * len(IDS)


LIMITS: list[Callable[[Any], None]] = [
    get_names_the_ids,
    search_names_top_k,
    scan_gives_everything_in_shorter_pages,
    chosen_fields_count_without_the_rest,
    changes_give_everything_in_shorter_pages,
    filters_time_out_and_change_nothing,
]


def test_limits_in_process(place: Path | str, tmp_path: Path) -> None:
    with collection(place, tmp_path) as found:
        for check in LIMITS:
            check(found)


def test_limits_over_http(tmp_path: Path) -> None:
    with collection(tmp_path / "data", tmp_path, served=True) as found:
        for check in LIMITS:
            check(found)
