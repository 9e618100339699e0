"""JSON schemas of requests and responses, from the Structs and field rules (`akidb.domain.fields`)."""

import re
from collections.abc import Iterable, Mapping
from inspect import cleandoc
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
    "description": "An array of `dimension` numbers.",
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
"""Constraints beyond the type, by Struct and field, for Structs that are not requests."""

_SPARSE = frozenset({"Document", "Match", "DocumentChange", "MetadataChange", "SearchStatistics"})
"""Structs that omit fields that were not requested or do not apply."""

_EITHER = {"DocumentInput": ("text", "vector")}
"""By Struct: two fields, of which at least one is required."""


def components(
    types: Iterable[Any], one_of: Mapping[str, tuple[str, str]]
) -> tuple[list[Schema], dict[str, Schema]]:
    """Return references to the schemas of these types, and the referenced components.

    `one_of` maps a Struct to two fields, of which at least one is required.
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
    if "description" in schema:
        schema["description"] = cleandoc(schema["description"])
    properties = schema.get("properties", {})
    for field, rule in _RULES.get(name, {}).items():
        if field in properties:
            _narrow(properties[field], rule)
    if either is not None:
        schema["anyOf"] = [{"required": [field]} for field in either]
    if not schema.get("additionalProperties", True):
        return  # a request: a field with a default may be omitted
    if name not in _SPARSE:
        schema["required"] = list(properties)


def _narrow(schema: Schema, rule: Schema) -> None:
    """Add a rule to the non-null alternative."""
    if "$ref" in schema and "enum" in rule:
        del schema["$ref"]
        schema["type"] = "string"
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    (options[0] if options else schema).update(rule)


def _renamed(document: Any) -> Any:
    """Rename page schemas, such as Page_Tenant_ to TenantPage."""
    text = msgspec.json.encode(document).decode()
    return msgspec.json.decode(_PAGE.sub(r"\1Page", text))
