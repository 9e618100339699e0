"""Change feeds in process: resuming, restarting, waiting, and what blocks a reader."""

import threading
import time
from typing import Any

import pytest

from akidb.documents import deletions
from akidb.domain.changes import ChangeType
from akidb.domain.errors import (
    InvalidArgument,
    InvalidState,
    NotFound,
    PreconditionFailed,
    RateLimited,
    Unavailable,
)
from akidb.domain.fields import CollectionPath
from akidb.operations.changes import GetCollectionChanges, GetTenantChanges
from akidb.operations.collections import DeleteCollection
from akidb.operations.databases import CreateDatabase, DeleteDatabase, PurgeDatabase
from akidb.operations.documents import DeleteDocuments, UpsertDocuments
from akidb.operations.tenants import DeleteTenant, SuspendTenant, UpdateTenant
from akidb.services.changes import UNWOKEN_SECONDS
from akidb.services.signals import Signals

from .worlds import World, notes


def later(seconds: float, call: Any) -> threading.Thread:
    thread = threading.Timer(seconds, call)
    thread.start()
    return thread


def replicate(world: World, path: CollectionPath, limit: int = 2) -> dict[str, str | None]:
    """All documents, by a reader who starts from nothing."""
    found: dict[str, str | None] = {}
    since, feed, more = 0, None, True
    while more:
        page = world.on(path, GetCollectionChanges, since=since, feed=feed, limit=limit)
        for change in page.changes:
            if change.type == ChangeType.DELETE:
                found.pop(change.id, None)
            else:
                found[change.id] = change.text
        since, feed, more = page.next_since, page.feed, page.more
    return found


def test_reader_resumes_from_its_position(world: World) -> None:
    path = world.place()
    empty = world.on(path, GetCollectionChanges)
    assert (empty.changes, empty.next_since, empty.feed, empty.more) == ([], 0, None, False)
    world.on(path, UpsertDocuments, documents=notes("a", "b"))
    first = world.on(path, GetCollectionChanges, since=empty.next_since, feed=empty.feed)
    assert [change.id for change in first.changes] == ["a", "b"]
    again = world.on(path, GetCollectionChanges, since=first.next_since, feed=first.feed)
    assert (again.changes, again.next_since, again.feed) == ([], first.next_since, first.feed)
    world.reopen()
    world.on(path, DeleteDocuments, ids=["a"])
    more = world.on(path, GetCollectionChanges, since=first.next_since, feed=first.feed)
    assert [(change.type, change.id) for change in more.changes] == [("delete", "a")]


def test_tenant_feed_reports_metadata_changes_and_deletions(world: World) -> None:
    world.place()
    first = world.ops.perform(GetTenantChanges(tenant="aki-labs"))
    assert [change.entity for change in first.changes] == ["tenant", "database", "collection"]
    world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))
    (gone,) = world.ops.perform(
        GetTenantChanges(tenant="aki-labs", since=first.next_since, feed=first.feed)
    ).changes
    assert gone.database is not None
    assert gone.database.deleted_at is not None
    world.ops.perform(PurgeDatabase(tenant="aki-labs", database="kb"))
    purged = world.ops.perform(
        GetTenantChanges(tenant="aki-labs", since=gone.sequence, feed=first.feed)
    ).changes
    assert [(change.entity, change.type) for change in purged] == [
        ("collection", "delete"),
        ("database", "delete"),
    ]
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    with pytest.raises(NotFound):
        world.ops.perform(GetTenantChanges(tenant="aki-labs"))


def test_reader_behind_tombstone_floor_must_restart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletions, "TOMBSTONES_KEPT", 3)
    path = world.place()
    world.on(path, UpsertDocuments, documents=notes(*(f"d{number}" for number in range(6))))
    page = world.on(path, GetCollectionChanges, limit=100)
    for number in range(5):
        world.on(path, DeleteDocuments, ids=[f"d{number}"])
    with pytest.raises(PreconditionFailed, match="start again from 0") as caught:
        world.on(path, GetCollectionChanges, since=page.next_since, feed=page.feed)
    assert caught.value.fields == {"entity": "changes", "expected": 8, "actual": 6}
    with pytest.raises(PreconditionFailed):
        world.on(path, GetCollectionChanges, since=page.next_since)
    assert world.on(path, GetCollectionChanges, since=8).changes
    assert replicate(world, path) == {"d5": "text of d5"}


def test_new_reader_passes_tombstone_floor_set_before_it_started(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pages end below the floor, but nothing that it was told of was deleted and forgotten."""
    monkeypatch.setattr(deletions, "TOMBSTONES_KEPT", 1)
    path = world.place()
    world.on(path, UpsertDocuments, documents=notes(*(f"d{number}" for number in range(8))))
    world.on(path, UpsertDocuments, documents=notes("e0", "e1", "e2"))
    world.on(path, DeleteDocuments, ids=["e0", "e1"])
    world.on(path, DeleteDocuments, ids=["e2"])
    page = world.on(path, GetCollectionChanges, limit=2)
    assert page.next_since < page.tombstone_floor
    assert replicate(world, path) == {f"d{number}": f"text of d{number}" for number in range(8)}
    with pytest.raises(PreconditionFailed):  # who does not say where it began
        world.on(path, GetCollectionChanges, since=page.next_since)
    world.on(path, DeleteDocuments, ids=["d0", "d1", "d2"])
    with pytest.raises(PreconditionFailed):  # what it was told of is gone, and forgotten
        world.on(path, GetCollectionChanges, since=page.next_since, feed=page.feed)


def test_reader_of_another_store_or_beyond_end_must_restart(world: World) -> None:
    path = world.place()
    with pytest.raises(PreconditionFailed):
        world.on(path, GetCollectionChanges, since=1)
    world.on(path, UpsertDocuments, documents=notes("a"))
    page = world.on(path, GetCollectionChanges)
    assert page.feed is not None
    with pytest.raises(PreconditionFailed, match="beyond"):
        world.on(path, GetCollectionChanges, since=2, feed=page.feed)
    other = f"{'0' * 32}-{page.feed.partition('-')[2]}"
    with pytest.raises(PreconditionFailed, match="another feed"):
        world.on(path, GetCollectionChanges, since=1, feed=other)
    with pytest.raises(PreconditionFailed, match="another feed"):
        world.ops.perform(GetTenantChanges(tenant="aki-labs", since=1, feed=other))
    assert world.on(path, GetCollectionChanges, since=0, feed=other).feed == page.feed


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *[("since", value) for value in (-1, 2**63, 1.5, True, "1")],
        *[("feed", value) for value in ("", "x", "0" * 32, f"{'0' * 32}-01", f"{'G' * 32}-1", 7)],
        *[("limit", value) for value in (0, 1001, True)],
        *[("wait_seconds", value) for value in (-1, 61, float("nan"), True, "1")],
        *[("include", value) for value in ("text", ["texts"], 5)],
    ],
)
def test_invalid_argument_is_named(world: World, field: str, wrong: Any) -> None:
    path = world.place()
    with pytest.raises(InvalidArgument) as caught:
        world.on(path, GetCollectionChanges, **{field: wrong})
    assert caught.value.field == field
    if field != "include":
        with pytest.raises(InvalidArgument) as caught:
            world.ops.perform(GetTenantChanges(tenant="aki-labs", **{field: wrong}))
        assert caught.value.field == field


def test_wait_ends_on_change(world: World) -> None:
    path = world.place()
    writing = later(0.2, lambda: world.on(path, UpsertDocuments, documents=notes("a")))
    began = time.monotonic()
    page = world.on(path, GetCollectionChanges, wait_seconds=30)
    assert [change.id for change in page.changes] == ["a"]
    assert 0.2 <= time.monotonic() - began < UNWOKEN_SECONDS
    writing.join()
    known = world.ops.perform(GetTenantChanges(tenant="aki-labs"))
    writing = later(0.2, lambda: world.ops.perform(CreateDatabase(tenant="aki-labs", name="new")))
    found = world.ops.perform(
        GetTenantChanges(tenant="aki-labs", since=known.next_since, feed=known.feed, wait_seconds=30)
    )
    assert [change.entity for change in found.changes] == ["database"]
    writing.join()


def test_wait_ends_on_timeout(world: World) -> None:
    path = world.place()
    world.on(path, UpsertDocuments, documents=notes("a"))
    known = world.on(path, GetCollectionChanges)
    began = time.monotonic()
    page = world.on(path, GetCollectionChanges, since=1, feed=known.feed, wait_seconds=0.3)
    assert 0.3 <= time.monotonic() - began < 3
    assert (page.changes, page.next_since, page.more) == ([], 1, False)


def test_poll_finds_change_without_notification(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a write of another process on PostgreSQL."""
    path = world.place()
    monkeypatch.setattr(Signals, "notify", lambda _self, _tenant: None)
    monkeypatch.setattr(world.service(GetCollectionChanges), "unwoken_seconds", 0.1)
    writing = later(0.2, lambda: world.on(path, UpsertDocuments, documents=notes("a")))
    assert world.on(path, GetCollectionChanges, wait_seconds=30).changes
    writing.join()


def test_wait_ends_on_close(world: World) -> None:
    path = world.place()
    closing = later(0.2, world.ops.close)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        world.on(path, GetCollectionChanges, wait_seconds=60)
    assert time.monotonic() - began < 10
    closing.join()


def test_wait_ends_when_collection_is_deleted(world: World) -> None:
    path = world.place()
    world.on(path, UpsertDocuments, documents=notes("a"))
    known = world.on(path, GetCollectionChanges)
    deleting = later(0.2, lambda: world.on(path, DeleteCollection))
    with pytest.raises(NotFound):
        world.on(path, GetCollectionChanges, since=1, feed=known.feed, wait_seconds=60)
    deleting.join()


def test_suspended_tenant_rejects_collection_changes(world: World) -> None:
    path = world.place()
    world.on(path, UpsertDocuments, documents=notes("a"))
    world.ops.perform(SuspendTenant(tenant="aki-labs"))
    with pytest.raises(InvalidState):
        world.on(path, GetCollectionChanges)
    assert world.ops.perform(GetTenantChanges(tenant="aki-labs")).changes


def test_each_read_counts_against_rate_limit(world: World) -> None:
    path = world.place()
    world.ops.perform(UpdateTenant(tenant="aki-labs", qps_quota=1))

    def read_all() -> None:
        for _ in range(4):
            world.on(path, GetCollectionChanges)

    with pytest.raises(RateLimited):
        read_all()


def test_changes_of_other_tenants_do_not_wake_readers(world: World) -> None:
    path = world.place()
    other = world.place("Other")
    looks: list[None] = []
    service = world.service(GetCollectionChanges)
    read = service._read_collection

    def counted(*args: Any) -> Any:
        looks.append(None)
        return read(*args)

    service._read_collection = counted
    writing = later(
        0.1,
        lambda: [world.on(other, UpsertDocuments, documents=notes(str(n))) for n in range(20)],
    )
    assert world.on(path, GetCollectionChanges, wait_seconds=0.6).changes == []
    writing.join()
    assert len(looks) <= 5  # at first, in the end, and on PostgreSQL each half second
    assert service.signals._listeners == {}
