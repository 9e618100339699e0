"""Unique marker texts and vectors, and a search for them in files."""

import secrets
from pathlib import Path
from typing import Any

import numpy as np

from akidb.domain.entities import UserRole
from akidb.domain.fields import CollectionPath
from akidb.operations.collections import CreateCollection, UpdateCollection
from akidb.operations.databases import CreateDatabase, UpdateDatabase
from akidb.operations.documents import DeleteDocuments, UpdateDocuments, UpsertDocuments
from akidb.operations.tenants import UpdateTenant
from akidb.operations.users import CreateUser, UpdateUser

from .worlds import DIMENSION, Floats, World, keyed


class Marks:
    """What must be found nowhere once it is purged."""

    def __init__(self) -> None:
        self.made: dict[str, bytes] = {}

    def text(self, field: str) -> str:
        """A text of letters, digits and hyphens, which may be a slug or a name."""
        made = f"{secrets.token_hex(6)}-{field.replace('_', '-')}-{secrets.token_hex(6)}"
        self.made[f"{field} {made}"] = made.encode()
        return made

    def vector(self, field: str) -> Floats:
        made = np.random.default_rng(secrets.randbits(64)).normal(size=DIMENSION).astype("<f4")
        self.made[f"vector of {field} {made[0]}"] = made.tobytes()
        return made

    def document(self, field: str) -> dict[str, Any]:
        return {
            "id": self.text(f"{field}-id"),
            # Long enough for pages of its own, which come free as a whole.
            "text": f"{self.text(f'{field}-text')} {'word ' * secrets.choice([1, 300, 3000])}"
            f"{self.text(f'{field}-end')}",
            "metadata": {self.text(f"{field}-key"): [self.text(f"{field}-value")]},
            "vector": self.vector(field),
        }


def traces(directory: Path, marks: Marks) -> list[str]:
    """Where marks are found, in every file under a directory."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            name = path.relative_to(directory)
            found += [f"{name}: {mark}" for mark, value in marks.made.items() if value in content]
    return found


def fill_collection(world: World, marks: Marks, tenant: str, database: str) -> CollectionPath:
    """A collection whose documents are written, replaced, changed, deleted."""
    old, new = marks.text("old-collection"), marks.text("collection")
    with keyed(idempotency_key=marks.text("key-of-a-collection")):
        world.ops.perform(CreateCollection(tenant=tenant, database=database, name=old, dimension=DIMENSION))
    path = CollectionPath(tenant, database, old)
    documents = [marks.document(f"document-{number}") for number in range(40)]
    with keyed(idempotency_key=marks.text("key-of-documents")):
        world.on(path, UpsertDocuments, documents=documents)
    again = [{**marks.document("replaced"), "id": each["id"]} for each in documents[:10]]
    world.on(path, UpsertDocuments, documents=again)
    ids = [each["id"] for each in documents]
    world.on(path, UpdateDocuments, metadata={"more": marks.text("merged-metadata")}, ids=ids[5:15])
    world.on(path, DeleteDocuments, ids=ids[12:20])
    world.on(path, UpdateCollection, name=new)
    return CollectionPath(tenant, database, new)


def fill_database(world: World, marks: Marks, tenant: str) -> CollectionPath:
    """A database with two collections, all of them renamed; gives the path of one."""
    old, new = marks.text("old-database"), marks.text("database")
    with keyed(idempotency_key=marks.text("key-of-a-database")):
        world.ops.perform(CreateDatabase(tenant=tenant, name=old, description=marks.text("old-description")))
    change = UpdateDatabase(tenant=tenant, database=old, name=new, description=marks.text("description"))
    with keyed(idempotency_key=marks.text("key-of-a-change")):
        world.ops.perform(change)
    fill_collection(world, marks, tenant, new)
    return fill_collection(world, marks, tenant, new)


def fill_tenant(world: World, marks: Marks) -> CollectionPath:
    """A tenant with marks in every field of everything; gives the path of one of its collections."""
    with keyed(idempotency_key=marks.text("key-of-a-tenant")):
        made = world.tenant(
            marks.text("old-tenant"),
            slug=marks.text("old-slug"),
            external_id=marks.text("old-external-id"),
            metadata={marks.text("old-key"): marks.text("old-value")},
        )
    with keyed(idempotency_key=marks.text("key-of-a-user")):
        user = world.ops.perform(
            CreateUser(
                tenant=made.slug,
                email=f"{marks.text('old-email')}@example.com",
                password="correct horse battery",
            )
        )
    world.ops.perform(
        UpdateUser(
            tenant=made.slug,
            user=user.user_id,
            email=f"{marks.text('email')}@example.com",
            role=UserRole.ADMIN,
        )
    )
    slug = marks.text("slug")
    world.ops.perform(
        UpdateTenant(
            tenant=made.slug,
            name=marks.text("tenant"),
            slug=slug,
            external_id=marks.text("external-id"),
            metadata={marks.text("key"): [marks.text("value")]},
        )
    )
    return fill_database(world, marks, slug)


def fill_crowd(world: World, count: int = 60) -> Marks:
    """Tenants beside, whose rows share pages with those of the others; gives what they hold."""
    marks = Marks()
    for _ in range(count):
        world.tenant(
            marks.text("crowd"), slug=marks.text("crowd-slug"), metadata={"of": marks.text("crowd-metadata")}
        )
    return marks
