"""A continuous writer, and a replica built from a change feed and saved with its position."""

import json
import random
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.changes import ChangeType
from akidb.domain.fields import CollectionPath
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.collections import CreateCollection
from akidb.operations.databases import CreateDatabase
from akidb.operations.declare import Operations
from akidb.operations.documents import DeleteDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant
from akidb.settings import Settings

DIMENSION = 16
PATH = CollectionPath("aki-labs", "kb", "notes")


def collection(operations: LocalOperations) -> CollectionPath:
    """A tenant with a collection, and a quota that stops nobody."""
    operations.perform(CreateTenant(name="Aki Labs", qps_quota=1_000_000))
    operations.perform(CreateDatabase(tenant="aki-labs", name="kb"))
    operations.perform(CreateCollection(tenant="aki-labs", database="kb", name="notes", dimension=DIMENSION))
    return PATH


def write_without_end(directory: Path, seed: int) -> None:
    """Upsert and delete documents until killed."""
    operations = open_local(directory, Settings())
    chosen = random.Random(seed)
    for step in count():
        ids = chosen.sample([f"d{number}" for number in range(60)], 3)
        if chosen.random() < 0.7:
            documents = [
                {"id": id, "text": f"{id} of {seed} at {step}", "vector": [1.0] * DIMENSION} for id in ids
            ]
            operations.perform(UpsertDocuments(**PATH._asdict(), documents=documents))
        else:
            operations.perform(DeleteDocuments(**PATH._asdict(), ids=ids))


class Replica(msgspec.Struct):
    """What a reader made of the feed, and where it was then."""

    documents: dict[str, str | None] = {}
    since: int = 0
    feed: str | None = None

    @classmethod
    def load(cls, file: Path) -> "Replica":
        with suppress(FileNotFoundError):
            return msgspec.convert(json.loads(file.read_text()), cls)
        return cls()

    def save(self, file: Path) -> None:
        file.write_bytes(msgspec.json.encode(self))

    def step(self, operations: Operations, path: CollectionPath, limit: int) -> bool:
        """Take over a page of changes; tells whether there are more."""
        page = operations.perform(
            GetCollectionChanges(**path._asdict(), since=self.since, feed=self.feed, limit=limit)
        )
        for change in page.changes:
            if change.type == ChangeType.DELETE:
                self.documents.pop(change.id, None)
            else:
                self.documents[change.id] = change.text
        self.since, self.feed = page.next_since, page.feed
        return page.more
