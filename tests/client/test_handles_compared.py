"""Handles and documents as Python objects: equality, `in`, hashing, and refused assignments."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import akidb
import akidb.aio
from akidb.domain.documents import Document, Include, Match
from akidb.domain.ids import TenantId

VECTOR = [1.0] * 16


@pytest.fixture
def db(tmp_path: Path) -> Iterator[akidb.Client]:
    with akidb.connect(tmp_path / "data") as client:
        yield client


@pytest.fixture
def notes(db: akidb.Client) -> akidb.CollectionHandle:
    notes = db.tenants.create("Aki").databases.create("kb").collections.create("notes", dimension=16)
    notes.upsert([{"id": "a", "vector": VECTOR, "text": "one", "metadata": {"n": [1, {"x": None}]}}])
    return notes


def handles(db: akidb.Client) -> list[Any]:
    """Handles of one thing of each kind, read anew."""
    aki = db.tenants.get("aki")
    user = aki.users.get_or_create("a@example.org", password="correct horse")
    kb = aki.databases.get("kb")
    notes = kb.collections.get("notes")
    return [
        db.tenants,
        db.models,
        db.migration,
        aki,
        aki.users,
        user,
        aki.databases,
        kb,
        kb.collections,
        notes,
    ]


def test_handles_of_one_thing_are_equal(db: akidb.Client, notes: akidb.CollectionHandle) -> None:
    first, second = handles(db), handles(db)
    assert first == second
    assert [hash(each) for each in first] == [hash(each) for each in second]
    assert len({*first, *second}) == len(first)
    second[3].update(name="renamed")  # the handle of one thing, whatever it is called
    assert first[3] == second[3]
    assert notes != notes.id


def test_handles_of_other_things_and_connections_differ(
    db: akidb.Client, notes: akidb.CollectionHandle, tmp_path: Path
) -> None:
    other = db.tenants.create("Other")
    assert other != db.tenants.get("aki")
    assert other.databases != db.tenants.get("aki").databases
    with akidb.connect(tmp_path / "elsewhere") as elsewhere:
        db.tenants.get("aki").export(tmp_path / "aki.akidb")
        elsewhere.tenants.import_(tmp_path / "aki.akidb")
        assert elsewhere.tenants.get("aki").id == db.tenants.get("aki").id
        assert elsewhere.tenants.get("aki") != db.tenants.get("aki")
        assert elsewhere.tenants.get("aki") not in db.tenants


def test_names_ids_and_handles_are_found_by_in(db: akidb.Client, notes: akidb.CollectionHandle) -> None:
    aki, other = db.tenants.get("aki"), db.tenants.create("Other")
    kb = aki.databases.get("kb")
    user = aki.users.create("a@example.org", password="correct horse")
    for things, found in (
        (db.tenants, ["aki", aki.id, str(aki.id), aki]),
        (aki.databases, ["kb", kb.id, kb]),
        (kb.collections, ["notes", notes.id, notes]),
        (aki.users, ["A@example.org", user.id, user]),
        (notes, ["a"]),
    ):
        for each in found:
            assert each in things
        for each in (
            "none",
            "not a name/",
            "",
            "\ud800",
            "x" * 600,
            None,
            5,
            TenantId(bytes(16)),
            db,
            [found],
        ):
            assert each not in things
    assert kb not in other.databases
    assert other.users not in aki.users
    other.delete()
    assert other not in db.tenants
    assert "other" not in db.tenants


@pytest.mark.parametrize("name", ["", "Not A Slug", "a/b", "\ud800", "a\x00", "x" * 600])
def test_what_cannot_be_a_name_does_not_exist(
    db: akidb.Client, notes: akidb.CollectionHandle, name: str
) -> None:
    aki = db.tenants.get("aki")
    places: list[Any] = [db.tenants, aki.databases, aki.users, aki.databases.get("kb").collections, notes]
    for place in places:
        assert place.find(name) is None
        assert place.exists(name) is False
        with pytest.raises((akidb.InvalidArgument, akidb.NotFound)):
            place.get(name)
        with pytest.raises(akidb.InvalidArgument):
            place.exists(5)
    assert db.tenants.find_external(name) is None
    with pytest.raises(akidb.InvalidArgument, match="external_id"):
        db.tenants.find_external(None)  # type: ignore[arg-type]


def test_assignment_is_refused_with_the_way_to_change(
    db: akidb.Client, notes: akidb.CollectionHandle
) -> None:
    for handle in handles(db):
        names = [name for name in dir(type(handle)) if not name.startswith("_")]
        for name in [*names, "anything"]:
            with pytest.raises(AttributeError):
                setattr(handle, name, 5)
    aki = db.tenants.get("aki")
    with pytest.raises(AttributeError, match=r"qps_quota cannot be assigned: use update\(\)"):
        aki.qps_quota = 5  # type: ignore[assignment]
    with pytest.raises(AttributeError, match=r"suspend\(\)"):
        aki.status = "suspended"  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        db.retention_seconds = 5  # type: ignore[attr-defined]
    assert aki.qps_quota == 200


def test_awaitable_handles_are_compared_alike(tmp_path: Path) -> None:
    async def main() -> None:
        async with akidb.aio.connect(tmp_path / "data") as db:
            await db.tenants.create("Aki")
            one, same = await db.tenants.get("aki"), await db.tenants.get("aki")
            assert (one, hash(one), one.users) == (same, hash(same), same.users)
            assert one != await db.tenants.create("Other")
            with pytest.raises(AttributeError, match="cannot be assigned"):
                one.name = "x"  # type: ignore[assignment]
            with pytest.raises(AttributeError):
                one.anything = 5  # type: ignore[attr-defined]

    asyncio.run(main())


def test_equal_documents_are_equal(notes: akidb.CollectionHandle) -> None:
    everything = list(Include)
    one, same = notes.get("a", include=everything), notes.get("a", include=everything)
    assert one is not same
    assert one == same
    assert {one, same} == {one}
    assert one != notes.get("a")
    assert notes.search(VECTOR, include=everything) == notes.search(VECTOR, include=everything)
    assert notes.changes(include=everything) == notes.changes(include=everything)
    assert notes.scan() == notes.scan()
    before = notes.changes()
    notes.update({"n": 2}, ids=["a"])
    assert notes.get("a", include=everything) != one
    assert notes.changes() != before


@pytest.mark.parametrize(
    ("change", "is_equal"),
    [
        ({}, True),
        ({"vector": [1.0, 2.0]}, True),
        ({"vector": np.array([1, 3], np.float32)}, False),
        ({"vector": np.array([1, 2, 3], np.float32)}, False),
        ({"vector": None}, False),
        ({"id": "b"}, False),
        ({"text": None}, False),
        ({"metadata": {"a": [2]}}, False),
    ],
)
def test_documents_are_compared_by_value(change: dict[str, Any], is_equal: bool) -> None:
    values: dict[str, Any] = {
        "id": "a",
        "text": "t",
        "metadata": {"a": [1]},
        "vector": np.array([1, 2], np.float32),
    }
    assert (Document(**values) == Document(**{**values, **change})) is is_equal
    assert (Match(**values, score=1) == Match(**{**values, **change}, score=1)) is is_equal
    assert Match(**values, score=1) != Match(**values, score=2)
    assert Document(**values) != Match(**values, score=1)
