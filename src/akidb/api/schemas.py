"""JSON schemas of what goes in and out: made from the Structs, completed with the rules of the domain.

The rules stand here for readers and generators alone; the domain enforces them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from akidb.domain.documents import MAX_BATCH_DOCUMENTS, MAX_TEXT_BYTES, MAX_TOP_K
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION
from akidb.domain.ids import EntityId
from akidb.domain.names import MAX_EMAIL_BYTES, MAX_INTEGER, MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES
from akidb.services.embeddings import MAX_TEXTS

Schema = dict[str, Any]

_PAGE = re.compile(r'(?<=["/])(?:Change)?Page_(\w+)_(?=")')
_CONTROL = r"\x00-\x1f\x7f-\x9f"

ID: Schema = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
}
NAME: Schema = {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$", "minLength": 1, "maxLength": 128}
SLUG: Schema = {"pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "minLength": 1, "maxLength": 63}
LABEL: Schema = {
    "pattern": rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$",
    "minLength": 1,
    "maxLength": 255,
}
_COUNT: Schema = {"minimum": 0, "maximum": MAX_INTEGER}
_VECTOR: Schema = {
    "type": "array",
    "items": {"type": "number"},
    "description": "Numbers, `dimension` of them.",
}
_VECTOR_IN: Schema = {"minItems": MIN_DIMENSION, "maxItems": MAX_DIMENSION}
_TEXT: Schema = {"maxLength": MAX_TEXT_BYTES}
_IDS: Schema = {"minItems": 1, "maxItems": MAX_BATCH_DOCUMENTS}
_TENANT = {
    "name": LABEL,
    "slug": SLUG,
    "external_id": LABEL,
    "memory_quota_bytes": _COUNT,
    "storage_quota_bytes": _COUNT,
    "qps_quota": _COUNT,
}
_DATABASE = {
    "name": NAME,
    "description": {"maxLength": 4096},
    "schema_version": {"minimum": 1, "maximum": 2**31 - 1},
}
_COLLECTION = {
    "name": NAME,
    "dimension": {"minimum": MIN_DIMENSION, "maximum": MAX_DIMENSION},
    "hnsw_m": {"minimum": 2, "maximum": 512},
    "hnsw_ef_construction": {"minimum": 1, "maximum": 4096},
    "max_document_count": _COUNT,
}
EMAIL: Schema = {"pattern": r"^[^@\s/]+@[^@\s/]+$", "minLength": 3, "maxLength": MAX_EMAIL_BYTES}
_PASSWORD: Schema = {"maxLength": MAX_PASSWORD_BYTES, "writeOnly": True}
_USER = {"email": EMAIL, "password": {"minLength": MIN_PASSWORD_BYTES, **_PASSWORD}}

_RULES: Mapping[str, Mapping[str, Schema]] = {
    "TenantCreation": {**_TENANT, "status": {"enum": ["active", "provisioning"]}},
    "TenantChanges": _TENANT,
    "Copy": {"slug": SLUG, "name": LABEL},
    "ImportQuery": {"slug": SLUG},
    "Suspension": {"reason": {"maxLength": 4096}},
    "DatabaseCreation": {**_DATABASE, "state": {"enum": ["ready", "provisioning"]}},
    "DatabaseChanges": _DATABASE,
    "CollectionCreation": _COLLECTION,
    "CollectionChanges": _COLLECTION,
    "UserCreation": _USER,
    "UserChanges": _USER,
    "PasswordCheck": {"email": EMAIL, "password": _PASSWORD},
    "Upsert": {"documents": {"minItems": 1, "maxItems": MAX_BATCH_DOCUMENTS}},
    "DocumentInput": {"id": {"minLength": 1, "maxLength": 512}, "text": _TEXT, "vector": _VECTOR_IN},
    "DocumentNames": {"ids": _IDS},
    "Deletion": {"ids": _IDS},
    "MetadataUpdate": {"ids": _IDS},
    "Search": {
        "text": _TEXT,
        "vector": _VECTOR_IN,
        "top_k": {"minimum": 1, "maximum": MAX_TOP_K},
        "ef_search": {"minimum": 1, "maximum": MAX_TOP_K},
    },
    "Document": {"vector": _VECTOR},
    "Match": {"vector": _VECTOR},
    "DocumentChange": {"vector": _VECTOR},
    "EmbeddingRequest": {
        "input": {
            "anyOf": [
                {"type": "string", "maxLength": MAX_TEXT_BYTES},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_TEXTS},
            ]
        }
    },
}
"""By Struct and field: what the type alone does not say."""

_SPARSE = frozenset({"Document", "Match", "DocumentChange", "MetadataChange"})
"""Structs that leave out what was not asked for, or does not apply."""

_EITHER: Mapping[str, tuple[str, str]] = {
    "DocumentInput": ("text", "vector"),
    "Search": ("text", "vector"),
    "Deletion": ("ids", "filter"),
    "MetadataUpdate": ("ids", "filter"),
}
"""By Struct: two fields of which one at least must be there."""


def components(types: Iterable[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """Schemas of these types, each a reference, and the components that they refer to."""
    references, named = msgspec.json.schema_components(
        types, schema_hook=_schema_hook, ref_template="#/components/schemas/{name}"
    )
    document = _renamed({"references": list(references), "components": named})
    for name, schema in document["components"].items():
        _complete(name, schema)
    return document["references"], document["components"]


def _schema_hook(kind: type) -> Schema:
    if issubclass(kind, EntityId):
        return ID
    raise NotImplementedError(kind)


def _complete(name: str, schema: Schema) -> None:
    properties = schema.get("properties", {})
    for field, rule in _RULES.get(name, {}).items():
        if field in properties:
            _narrow(properties[field], rule)
    if name in _EITHER:
        schema["anyOf"] = [{"required": [field]} for field in _EITHER[name]]
    if not schema.get("additionalProperties", True):
        return  # what is sent: a field with a default may be left out
    if name not in _SPARSE:
        schema["required"] = list(properties)


def _narrow(schema: Schema, rule: Schema) -> None:
    """Add a rule to the alternative that is not null."""
    if "$ref" in schema and "enum" in rule:
        del schema["$ref"]
        schema["type"] = "string"
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    (options[0] if options else schema).update(rule)


def _renamed(document: Any) -> Any:
    """Call a page of tenants TenantPage instead of Page_Tenant_."""
    text = msgspec.json.encode(document).decode()
    return msgspec.json.decode(_PAGE.sub(r"\1Page", text))
