"""JSON schemas of requests and answers, from the Structs and their fields' rules (`akidb.domain.fields`)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from akidb.domain.documents import MAX_ID_BYTES, MAX_TEXT_BYTES
from akidb.domain.embedding import MAX_TEXTS
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION
from akidb.domain.ids import EntityId

Schema = dict[str, Any]

_PAGE = re.compile(r'(?<=["/])(?:Change)?Page_(\w+)_(?=")')

ID: Schema = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
}
_VECTOR: Schema = {
    "type": "array",
    "items": {"type": "number"},
    "description": "Numbers, `dimension` of them.",
}
_RULES: Mapping[str, Mapping[str, Schema]] = {
    "DocumentInput": {
        "id": {"minLength": 1, "maxLength": MAX_ID_BYTES},
        "text": {"maxLength": MAX_TEXT_BYTES},
        "vector": {"minItems": MIN_DIMENSION, "maxItems": MAX_DIMENSION},
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
"""By Struct and field, of those that are no requests: what the type alone does not say."""

_SPARSE = frozenset({"Document", "Match", "DocumentChange", "MetadataChange"})
"""Structs that leave out what was not asked for, or does not apply."""

_EITHER = {"DocumentInput": ("text", "vector")}
"""By Struct: two fields of which one at least must be there."""


def components(
    types: Iterable[Any], one_of: Mapping[str, tuple[str, str]]
) -> tuple[list[Schema], dict[str, Schema]]:
    """Schemas of these types, each a reference, and the components that they refer to.

    `one_of` names two fields by Struct, of which one must be there.
    """
    references, named = msgspec.json.schema_components(
        types, schema_hook=_schema_hook, ref_template="#/components/schemas/{name}"
    )
    document = _renamed({"references": list(references), "components": named})
    for name, schema in document["components"].items():
        _complete(name, schema, {**_EITHER, **one_of}.get(name))
    return document["references"], document["components"]


def _schema_hook(kind: type) -> Schema:
    if issubclass(kind, EntityId):
        return ID
    raise NotImplementedError(kind)


def _complete(name: str, schema: Schema, either: tuple[str, str] | None) -> None:
    properties = schema.get("properties", {})
    for field, rule in _RULES.get(name, {}).items():
        if field in properties:
            _narrow(properties[field], rule)
    if either is not None:
        schema["anyOf"] = [{"required": [field]} for field in either]
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
