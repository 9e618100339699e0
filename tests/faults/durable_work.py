"""All that changes files, done once in the directory that is named; says what is done when it is.

A program of its own, since its system calls are recorded.
"""

import os
import sys
from pathlib import Path
from typing import Any

import akidb
from akidb.cli.main import main

DIMENSION = 16


def say(what: str) -> None:
    os.write(1, f"{what}\n".encode())


def run(*arguments: str | Path) -> None:
    """A command; what it prints is its own acknowledgement, and so is its end."""
    words = [str(argument) for argument in arguments]
    status = main(words)
    assert status == 0, words
    sys.stdout.flush()
    say(f"ended: {' '.join(words[2:4])}")


def documents(count: int, text: str = "") -> list[Any]:
    return [{"id": f"d{n}", "text": f"{n} {text}", "vector": [1.0] * DIMENSION} for n in range(count)]


def filled(tenant: akidb.TenantHandle) -> akidb.CollectionHandle:
    collection = tenant.databases.create("kb").collections.create("notes", dimension=DIMENSION)
    collection.upsert(documents(50))
    return collection


def work_on_one_place(db: akidb.Client, directory: Path) -> None:
    say("open")
    tenant = db.tenants.create("Aki Labs")
    say("a tenant")
    notes = filled(tenant)
    say("documents")
    notes.upsert(documents(1_500, "long " * 1_000))  # more than SQLite keeps in its log
    say("many documents")
    notes.delete([f"d{n}" for n in range(0, 1_500, 3)])
    say("deleted documents")
    db.backup(directory / "all.akidb")
    say("a backup")
    tenant.export(directory / "one.akidb")
    say("an export")
    tenant.export(directory / "one.akidb", overwrite=True)
    say("an export again")
    tenant.copy("copied")
    say("a copied tenant")
    database = tenant.databases.get("kb")
    database.collections.delete("notes")
    say("a deleted collection")
    database.collections.purge("notes")
    say("a purged collection")
    doomed = db.tenants.create("Doomed")
    filled(doomed)
    doomed.delete()
    say("a deleted tenant")
    doomed.purge()
    say("a purged tenant")
    db.maintain()
    say("maintenance")


def work(directory: Path, v1: Path) -> None:
    data = directory / "place" / "data"
    with akidb.connect(data) as db:
        work_on_one_place(db, directory)
    say("closed")
    run("--data", directory / "restored" / "data", "restore", directory / "all.akidb")
    with akidb.connect(directory / "taken-in") as db:
        db.tenants.import_(directory / "one.akidb")
        say("an import")
    say("closed")
    run("--data", data, "migrate", "schema", "--to", "0004", "--yes")
    run("--data", data, "migrate", "schema")
    report = ("--report", directory / "report.json")
    run("--data", directory / "from-v1", "migrate", "v1-to-v2", "--v1-data-dir", v1, *report)
    run("--data", directory / "from-v1", "migrate", "v2-to-v1", "--out", directory / "back" / "v1", *report)


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]))
