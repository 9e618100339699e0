"""Further rules: documents, copies, repeated and invalid requests, time, maintenance, restarts."""

from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import multiple, precondition
from metadata_machine import How, Machine, Target, rule
from metadata_model import RETENTION, Row
from metadata_rules import HOW, SORTS, EntityRules

from akidb.operations.upkeep import MaintainStores

DOCUMENTS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "ü"]),
        "text": st.sampled_from(["", "short", "längerer Text " * 4]),
        "metadata": st.sampled_from([{}, {"year": 2026}, {"tags": ["é", None]}]),
    }
)
PATCHES = st.sampled_from([{}, {"year": 2027}, {"year": None}, {"note": "x" * 50}])
IDS = st.lists(st.sampled_from(["a", "b", "ü", "unknown"]), min_size=1, max_size=3, unique=True)
STEPS = [
    timedelta(microseconds=1),
    timedelta(milliseconds=250),
    timedelta(seconds=1),
    timedelta(hours=-1),
    timedelta(hours=24),
    timedelta(hours=24, microseconds=1),
    RETENTION,
]
UUID = "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"
TENANT = {"tenant": "aki-labs"}
DATABASE = {**TENANT, "database": "kb"}
WRONG: list[tuple[str, Row, str]] = [
    ("tenant.create", {"name": ""}, "name"),
    ("tenant.create", {"name": "a\nb"}, "name"),
    ("tenant.create", {"name": "A", "slug": "A"}, "slug"),
    ("tenant.create", {"name": "A", "slug": UUID}, "slug"),
    ("tenant.create", {"name": "A", "external_id": ""}, "external_id"),
    ("tenant.create", {"name": "A", "status": "suspended"}, "status"),
    ("tenant.create", {"name": "A", "storage_quota_bytes": -1}, "storage_quota_bytes"),
    ("tenant.create", {"name": "A", "memory_quota_bytes": 2**63}, "memory_quota_bytes"),
    ("tenant.create", {"name": "A", "qps_quota": True}, "qps_quota"),
    ("tenant.create", {"name": "A", "metadata": []}, "metadata"),
    ("tenant.get", {"tenant": "A B"}, "tenant"),
    ("tenant.get", {"tenant": f"{{{UUID}}}"}, "tenant"),
    ("tenant.list", {"limit": 0}, "limit"),
    ("tenant.list", {"limit": 1001}, "limit"),
    ("tenant.list", {"sort": "size"}, "sort"),
    ("tenant.list", {"cursor": "AAAA"}, "cursor"),
    ("tenant.update", {**TENANT, "name": " "}, "name"),
    ("tenant.suspend", {**TENANT, "reason": "x" * 4097}, "reason"),
    ("database.create", {**TENANT, "name": "-"}, "name"),
    ("database.create", {**TENANT, "name": UUID}, "name"),
    ("database.create", {**TENANT, "name": "new", "state": "migrating"}, "state"),
    ("database.update", {**DATABASE, "state": "deleting"}, "state"),
    ("database.update", {**DATABASE, "schema_version": 0}, "schema_version"),
    ("collection.create", {**DATABASE, "name": "new", "dimension": 0}, "dimension"),
    ("collection.create", {**DATABASE, "name": "new", "dimension": 16, "metric": "hamming"}, "metric"),
    ("collection.create", {**DATABASE, "name": "new", "dimension": 16, "hnsw_m": 1}, "hnsw_m"),
    (
        "collection.update",
        {**DATABASE, "collection": "notes", "max_document_count": -1},
        "max_document_count",
    ),
    ("user.create", {**TENANT, "email": "bob", "password": "correct horse"}, "email"),
    ("user.create", {**TENANT, "email": "new@x", "password": "short"}, "password"),
    ("user.create", {**TENANT, "email": "new@x", "password": "correct horse", "role": "owner"}, "role"),
    ("user.update", {**TENANT, "user": "bob@x", "email": "a@b@c"}, "email"),
]
"""Requests with one wrong field, and which one it is."""


class MetadataMachine(EntityRules):
    """All that may happen."""

    tenants, databases = Machine.tenants, Machine.databases
    collections, users = Machine.collections, Machine.users

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.copied: dict[str, list[str]] = {"database": [], "collection": []}
        """What copies brought that no rule knows of yet."""
        self.walk: Row | None = None
        """A list of tenants that is read page by page while other things happen."""

    # Documents.

    def there(self, collection: str) -> str:
        """This collection, or another one where it is deleted: most of what is written is to be kept."""
        deleted = [
            identity
            for kind in ("tenant", "database", "collection")
            for identity, row in self.model.rows[kind].items()
            if row["deleted_at"] is not None
        ]
        if collection in self.model.documents and not set(self.homes[collection]) & set(deleted):
            return collection
        others = (each for each in self.model.documents if not set(self.homes[each]) & set(deleted))
        return next(others, collection)

    @rule(
        how=HOW,
        collection=collections,
        documents=st.lists(DOCUMENTS, min_size=1, max_size=3, unique_by=lambda each: str(each["id"])),
    )
    def upsert(self, how: How, collection: str, documents: list[Row]) -> None:
        path = self.path(how, *self.homes[self.there(collection)])
        self.do(how, "document.upsert", **path, documents=documents)

    @rule(how=HOW, collection=collections, ids=IDS, patch=st.none() | PATCHES)
    def update_or_delete_documents(
        self, how: How, collection: str, ids: list[str], patch: Row | None
    ) -> None:
        path = self.path(how, *self.homes[self.there(collection)])
        if patch is None:
            self.do(how, "document.delete", **path, ids=ids)
        else:
            self.do(how, "document.update", **path, metadata=patch, ids=ids)

    @rule(how=HOW, collection=collections, limit=st.integers(1, 3))
    def read_documents(self, how: How, collection: str, limit: int) -> None:
        how = how._replace(key=None)
        path = self.path(how, *self.homes[collection])
        self.do(how, "document.count", **path)
        operation, fields = "document.scan", {**path, "limit": limit}
        code, answer = self.real.call(how.connection, operation, fields, None)
        if code == "ok":
            answer = {"items": answer["items"], "more": answer["next_cursor"] is not None}
        self.agree((code, answer), self.expect(how, operation, fields, (code, answer)), operation)

    @rule(how=HOW, collection=collections, limit=st.integers(1, 3))
    def follow_documents(self, how: How, collection: str, limit: int) -> None:
        """Read on in the feed of a collection; each page is an operation, and may be one too many."""
        path, more = self.path(how, *self.homes[collection]), True
        while more:
            since, token, known = self.readers.get(collection, (0, None, {}))
            fields = {**path, "since": since, "feed": token, "limit": limit}
            got = self.real.call(how.connection, "collection.changes", fields, None)
            want = self.expect(how._replace(key=None), "collection.changes", {**path}, got)
            self.tally["collection.changes", got[0]] += 1
            if got[0] != "ok":
                self.agree(got, want, "collection.changes")
                return
            for change in got[1]["changes"]:
                known.pop(change["id"], None)
                if change.pop("type") == "upsert":
                    known[change["id"]] = change
            self.readers[collection] = (got[1]["next_since"], got[1]["feed"], known)
            more = got[1]["more"]
        self.agree(("ok", known), want, "what a reader of the collection's feed knows")

    # Copies.

    @rule(
        target=tenants,
        how=HOW,
        tenant=tenants,
        slug=st.sampled_from(["copy-1", "copy-2", "aki-labs"]),
        name=st.sampled_from([None, "AB"]),
    )
    def copy_tenant(self, how: How, tenant: str, slug: str, name: str | None) -> Target:
        how = how._replace(key=None)
        answer = self.do(how, "tenant.copy", **self.path(how, tenant), slug=slug, name=name)
        made = self.made("tenant", answer)
        if "tenant_id" in answer:
            self._adopt(tenant, made)
        return made

    def _adopt(self, origin: str, made: str) -> None:
        """Learn the IDs of what a copy holds."""
        code, page = self.real.call(0, "tenant.changes", {"tenant": made, "limit": 1000}, None)
        self.agree(code, "ok", page)
        rows = [change[change["entity"]] for change in page["changes"]]
        databases = {row["database_id"]: row for row in rows if "schema_version" in row}
        ids: dict[tuple[str, ...], str] = {(row["name"],): id for id, row in databases.items()}
        for row in rows:
            if "collection_id" in row:
                ids[databases[row["database_id"]]["name"], row["name"]] = row["collection_id"]
                self.remember("collection", row)
                self.copied["collection"].append(row["collection_id"])
        for id, row in databases.items():
            self.remember("database", row)
            self.copied["database"].append(id)
        self.model.adopt(origin, made, ids)

    @precondition(lambda self: self.copied["database"])
    @rule(target=databases)
    def meet_databases(self) -> Target:
        found, self.copied["database"] = self.copied["database"], []
        return multiple(*found)

    @precondition(lambda self: self.copied["collection"])
    @rule(target=collections)
    def meet_collections(self) -> Target:
        found, self.copied["collection"] = self.copied["collection"], []
        return multiple(*found)

    # Requests.

    @precondition(lambda self: self.keyed)
    @rule(connection=st.sampled_from([0, 1]), back=st.integers(0, 40))
    def repeat(self, connection: int, back: int) -> None:
        """Make a request again that bore a key, perhaps of another process."""
        how, operation, fields = self.keyed[-1 - back % len(self.keyed)]
        answer = self.do(how._replace(connection=connection), operation, **fields)
        if operation.endswith(".create"):  # the first was refused, or is forgotten
            self.made(operation.partition(".")[0], answer)

    @rule(connection=st.sampled_from([0, 1]), wrong=st.sampled_from(WRONG))
    def ask_wrongly(self, connection: int, wrong: tuple[str, Row, str]) -> None:
        operation, fields, field = wrong
        got = self.real.call(connection, operation, fields, "wrong")
        self.agree(got, ("invalid_argument", {"field": field}), wrong)
        self.tally[operation, got[0]] += 1

    @rule(
        connection=st.sampled_from([0, 1]),
        sort=st.sampled_from([f"{minus}{field}" for field in SORTS for minus in ("", "-")]),
    )
    def read_a_page(self, connection: int, sort: str) -> None:
        """Go on in a list: who is there all the time, at the same place, comes once."""
        walk = self.walk or {"sort": sort, "cursor": None, "seen": Counter(), "stayed": None}
        field = walk["sort"].removeprefix("-")
        places = {row["tenant_id"]: row[field] for row in self.model.all("tenant", deleted=False)}
        stayed = places.items() if walk["stayed"] is None else places.items() & walk["stayed"]
        options = {"sort": walk["sort"], "cursor": walk["cursor"], "limit": 1}
        code, page = self.real.call(connection, "tenant.list", options, None)
        self.agree(code, "ok", page)
        walk["seen"].update(row["tenant_id"] for row in page["items"])
        if page["next_cursor"] is None:
            once = {tenant_id: walk["seen"][tenant_id] for tenant_id, _ in stayed}
            self.agree(once, dict.fromkeys(once, 1), f"a list by {walk['sort']}")
            self.walk = None
        else:
            self.walk = {**walk, "cursor": page["next_cursor"], "stayed": set(stayed)}
            options |= {"sort": "name" if walk["sort"] == "slug" else "slug", "cursor": page["next_cursor"]}
            code, answer = self.real.call(connection, "tenant.list", options, None)
            self.agree((code, answer), ("invalid_argument", {"field": "cursor"}), "another list's cursor")

    # Time, upkeep, restarts.

    @rule(step=st.sampled_from(STEPS))
    def wait(self, step: timedelta) -> None:
        self.clock.pass_by(step)
        self.model.now, self.model.seconds = self.clock.now, self.clock.seconds

    @rule(connection=st.sampled_from([0, 1]))
    def sweep(self, connection: int) -> None:
        report = self.real[connection].perform(MaintainStores())
        purged = {
            "tenant": report.tenants_purged,
            "database": report.databases_purged,
            "collection": report.collections_purged,
        }
        self.agree(purged, self.model.sweep(), "a round of maintenance")
        self.agree((report.problems, report.traces_remain), ([], False), "a round of maintenance")

    @rule(connections=st.sampled_from([(0,), (1,), (0, 1)]))
    def reopen(self, connections: tuple[int, ...]) -> None:
        self.model.end(self.real.reopen(*connections))

    @rule(connection=st.sampled_from([0, 1]))
    def read_everything(self, connection: int) -> None:
        self.compare_everything(connection)
