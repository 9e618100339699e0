"""`kill -9` of writer and reader: a replica built from the feed equals the collection."""

import random
import time
from pathlib import Path

import pytest
from worlds_of_changes import Replica, collection, write_without_end

from akidb.deployment.local import open_local
from akidb.operations.documents import ScanDocuments
from akidb.settings import Settings
from children import child


@pytest.mark.slow
def test_replica_survives_kill_of_writer_and_reader(tmp_path: Path) -> None:
    directory, place = tmp_path / "data", tmp_path / "replica.json"
    settings = Settings()
    operations = open_local(directory, settings)
    path = collection(operations)
    operations.close()
    wait = random.Random(4)
    for round in range(4):
        with child(write_without_end, directory, round):
            time.sleep(1.5 + wait.random())
        operations = open_local(directory, settings)
        try:
            replica = Replica.load(place)  # as after a crash: what was not saved is read again
            for _ in range(3):
                replica.step(operations, path, limit=7)
            replica.save(place)
            replica.step(operations, path, limit=7)  # not saved
        finally:
            operations.close()
    operations = open_local(directory, settings)
    try:
        replica = Replica.load(place)
        while replica.step(operations, path, limit=100):
            pass
        kept: dict[str, str | None] = {}
        cursor = None
        while True:
            page = operations.perform(ScanDocuments(**path._asdict(), limit=1000, cursor=cursor))
            kept.update({each.id: each.text for each in page.items})
            cursor = page.next_cursor
            if cursor is None:
                break
        assert replica.documents == kept
        assert len(kept) > 10
    finally:
        operations.close()
