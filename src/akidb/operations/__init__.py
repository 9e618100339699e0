"""The table of all operations of AkiDB; `declare` defines its rows."""

from akidb.operations import (
    archives,
    audit,
    changes,
    collections,
    databases,
    documents,
    embeddings,
    migration,
    tenants,
    upkeep,
    users,
)
from akidb.operations.declare import OPERATIONS, Operation, Operations, Request, Work

__all__ = [
    "OPERATIONS",
    "Operation",
    "Operations",
    "Request",
    "Work",
    "archives",
    "audit",
    "changes",
    "collections",
    "databases",
    "documents",
    "embeddings",
    "migration",
    "tenants",
    "upkeep",
    "users",
]
