"""AkiDB: a multi-tenant vector database with built-in text embeddings, embedded by default.

`akidb.connect` returns a client, `akidb.aio.connect` an asynchronous one. Heavy dependencies (SQL, NumPy, the
embedding runtime, asyncio) are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from akidb.client.connect import connect
from akidb.client.results import Group, LoadResult, Matches, Page, UploadResult
from akidb.domain.changes import ChangePage, ChangeType, DocumentChange, MetadataChange
from akidb.domain.documents import (
    Document,
    DocumentInput,
    Include,
    Match,
    SearchStatistics,
    SearchStep,
    UpsertMode,
    UpsertResult,
)
from akidb.domain.embedding import EmbeddingResult
from akidb.domain.entities import (
    AuditEntry,
    AuditResult,
    Collection,
    Database,
    Metric,
    QuotaUsage,
    RateLimit,
    Tenant,
    Usage,
    User,
    UserRole,
)
from akidb.domain.errors import (
    AkiDBError,
    AlreadyExists,
    Damaged,
    IdempotencyMismatch,
    Internal,
    InvalidArgument,
    InvalidState,
    NotFound,
    OperationTimeout,
    Overloaded,
    PermissionDenied,
    PreconditionFailed,
    QuotaExceeded,
    RateLimited,
    StorageFull,
    Unauthenticated,
    Unavailable,
)
from akidb.domain.extras import needing_extras
from akidb.domain.facets import Facet, Facets
from akidb.domain.ids import AuditEntryId, CollectionId, DatabaseId, TenantId, UserId
from akidb.domain.index_state import IndexState, SegmentState
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus, UserStatus
from akidb.domain.lists import TenantSort
from akidb.domain.migration import FaultyManifests, ManifestConflicts, MigrationReport, ReturnReport
from akidb.observe.context import request
from akidb.settings import Settings

if TYPE_CHECKING:
    import akidb.aio as aio  # noqa: PLR0402 - mypy does not find it as `from akidb import aio`
    from akidb.client.handles.client import Client, Models
    from akidb.client.handles.collections import Collections
    from akidb.client.handles.databases import DatabaseHandle, Databases
    from akidb.client.handles.documents import CollectionHandle
    from akidb.client.handles.migration import Migration
    from akidb.client.handles.tenants import TenantHandle, Tenants
    from akidb.client.handles.users import UserHandle, Users
    from akidb.observe.metrics import metrics

__version__ = "2.0.0.dev0"

__all__ = [
    "AkiDBError",
    "AlreadyExists",
    "AuditEntry",
    "AuditEntryId",
    "AuditResult",
    "ChangePage",
    "ChangeType",
    "Client",
    "Collection",
    "CollectionHandle",
    "CollectionId",
    "CollectionState",
    "Collections",
    "Damaged",
    "Database",
    "DatabaseHandle",
    "DatabaseId",
    "DatabaseState",
    "Databases",
    "Document",
    "DocumentChange",
    "DocumentInput",
    "EmbeddingResult",
    "Facet",
    "Facets",
    "FaultyManifests",
    "Group",
    "IdempotencyMismatch",
    "Include",
    "IndexState",
    "Internal",
    "InvalidArgument",
    "InvalidState",
    "LoadResult",
    "ManifestConflicts",
    "Match",
    "Matches",
    "MetadataChange",
    "Metric",
    "Migration",
    "MigrationReport",
    "Models",
    "NotFound",
    "OperationTimeout",
    "Overloaded",
    "Page",
    "PermissionDenied",
    "PreconditionFailed",
    "QuotaExceeded",
    "QuotaUsage",
    "RateLimit",
    "RateLimited",
    "ReturnReport",
    "SearchStatistics",
    "SearchStep",
    "SegmentState",
    "Settings",
    "StorageFull",
    "Tenant",
    "TenantHandle",
    "TenantId",
    "TenantSort",
    "TenantStatus",
    "Tenants",
    "Unauthenticated",
    "Unavailable",
    "UploadResult",
    "UpsertMode",
    "UpsertResult",
    "Usage",
    "User",
    "UserHandle",
    "UserId",
    "UserRole",
    "UserStatus",
    "Users",
    "__version__",
    "aio",
    "connect",
    "metrics",
    "request",
]


if not TYPE_CHECKING:  # would make a type checker accept any name
    _HANDLES = {
        "client": ("Client", "Models"),
        "collections": ("Collections",),
        "databases": ("DatabaseHandle", "Databases"),
        "documents": ("CollectionHandle",),
        "migration": ("Migration",),
        "tenants": ("TenantHandle", "Tenants"),
        "users": ("UserHandle", "Users"),
    }
    """Modules of the public handles, which the command line starts without."""

    def __getattr__(name: str) -> Any:
        for module, names in _HANDLES.items():
            if name in names:
                return getattr(import_module(f"akidb.client.handles.{module}"), name)
        if name == "aio":
            return import_module("akidb.aio")
        if name == "metrics":
            with needing_extras():
                return import_module("akidb.observe.metrics").metrics
        raise AttributeError(f"module 'akidb' has no attribute {name!r}")
