"""A process that writes until killed and reports through a pipe what it started and finished.

Each thread owns one tenant, so its operations are a sequence with at most one step in flight.
Every step is a plain tuple, which the test applies to its own model.
"""

import random
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fault_tools import DIMENSION, UNLIMITED_QPS, at, document, opened

from akidb.observe import context
from akidb.operations.collections import CreateCollection, DeleteCollection, PurgeCollection
from akidb.operations.declare import Operations
from akidb.operations.documents import DeleteDocuments, UpdateDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant, UpdateTenant

TENANTS = ("a", "b", "c")
Step = tuple[Any, ...]


def run(directory: Path, seed: int, first: dict[str, Step], pipe: Connection) -> None:
    """Write as every tenant; `first` are steps that were in the air when the process before this one died."""
    lock = threading.Lock()

    def tell(*message: Any) -> None:
        with lock:
            pipe.send(message)

    with opened(directory) as operations:
        threads = [
            threading.Thread(target=write, args=(operations, tenant, seed, first.get(tenant), tell))
            for tenant in TENANTS
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def write(operations: Operations, tenant: str, seed: int, first: Step | None, tell: Any) -> None:
    """Write as one tenant until an error comes."""
    if first is not None:
        tell("done", tenant, first, carry_out(operations, tenant, first))
    rng = random.Random(f"{seed} {tenant}")
    made: list[str] = []
    dropped: list[str] = []
    for turn in range(10**6):
        step = _choose(rng, f"{tenant}-{seed}-{turn}", made, dropped)
        tell("begin", tenant, step)
        tell("done", tenant, step, carry_out(operations, tenant, step))


def _choose(rng: random.Random, key: str, made: list[str], dropped: list[str]) -> Step:
    """What to do next; its first two members are what kind of step it is, and its idempotency key."""
    kind = rng.choices(
        (
            "upsert",
            "nameless",
            "delete",
            "update",
            "rename",
            "quota",
            "collection",
            "drop",
            "purge",
            "tenant",
        ),
        (8, 4, 3, 3, 1, 1, 2, 1, 1, 1),
    )[0]
    n = rng.randrange(10**6)
    if kind == "drop" and made:
        dropped.append(made.pop())
        return (kind, key, dropped[-1])
    if kind == "purge" and dropped:
        return (kind, key, dropped.pop())
    if kind in {"upsert", "delete", "update"}:
        chosen = [f"d{rng.randrange(60)}" for _ in range(rng.randrange(1, 12))]
        return (kind, key, rng.choice("xy"), tuple(dict.fromkeys(chosen)), n)
    if kind in {"rename", "quota"}:
        return (kind, key, n)
    if kind == "collection":
        made.append(key)
        return (kind, key, key)
    if kind == "tenant":
        return (kind, key, key)
    return ("nameless", key, rng.choice("xy"), n)


def carry_out(operations: Operations, tenant: str, step: Step) -> list[str]:
    """Do a step under its idempotency key; gives the ids of documents that it wrote."""
    with context.request(idempotency_key=step[1]):
        return _carry_out(operations, tenant, step)


def _carry_out(operations: Operations, tenant: str, step: Step) -> list[str]:
    match step:
        case ("upsert", _, collection, ids, n):
            return operations.perform(
                UpsertDocuments(
                    **at(tenant, collection)._asdict(), documents=[document(id, n, n=n) for id in ids]
                )
            ).ids
        case ("nameless", key, collection, n):
            given = nameless(key, n)
            for item in given:
                del item["id"]
            return operations.perform(
                UpsertDocuments(**at(tenant, collection)._asdict(), documents=given)
            ).ids
        case ("delete", _, collection, ids, _):
            operations.perform(DeleteDocuments(**at(tenant, collection)._asdict(), ids=ids))
        case ("update", _, collection, ids, n):
            operations.perform(
                UpdateDocuments(**at(tenant, collection)._asdict(), metadata={"n": None, "m": n}, ids=ids)
            )
        case ("rename", _, n):
            operations.perform(UpdateTenant(tenant=tenant, metadata={"n": n}))
        case ("quota", _, n):
            operations.perform(UpdateTenant(tenant=tenant, storage_quota_bytes=10**12 + n))
        case ("collection", _, name):
            operations.perform(CreateCollection(tenant=tenant, database="d", name=name, dimension=DIMENSION))
        case ("drop", _, name):
            operations.perform(DeleteCollection(tenant=tenant, database="d", collection=name))
        case ("purge", _, name):
            operations.perform(PurgeCollection(tenant=tenant, database="d", collection=name))
        case ("tenant", _, slug):
            operations.perform(CreateTenant(name=slug, slug=slug, qps_quota=UNLIMITED_QPS))
    return []


def nameless(key: str, n: int) -> list[dict[str, Any]]:
    """Documents that are new ones each time they are written."""
    return [document(f"{key} {place}", n, key=key) for place in range(3)]
