"""The OpenAPI description, generated from the route declarations, so that it is always up to date."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

import akidb
from akidb.api import examples
from akidb.api.errors import (
    OPENAI_PATHS,
    PROBLEM_TYPE,
    STATUS,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)
from akidb.api.routing import Route
from akidb.api.schemas import Schema, components
from akidb.api.streams import BYTES
from akidb.domain import errors
from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.domain.errors import AkiDBError
from akidb.domain.fields import REFERENCES
from akidb.operations import Operation
from akidb.ports import arrow

_ENTITIES = (Tenant, Database, Collection, User)
_DESCRIPTION = """\
A multi-tenant vector database with built-in text embeddings.

Unknown fields and query parameters, duplicate keys and NaN are rejected by name. Errors are problem
documents (RFC 9457) with a stable `code`. A JSON body is at most 64 MiB. Every GET has a HEAD: the same
response without its body."""

_REFERENCE = re.compile(r'"#/components/schemas/(\w+)"')
_PROBLEM: Schema = {
    "type": "object",
    "description": "A problem document (RFC 9457), with the fields of the error.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted({kind.code for kind in STATUS})},
        "request_id": {"type": "string"},
        "field": {
            "type": "string",
            "description": "The path of an invalid value, as in `documents[3].vector`.",
        },
        "reason": {"type": "string", "description": "What is wrong with it."},
        "entity": {
            "type": "string",
            "description": "What was not found, exists, or has another state or version.",
        },
        "id": {"type": "string", "description": "Its ID or name."},
        "quota": {"type": "string", "description": "The quota that is exceeded."},
        "limit": {"type": "number"},
        "used": {"type": "number"},
    },
    "additionalProperties": True,
    "examples": [examples.PROBLEM],
}
_OPENAI_PROBLEM: Schema = {
    **_PROBLEM,
    "description": "A problem document with the error object that OpenAI clients read.",
    "examples": [
        {
            **examples.PROBLEM,
            "detail": "input: must contain 1 to 2048 texts",
            "field": "input",
            "reason": "must contain 1 to 2048 texts",
            "error": {
                "message": "input: must contain 1 to 2048 texts",
                "type": "invalid_request_error",
                "param": "input",
                "code": "invalid_argument",
            },
        }
    ],
    "required": [*_PROBLEM["required"], "error"],
    "properties": {
        **_PROBLEM["properties"],
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "code": {"type": "string"},
            },
        },
    },
}
_HEADERS: Schema = {
    "RequestID": {
        "description": "The request's X-Request-ID, or a generated one.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
    "ETag": {
        "description": "The entity's version in quotes.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[1-9][0-9]*"$'},
    },
    "Location": {
        "description": "The path of the new entity.",
        "required": True,
        "schema": {"type": "string", "pattern": "^/v1/"},
    },
    "RetryAfter": {
        "description": "Seconds to wait before a retry, if known.",
        "schema": {"type": "integer", "minimum": 1},
    },
}
_PARAMETERS: Schema = {
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "Act only on this version, as in an ETag; `*` for any.",
        "schema": {"type": "string", "pattern": r'^("[1-9][0-9]{0,17}"|\*)$'},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Kept for 24 hours: a repeated request has no effect and gets the first response.",
        "schema": {"type": "string", "pattern": "^[!-~]([ -~]*[!-~])?$", "minLength": 1, "maxLength": 255},
    },
}
_PLACES = {
    **{kind.entity: rules.help for kind, rules in REFERENCES.items()},
    "model": "The model's name.",
}


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these routes."""
    types = list(dict.fromkeys(kind for route in routes for kind in _types(route)))
    references, schemas = components(types)
    for route in routes:
        if route.body_schema is not None and route.operation is not None:
            _complete_body(route.operation, schemas[route.body_schema.__name__])
    schema_of = dict(zip(types, references, strict=True))
    paths: dict[str, Any] = {}
    known = examples.load()
    for route in routes:
        operation = _operation(route, schema_of, schemas)
        if route.operation_id in known:
            examples.add(operation, route, known[route.operation_id])
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    described = {"paths": paths, "schemas": {"Problem": _PROBLEM, "OpenAIProblem": _OPENAI_PROBLEM}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "AkiDB", "version": akidb.__version__, "description": _DESCRIPTION},
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {**_used(schemas, described), **described["schemas"]},
            "headers": _HEADERS,
            "parameters": _PARAMETERS,
        },
    }


def _complete_body(row: Operation, schema: Schema) -> None:
    """Say in words what generators would make a union of: defaults, and fields of which one is needed."""
    for name, member in schema.get("properties", {}).items():
        default = _default(row, name)
        if default is not None and "Default: " not in member.get("description", ""):
            shown = msgspec.json.encode(default).decode()
            member["description"] = f"{member.get('description', '')} Default: `{shown}`.".lstrip()
    if row.one_of is not None and "exactly one" not in schema["description"]:
        *others, last = (f"`{name}`" for name in row.one_of)
        schema["description"] += f"\n\nGive exactly one of {', '.join(others)} and {last}."


def _default(row: Operation, name: str) -> Any:
    """Return the default of a field in JSON; None if it has none."""
    default = row.defaults[name]
    if default is msgspec.NODEFAULT or default is msgspec.UNSET:
        return None
    return sorted(default) if isinstance(default, frozenset) else default


def _used(schemas: dict[str, Schema], described: Any) -> dict[str, Schema]:
    """Return the schemas that are referred to; those of queries are not."""
    found: set[str] = set()
    pending = [described]
    while pending:
        text = msgspec.json.encode(pending.pop()).decode()
        for name in _REFERENCE.findall(text):
            if name in schemas and name not in found:
                found.add(name)
                pending.append(schemas[name])
    return {name: schema for name, schema in schemas.items() if name in found}


def _types(route: Route) -> Iterator[Any]:
    yield from (kind for kind in (route.body_schema, _query_of(route)) if kind is not None)
    if route.answer not in {type(None), bytes}:
        yield route.answer


def _operation(route: Route, schema_of: dict[Any, Schema], schemas: dict[str, Schema]) -> Schema:
    operation: Schema = {
        "operationId": route.operation_id.replace(".", "_"),
        "tags": [route.tag],
        "summary": route.summary,
        "parameters": [*_parameters(route, schemas)],
        "responses": {str(route.status): _success(route, schema_of), **_failures(route)},
    }
    if route.description:
        operation["description"] = route.description
    if route.takes_stream:
        content = {BYTES: {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.body is not None:
        operation["requestBody"] = {
            # Even if no member is: a request without a body would have no Content-Type, and is refused.
            "required": True,
            "content": {"application/json": {"schema": schema_of[route.body_schema]}},
        }
        if route.arrow is not None:
            operation["requestBody"]["description"] = _arrow_body(route)
    return operation


def _arrow_body(route: Route) -> str:
    """Describe a body that is an Arrow stream in words: generators of clients take only one kind of body."""
    said = () if route.operation is None else route.operation.said
    others = ", ".join(f"`{name}`" for name in said if name != route.arrow)
    return (
        f"Or, as `{arrow.MEDIA_TYPE}`, the `{route.arrow}` as an Arrow IPC stream without compression, with"
        " the columns `id`, `text` and `metadata` (JSON) in UTF-8, and `vector` of lists of float16, float32"
        f" or float64; nulls are absent. {others} is then a parameter of the query."
    )


def _parameters(route: Route, schemas: dict[str, Schema]) -> Iterator[Schema]:
    for place in route.places:
        yield {
            "name": place,
            "in": "path",
            "required": True,
            "description": _PLACES[place],
            "schema": {"type": "string", "minLength": 1},
        }
    query = _query_of(route)
    if query is not None and route.operation is not None:
        for name, schema in schemas[query.__name__]["properties"].items():
            yield _query_parameter(name, _not_null(schema), _default(route.operation, name))
    if route.is_conditional:
        yield {"$ref": "#/components/parameters/IfMatch"}
    if route.takes_key:
        yield {"$ref": "#/components/parameters/IdempotencyKey"}


def _query_of(route: Route) -> type[msgspec.Struct] | None:
    row = route.operation
    return None if row is None or route.body is not None or not row.said else row.schema


def _query_parameter(name: str, schema: Schema, default: Any) -> Schema:
    parameter: Schema = {"name": name, "in": "query", "required": False, "schema": schema}
    if (description := schema.pop("description", None)) is not None:
        parameter["description"] = description
    if schema.get("type") == "object":
        parameter["schema"] = {"type": "string"}
        parameter["description"] += " As JSON."
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": False}
    if default is not None:
        parameter["schema"]["default"] = default
    return parameter


def _not_null(schema: Schema) -> Schema:
    """Remove null from the schema of a parameter, which is absent instead."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return dict(schema)
    kept = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**options[0], **kept}


def _success(route: Route, schema_of: dict[Any, Schema]) -> Schema:
    headers = {"X-Request-ID": {"$ref": "#/components/headers/RequestID"}}
    if route.answer in _ENTITIES:
        headers["ETag"] = {"$ref": "#/components/headers/ETag"}
        if route.status == 201:
            headers["Location"] = {"$ref": "#/components/headers/Location"}
    answer: Schema = {"description": "Done.", "headers": headers}
    if route.answer is bytes:
        media_type = route.media_type.partition(";")[0]
        schema: Schema = {"type": "string"}
        if media_type == "application/json":
            schema = {"type": "object", "additionalProperties": True}
        elif media_type == BYTES:
            schema["format"] = "binary"
        answer["content"] = {media_type: {"schema": schema}}
    elif route.answer is not type(None):
        answer["content"] = {"application/json": {"schema": schema_of[route.answer]}}
    return answer


def _failures(route: Route) -> dict[str, Schema]:
    by_status: dict[int, list[str]] = {}
    for kind in _errors(route):
        by_status.setdefault(STATUS[kind], []).append(kind.code)
    openai = route.path.startswith(OPENAI_PATHS)
    return {str(status): _failure(codes, openai=openai) for status, codes in sorted(by_status.items())}


def _failure(codes: list[str], *, openai: bool) -> Schema:
    media_type, name = ("application/json", "OpenAIProblem") if openai else (PROBLEM_TYPE, "Problem")
    headers = {"X-Request-ID": {"$ref": "#/components/headers/RequestID"}}
    if {"rate_limited", "overloaded"} & set(codes):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": headers,
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }


def _errors(route: Route) -> Iterator[type[AkiDBError]]:
    """Yield the errors that a route can return."""
    yield from (errors.InvalidArgument, errors.Internal)
    if not route.inline:
        yield from (errors.Overloaded, errors.Unavailable)
    if route.places:
        yield errors.NotFound
    if "tenant" in route.places:
        yield errors.InvalidState
    if route.status == 201 or route.method == "PATCH":
        yield errors.AlreadyExists
    if route.is_conditional:
        yield errors.PreconditionFailed
    if route.takes_stream:
        yield from (RequestTimeout, UnsupportedMediaType)
    if route.body is not None:
        yield from (RequestTimeout, PayloadTooLarge, UnsupportedMediaType)
    if route.takes_key:
        yield errors.IdempotencyMismatch
    if route.operation is not None and route.operation.grows:
        yield errors.StorageFull
    yield from route.raises
