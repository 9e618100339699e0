"""Expected and actual contents of a tenant after steps of `writing_child`."""

import copy
from collections import Counter
from typing import Any

import numpy as np
from fault_tools import at, document, size_bytes
from msgspec.structs import replace
from writing_child import Step, nameless

from akidb.deployment.local import LocalOperations
from akidb.domain.documents import MAX_PAGE_LIMIT, Include
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import ListCollections
from akidb.operations.documents import ScanDocuments
from akidb.operations.tenants import GetTenant, GetUsage, ListTenants

Documents = dict[str, dict[str, Any]]
_ALL = frozenset(Include)


class TenantModel:
    """The state of one tenant, in dictionaries."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.documents: dict[str, Documents] = {"x": {}, "y": {}}
        self.collections = {"x", "y"}
        self.dropped: set[str] = set()
        self.metadata: dict[str, Any] = {}
        self.storage_quota_bytes = 10**12
        self.tenants: set[str] = set()
        self.audit = Counter({"tenant.create": 1, "database.create": 1, "collection.create": 2})

    def after(self, step: Step, ids: list[str]) -> "TenantModel":
        """The state with one step more."""
        model = copy.deepcopy(self)
        model.apply(step, ids)
        return model

    def apply(self, step: Step, written: list[str]) -> None:
        """Take a step; `written` are the ids of the documents that it wrote."""
        match step:
            case ("upsert", _, collection, ids, n):
                self.documents[collection].update({id: document(id, n, n=n) for id in ids})
            case ("nameless", key, collection, n):
                made = zip(written, nameless(key, n), strict=True)
                self.documents[collection].update({id: {**given, "id": id} for id, given in made})
            case ("delete", _, collection, ids, _):
                for id in ids:
                    self.documents[collection].pop(id, None)
            case ("update", _, collection, ids, n):
                for id in self.documents[collection].keys() & set(ids):
                    held = self.documents[collection][id]
                    kept = {k: v for k, v in held["metadata"].items() if k != "n"}
                    self.documents[collection][id] = {**held, "metadata": {**kept, "m": n}}
            case ("rename", _, n):
                self.metadata = {"n": n}
                self.audit["tenant.update"] += 1
            case ("quota", _, n):
                self.storage_quota_bytes = 10**12 + n
                self.audit["tenant.update"] += 1
            case ("tenant", _, slug):
                self.tenants.add(slug)
            case _:
                self._apply_to_collection(*step)

    def _apply_to_collection(self, kind: str, _key: str, name: str) -> None:
        self.audit[
            {"collection": "collection.create", "drop": "collection.delete"}.get(kind, "collection.purge")
        ] += 1
        if kind == "collection":
            self.collections.add(name)
        elif kind == "drop":
            self.collections.remove(name)
            self.dropped.add(name)
        else:
            self.dropped.remove(name)

    def state(self) -> dict[str, Any]:
        """All of it, to be compared with `held`."""
        everything = [d for documents in self.documents.values() for d in documents.values()]
        return {
            "documents": {
                f"{collection}/{id}": (d["text"], d["metadata"], np.array(d["vector"], np.float32).tobytes())
                for collection, documents in self.documents.items()
                for id, d in documents.items()
            },
            "usage": (sum(map(size_bytes, everything)), len(everything), len(self.collections)),
            "collections": sorted(self.collections),
            "dropped": sorted(self.dropped),
            "tenant": (self.metadata, self.storage_quota_bytes),
            "tenants": sorted(self.tenants),
            "audit": dict(self.audit),
        }


def held(operations: LocalOperations, tenant: str) -> dict[str, Any]:
    """What there is."""
    usage, entity = operations.perform(GetUsage(tenant=tenant)), operations.perform(GetTenant(tenant=tenant))
    collections = ListCollections(tenant=tenant, database="d", limit=MAX_PAGE_LIMIT)
    names = [c.name for c in _pages(operations, collections)]
    return {
        "documents": {
            f"{name}/{d.id}": (d.text, d.metadata, d.vector.tobytes())
            for name in names
            for d in _pages(
                operations,
                ScanDocuments(**at(tenant, name)._asdict(), include=_ALL, limit=MAX_PAGE_LIMIT),
            )
        },
        "usage": (usage.storage_bytes.used, usage.documents, usage.collections),
        "collections": names,
        "dropped": [c.name for c in _pages(operations, replace(collections, deleted=True))],
        "tenant": (entity.metadata, entity.storage_quota_bytes),
        "tenants": sorted(
            t.slug
            for t in _pages(operations, ListTenants(limit=MAX_PAGE_LIMIT))
            if t.slug.startswith(f"{tenant}-")
        ),
        "audit": dict(
            Counter(
                entry.action
                for entry in _pages(operations, ListAuditEntries(tenant=tenant, limit=MAX_PAGE_LIMIT))
            )
        ),
    }


def ids_of(state: dict[str, Any], step: Step) -> list[str]:
    """The documents in `held` that a nameless step wrote, in its order: their ids sort by their making."""
    if step[0] != "nameless":
        return []
    return sorted(
        place.partition("/")[2]
        for place, (_, metadata, _) in state["documents"].items()
        if metadata.get("key") == step[1]
    )


def _pages(operations: LocalOperations, request: Any) -> Any:
    while True:
        page = operations.perform(request)
        yield from page.items
        if page.next_cursor is None:
            return
        request = replace(request, cursor=page.next_cursor)
