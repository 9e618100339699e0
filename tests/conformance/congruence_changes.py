"""Valid and invalid calls to change feeds and operator lists, run on every deployment."""

from typing import Any

import numpy as np
from congruence_deployments import Transcript
from congruence_scenarios import Scenario, made, some_documents

import akidb


def changes(db: akidb.Client, saw: Transcript) -> None:
    """Pages, what is wrong, and who must start again. A feed's own name differs wherever it is."""
    notes = made(db, "changed")
    tenant = db.tenants.get("changed")

    def shown(page: Any) -> Any:
        started = None if page.feed is None else page.feed.partition("-")[2]
        return (page.changes, page.next_since, started, page.more, page.tombstone_floor)

    saw(lambda: shown(notes.changes()))
    notes.upsert(some_documents(5))
    notes.delete(["d001"])
    notes.update({"n": None}, ids=["d002"])
    for limit in (1, 3, 6, 1000):
        saw(lambda limit=limit: shown(notes.changes(limit=limit)))
    for include in ([], ["text"], ["metadata", "vector"]):
        saw(lambda include=include: shown(notes.changes(include=include)))
    page = notes.changes(limit=2)
    saw(lambda: shown(notes.changes(page.next_since, feed=page.feed)))
    saw(lambda: shown(notes.changes(page.next_since, feed=page.feed, wait_seconds=0.1)))
    saw(lambda: shown(notes.changes(7, feed=page.feed, wait_seconds=0.1)))
    saw(lambda: [isinstance(each.vector, np.ndarray) for each in notes.changes(include=["vector"]).changes])
    saw(lambda: [(each.entity, each.type, each.id) for each in tenant.changes().changes])
    saw(lambda: [each.collection for each in tenant.changes(2).changes])
    tenant.databases.delete("kb")
    saw(lambda: [each.database for each in tenant.changes(3).changes])
    tenant.databases.purge("kb")
    saw(lambda: [(each.entity, each.type, each.sequence) for each in tenant.changes(3).changes])
    other = f"{'0' * 32}-1"
    for wrong in ({"since": 8}, {"since": 7, "feed": other}, {"since": 7, "feed": "x"}):
        saw(tenant.changes, **wrong)
    for wrong in ({"limit": 0}, {"limit": 1001}, {"since": -1}, {"wait_seconds": 61}, {"wait_seconds": -1}):
        saw(tenant.changes, **wrong)
    saw(notes.changes)


def operator_lists(db: akidb.Client, saw: Transcript) -> None:
    """Tenants by a part of their names, in every order, and counts."""
    for number, name in enumerate(("Ölper Corp", "ÖLPER gmbh", "olper", "O\u0308lper 日本", "Ölpér ﬁn")):
        db.tenants.create(name, slug=f"oelper-{number}")
    db.tenants.get("oelper-2").suspend()
    for needle in ("ölper", "ÖLPER C", "日", "o", "FIN", "nobody at all"):
        for sort in akidb.TenantSort:
            saw(
                lambda needle=needle, sort=sort: [
                    tenant.name
                    for tenant in db.tenants.list(name_contains=needle, sort=sort, limit=1000)
                    if tenant.slug.startswith("oelper")
                ]
            )
    saw(db.tenants.count, name_contains="ölper")
    saw(db.tenants.count, name_contains="ölper", status=akidb.TenantStatus.SUSPENDED)
    first = db.tenants.list(name_contains="ölper", sort="-name", limit=2)
    saw(lambda: [tenant.slug for tenant in first])
    rest: dict[str, Any] = {"name_contains": "ölper", "sort": "-name", "cursor": first.next_cursor}
    saw(lambda: [tenant.slug for tenant in db.tenants.list(**rest)])
    saw(db.tenants.list, name_contains="ölper", sort="name", cursor=first.next_cursor)
    nothing: Any
    for nothing in ("", " ", "a\nb", "x" * 256):
        saw(db.tenants.list, name_contains=nothing)
        saw(db.tenants.count, name_contains=nothing)
    for nothing in ("age", "", "--name", None):
        saw(db.tenants.list, sort=nothing)
    databases = db.tenants.get("oelper-0").databases
    for name in ("a", "b", "c"):
        databases.create(name)
    databases.delete("b")
    saw(lambda: [databases.count(), databases.count(deleted=True), databases.get("a").collections.count()])


CHANGE_SCENARIOS: list[Scenario] = [changes, operator_lists]
