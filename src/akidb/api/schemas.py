"""JSON schemas of requests and responses, from the Structs and field rules (`akidb.domain.fields`)."""

import re
from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from typing import Any, get_args, get_origin

import msgspec
from msgspec import inspect

from akidb.domain.documents import MAX_ID_BYTES, MAX_TEXT_BYTES
from akidb.domain.embedding import MAX_TEXTS
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION
from akidb.domain.ids import EntityId

Schema = dict[str, Any]

_PAGE = re.compile(r'(?<=["/])(?:Change)?Page_(\w+)_(?=")')
_TIME: Schema = {"type": "string", "format": "date-time"}

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


def components(types: Iterable[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """Return references to the schemas of these types, and the referenced components.

    They keep to what generators of clients understand: no `anyOf` beside `properties`, no `default` of a
    member that may be left out (some generators then require it), a format for each time and ID.
    """
    kinds = list(types)
    references, named = msgspec.json.schema_components(
        kinds, schema_hook=_schema_hook, ref_template="#/components/schemas/{name}"
    )
    document = _renamed({"references": list(references), "components": named})
    for name, kind in _structs(kinds):
        _complete(name, document["components"][name], kind)
    for schema in document["components"].values():
        schema.pop("title", None)  # generators would name the type after it
    return document["references"], document["components"]


def _schema_hook(kind: type) -> Schema:
    if issubclass(kind, EntityId):
        return ID
    raise NotImplementedError(kind)


def _structs(kinds: Iterable[Any]) -> Iterator[tuple[str, inspect.StructType]]:
    """Yield all Structs in these types, with the names of their schemas."""
    pending: list[Any] = list(inspect.multi_type_info(kinds))
    seen = set()
    while pending:
        kind = pending.pop()
        if isinstance(kind, inspect.StructType) and kind.cls not in seen:
            seen.add(kind.cls)
            of = get_args(kind.cls)  # the items of a page
            yield f"{of[0].__name__}Page" if of else kind.cls.__name__, kind
            pending.extend(field.type for field in kind.fields)
        elif isinstance(kind, inspect.UnionType):
            pending.extend(kind.types)
        elif isinstance(kind, inspect.CollectionType):
            pending.append(kind.item_type)
        elif isinstance(kind, inspect.Metadata):
            pending.append(kind.type)


def _is_time(field: inspect.Field) -> bool:
    """Return whether a field is a time: msgspec knows no format for those."""
    parts = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    return any(isinstance(part, inspect.DateTimeType) for part in parts)


def _is_always_sent(field: inspect.Field, kind: inspect.StructType) -> bool:
    """Return whether a response has this field; one that may be UNSET has no default here."""
    has_default = field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
    return field.required or (
        has_default and not (get_origin(kind.cls) or kind.cls).__struct_config__.omit_defaults
    )


def _complete(name: str, schema: Schema, kind: inspect.StructType) -> None:
    if "description" in schema:
        schema["description"] = cleandoc(schema["description"])
    for field in kind.fields:
        member = schema["properties"][field.encode_name]
        if (rule := _RULES.get(name, {}).get(field.name)) is not None:
            _narrow(member, rule)
        if _is_time(field):
            _narrow(member, _TIME)
        member.pop("default", None)
        _tidy(member)
    if not kind.forbid_unknown_fields:  # a response
        schema["required"] = [field.encode_name for field in kind.fields if _is_always_sent(field, kind)]
    if not schema.get("required"):
        schema.pop("required", None)


def _tidy(schema: Schema) -> None:
    """Move the description of the only alternative to null outside; permit members of any object."""
    if schema.get("type") == "object" and "properties" not in schema:
        schema.setdefault("additionalProperties", True)
    options = schema.get("anyOf", ())
    for option in options:
        _tidy(option)
    if len(options) == 2 and {"type": "null"} in options and "description" in options[0]:
        schema["description"] = options[0].pop("description")


def _narrow(schema: Schema, rule: Schema) -> None:
    """Add a rule to the non-null alternative."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    (options[0] if options else schema).update(rule)


def _renamed(document: Any) -> Any:
    """Rename page schemas, such as Page_Tenant_ to TenantPage."""
    text = msgspec.json.encode(document).decode()
    return msgspec.json.decode(_PAGE.sub(r"\1Page", text))
