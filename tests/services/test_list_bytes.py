"""Lists and the feed of metadata end a page before it has more than `max_answer_bytes`, everywhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import akidb

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))  # its server serves here too

NUMBER = 12
LONG = "ä" * 500
"""It has 1,000 bytes, and a row has 512 beside it: three rows fit into 5,000 bytes."""
NAMES = [f"t{n:02}" for n in range(NUMBER)]


def every(read: Callable[..., Any], most: int) -> list[Any]:
    """All items of a list; no page is longer, and all but the last have a cursor."""
    page = read(limit=1000)
    found = [*page]
    assert len(page) == most
    while page.next_cursor is not None:
        page = read(limit=1000, cursor=page.next_cursor)
        assert 0 < len(page) <= most
        found += page
    return found


def fill(client: Any) -> None:
    for name in NAMES:
        client.tenants.create(name, slug=name, metadata={"k": LONG})
    tenant = client.tenants.get("t00")
    for name in NAMES:
        tenant.databases.create(name, description=LONG)


def read(client: Any) -> None:
    tenants = client.tenants
    for how in ({}, {"sort": "-name"}, {"name_contains": "t"}, {"status": "active", "sort": "slug"}):
        slugs = [tenant.slug for tenant in every(lambda how=how, **page: tenants.list(**how, **page), 3)]
        assert sorted(slugs) == NAMES
    assert [tenant.slug for tenant in tenants] == NAMES
    tenant = tenants.get("t00")
    assert [each.name for each in every(tenant.databases.list, 3)] == NAMES
    assert len(tenants.list(limit=2)) == 2
    page = tenant.changes(limit=1000)
    seen = []
    while True:
        assert 0 < len(page.changes) < NUMBER
        seen += [each.entity for each in page.changes]
        if not page.more:
            break
        page = tenant.changes(page.next_since, feed=page.feed, limit=1000)
    assert seen == ["tenant"] + ["database"] * NUMBER


@contextmanager
def limited() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AKIDB_MAX_ANSWER_BYTES", "5000")
        yield


def test_lists_end_early_in_process(place: Path | str) -> None:
    with limited(), akidb.connect(place) as client:
        fill(client)
        read(client)


def test_lists_end_early_over_http(tmp_path: Path) -> None:
    from congruence_deployments import server

    with limited(), server(tmp_path / "data", tmp_path) as url, akidb.connect(url) as client:
        fill(client)
        read(client)


def test_item_over_the_limit_is_a_page_of_its_own(place: Path | str) -> None:
    with limited(), akidb.connect(place) as client:
        for name in NAMES[:3]:
            client.tenants.create(name, slug=name, metadata={"k": LONG * 20})
        assert [tenant.slug for tenant in every(client.tenants.list, 1)] == NAMES[:3]
