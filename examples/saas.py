"""A help desk with 50 customers, as a SaaS backend would use AkiDB: one tenant for each customer.

    python examples/saas.py                           # in ./saas-data, with the model all-minilm-l6-v2
    python examples/saas.py http://127.0.0.1:8080     # the same on a server
    python examples/saas.py DIRECTORY --model hash    # without a real model: similarity by common words

Each function is one event in the life of a customer.
"""

import argparse
import tempfile
from pathlib import Path

import akidb
from akidb import Client, CollectionHandle, TenantHandle, UserRole

CUSTOMERS = 50
STORAGE_BYTES = {"free": 2**20, "team": 2**30}
OPERATIONS_PER_SECOND = {"free": 20, "team": None}  # None: no limit
PRODUCTS = ("Router", "Printer", "Phone")
PROBLEMS = {
    "does not start": "Hold the power button for ten seconds, then plug in the cable again.",
    "has no connection": "Check the network password, and move closer to the antenna.",
    "is too loud": "Clean the fan with a dry cloth and update the firmware.",
}


def sign_up(db: Client, customer_id: str, name: str, plan: str) -> TenantHandle:
    """Create the tenant of a customer. Signing up twice gives the same tenant.

    Our own ID for the customer is the external ID: two customers may have the same name.
    """
    return db.tenants.get_or_create(
        name,
        external_id=customer_id,
        storage_quota_bytes=STORAGE_BYTES[plan],
        qps_quota=OPERATIONS_PER_SECOND[plan],
        metadata={"plan": plan},
    )


def articles_of(tenant: TenantHandle, model: str) -> CollectionHandle:
    """Return the customer's articles; they are created with the first call."""
    help_desk = tenant.databases.get_or_create("help-desk")
    return help_desk.collections.get_or_create("articles", embedding_model=model)


def add_user(tenant: TenantHandle, email: str, password: str) -> None:
    """Add one of the customer's people. Users belong to a tenant; elsewhere the address is another user."""
    tenant.users.get_or_create(email, password=password, role=UserRole.ADMIN)


def log_in(tenant: TenantHandle, email: str, password: str) -> UserRole | None:
    """Return the role of a user, None if the address or the password is wrong."""
    try:
        return tenant.users.verify_password(email, password).role
    except akidb.Unauthenticated:
        return None


def ingest(tenant: TenantHandle, model: str) -> None:
    """Write the customer's articles, all or none. Repeating the request with its key changes nothing."""
    articles = [
        {
            "id": f"{product}-{number}".lower(),
            "text": f"The {product} of {tenant.name} {problem}. {advice}",
            "metadata": {"product": product, "year": 2024 + number, "public": number != 2},
        }
        for product in PRODUCTS
        for number, (problem, advice) in enumerate(PROBLEMS.items())
    ]
    collection = articles_of(tenant, model)
    with akidb.request(idempotency_key=f"first-articles-{tenant.id}"):
        collection.upsert(articles)


def ask(tenant: TenantHandle, model: str, question: str, product: str) -> list[str]:
    """Return the ids of the best public articles on a product."""
    wanted = {"product": product, "public": True, "year": {"$gte": 2024}}
    return [match.id for match in articles_of(tenant, model).search(question, top_k=2, filter=wanted)]


def stop_until_paid(tenant: TenantHandle, model: str) -> str:
    """Suspend a customer and activate it again. While it is suspended it keeps its data and cannot use it."""
    tenant.suspend(reason="an invoice is unpaid")
    try:
        ask(tenant, model, "does not start", "Phone")
        refusal = "none"
    except akidb.InvalidState as error:
        refusal = error.message
    tenant.activate()
    return refusal


def move(db: Client, region: Client, customer_id: str, folder: Path) -> TenantHandle:
    """Move a customer from one deployment to another, with its users, passwords and documents.

    The original goes only when the copy has arrived. Purged IDs are never used again in a deployment, so a
    customer that comes back to one gets new IDs; its name, slug and external ID stay.
    """
    here = db.tenants.find_external(customer_id)
    assert here is not None
    file = folder / f"{customer_id}.akidb"
    here.export(file, overwrite=True)
    conflicts = region.tenants.import_(file, dry_run=True).conflicts
    region.tenants.import_(file, new_ids=any(conflict.reason == "purged" for conflict in conflicts))
    here.delete(purge=True)
    there = region.tenants.find_external(customer_id)
    assert there is not None
    return there


def leave_and_return(db: Client, tenant: TenantHandle) -> None:
    """Delete a customer that changes its mind: for seven days nothing of it is lost."""
    tenant.delete()
    assert db.tenants.find(tenant.id) is None
    db.tenants.restore(tenant.id)


def erase(db: Client, tenant: TenantHandle) -> None:
    """Remove a customer for good, because the law or the customer says so. No byte of it remains."""
    tenant.delete(purge=True)
    assert tenant.id not in db.tenants


def report(db: Client) -> list[str]:
    """Return a line on each of the customers that use most, as a bill would be based on."""
    usages = sorted(((t.usage().storage_bytes.used, t.slug) for t in db.tenants), reverse=True)
    return [f"{slug}: {used:,} bytes" for used, slug in usages[:3]]


def main(target: str, model: str, folder: Path) -> None:
    """Let it all happen."""
    with akidb.connect(target) as db, akidb.connect(folder / "region") as region:
        customers = []
        for number in range(CUSTOMERS):
            plan = "team" if number % 5 == 0 else "free"
            tenant = sign_up(db, f"c-{number:03}", f"Company {number}", plan)
            add_user(tenant, f"boss@company{number}.example", f"secret of company {number}")
            ingest(tenant, model)
            customers.append(tenant)
        first, second, third, *_, last = customers
        print(f"{db.tenants.count()} customers with {articles_of(first, model).count()} articles each")

        boss = ("boss@company0.example", "secret of company 0")
        print(f"the boss of company 0 is {log_in(first, *boss)}, and {log_in(second, *boss)} at another one")
        print("answers:", ", ".join(ask(first, model, "My phone does not start", "Phone")))
        print("unpaid:", stop_until_paid(second, model))

        away = move(db, region, "c-002", folder)
        articles_of(away, model).delete(["router-0"])
        back = move(region, db, "c-002", folder)
        print(
            f"came back with {articles_of(back, model).count()} articles and a new ID: {back.id != third.id}"
        )

        leave_and_return(db, first)
        print("deleted and restored with", articles_of(first, model).count(), "articles")
        erase(db, last)
        print("most used:", "; ".join(report(db)))

        backup = db.backup(folder / "nightly.akidb", overwrite=True)
        print(f"backup of {db.tenants.count()} customers, complete: {backup.is_complete}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="?", default="saas-data", help="a directory or the URL of a server")
    parser.add_argument("--model", default="all-minilm-l6-v2", help="the embedding model")
    parser.add_argument("--folder", type=Path, help="where the other region and the archives are kept")
    given = parser.parse_args()
    if given.folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            main(given.target, given.model, Path(temporary))
    else:
        main(given.target, given.model, given.folder)
