"""The durability rule reports violations and nothing else."""

import pytest
from durability import (
    Acknowledged,
    AllSynced,
    Event,
    Linked,
    Moved,
    Named,
    Removed,
    Synced,
    Written,
    violations,
)

DONE = Acknowledged("done")
CONTENT = "/d/a: the content is not synced at: done"
NAME = "/d/a: made, and its directory is not synced at: done"
REMOVAL = "/d/a: removed, and its directory is not synced at: done"
PLACE = "/d/a: it took its place before its content was synced"


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Written("/d/a")],
        [Written("/d/a"), Synced("/d/a"), DONE],
        [Named("/d/a"), Written("/d/a"), Synced("/d/a"), Synced("/d"), DONE],
        [Named("/d"), Named("/d/a"), Synced("/d"), Synced("/"), DONE],
        [Named("/d/t"), Written("/d/t"), Synced("/d/t"), Moved("/d/t", "/d/a"), Synced("/d"), DONE],
        [Named("/d/t"), Written("/d/t"), Synced("/d/t"), Linked("/d/t", "/d/a"), Synced("/d"), DONE],
        [Named("/d/a"), Written("/d/b"), Removed("/d/c"), AllSynced(), DONE],
        [Written("/d/a"), Removed("/d/a"), Synced("/d"), DONE],
        [Named("/d/a"), Removed("/d/a"), Removed("/d"), Synced("/"), DONE],
        [Written("/d/a-wal"), Synced("/d/a-wal"), Removed("/d/a-wal"), DONE],
        [Named("/d/a-wal"), DONE],
        [Named("/d/a-wal"), Synced("/d"), Written("/d/a-wal"), Synced("/d/a-wal"), DONE],
        [DONE, Written("/d/a")],
    ],
)
def test_durable_events_are_no_violation(events: list[Event]) -> None:
    assert violations(events) == []


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([Written("/d/a"), DONE], [CONTENT]),
        ([Synced("/d/a"), Written("/d/a"), DONE], [CONTENT]),
        ([Written("/d/a"), Synced("/d/b"), DONE], [CONTENT]),
        ([Written("/d/a"), Synced("/d"), DONE], [CONTENT]),
        ([Written("/d/a"), DONE, DONE], [CONTENT]),
        ([AllSynced(), Written("/d/a"), DONE], [CONTENT]),
        ([Named("/d/a"), DONE], [NAME]),
        ([Named("/d/a"), Synced("/d/a"), DONE], [NAME]),
        ([Named("/d/a"), Synced("/"), DONE], [NAME]),
        ([Synced("/d"), Named("/d/a"), DONE], [NAME]),
        ([Removed("/d/a"), DONE], [REMOVAL]),
        ([Named("/d/a"), Removed("/d/a"), DONE], [REMOVAL]),
        ([Synced("/d"), Removed("/d/a"), DONE], [REMOVAL]),
        ([Written("/d/t"), Moved("/d/t", "/d/a"), Synced("/d"), Synced("/d/a"), DONE], [PLACE]),
        (
            [Written("/d/t"), Linked("/d/t", "/d/a"), Synced("/d"), Synced("/d/t"), Synced("/d/a"), DONE],
            [PLACE],
        ),
        ([Moved("/s/t", "/d/a"), Synced("/s"), DONE], [NAME]),
        (
            [Moved("/d/a", "/e/b"), Synced("/e"), DONE],
            ["/d/a: moved away, and its directory is not synced at: done"],
        ),
        (
            [Named("/d/a-wal"), Written("/d/a-wal"), Synced("/d/a-wal"), DONE],
            ["/d/a-wal: made, and its directory is not synced at: done"],
        ),
        (
            [Written("/d/a-wal"), Removed("/d/a-wal"), DONE],
            ["/d/a-wal: removed, and its directory is not synced at: done"],
        ),
    ],
)
def test_path_at_risk_of_power_loss_is_named(events: list[Event], expected: list[str]) -> None:
    assert violations(events) == expected


def test_deciding_name_is_removed_after_all_data_is_durable() -> None:
    deciding = frozenset({"unfinished"})
    before: list[Event] = [Written("/d/a"), Removed("/d/unfinished")]
    after: list[Event] = [Synced("/d/a"), Synced("/d"), DONE]
    assert violations(before + after, {}, deciding) == [
        "/d/a: the content is not synced at: the removal of unfinished"
    ]
    assert violations([Written("/d/a"), Synced("/d/a"), Removed("/d/unfinished"), *after], {}, deciding) == []


def test_volatile_file_may_be_lost_unless_moved_into_place() -> None:
    volatile = {"*/tmp/*": "made anew"}
    scratch: list[Event] = [Named("/d/tmp/t"), Written("/d/tmp/t")]
    assert violations([*scratch, DONE], volatile) == []
    placed: list[Event] = [*scratch, Moved("/d/tmp/t", "/d/a"), Synced("/d"), Synced("/d/a"), DONE]
    assert violations(placed, volatile) == [PLACE]
