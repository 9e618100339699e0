"""The examples of the OpenAPI description: what a server answers to the samples of the table.

`tools/generate_examples.py` writes them to `akidb/api/examples.json`; a test sends them again.
"""

import json
import re
from typing import Any

import httpx
from stage import PLACES, SAMPLES, build, request_of

from akidb.api.app import ROUTES
from akidb.api.operations import BY_HAND
from akidb.api.routing import JSON, Route
from akidb.operations import OPERATIONS, Operations

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
SAME = {
    "next_cursor": "h3qUyB6vXsciZDEi",
    "feed": "018f3c2e7b6a7c3d8e9f0a1b2c3d4e5f-018f3c2e7b6a7c3d8e9f0a1b2c3d4e60",
    "ip_address": "127.0.0.1",
    "user_agent": "curl/8.5.0",
    "request_id": "5d0d8c3f0f6f4c1fa9a3b6a1c2d3e4f5",
}
"""Values that differ from run to run, by member."""
BY_NAME: dict[str, Any] = {
    "embedding.create": {"input": ["one text"], "model": "hash", "encoding_format": "base64"},
    "model.pull": {},
}
"""The bodies of routes that are written by hand."""


def recorded(operations: Operations, http: httpx.Client) -> dict[str, dict[str, Any]]:
    """By operation: its parameters, its body and the response, from a server that is still empty."""
    build(operations)
    found, ids = {}, dict[str, str]()
    for route in ROUTES:
        if route.media_type == JSON and route.name not in {"openapi", "docs"}:
            found[route.operation_id] = _recorded(route, http, ids)
    return found


def _recorded(route: Route, http: httpx.Client, ids: dict[str, str]) -> dict[str, Any]:
    said, places = _said(route)
    in_body = route.body is not None
    query = {} if in_body else {name: _parameter(value) for name, value in said.items()}
    answer = http.request(
        route.method,
        route.path.format_map(places),
        params=query,
        json=said if in_body else None,
        **_archive(http) if route.takes_stream else {},
    )
    assert answer.status_code == route.status, (route.operation_id, answer.text)
    example: dict[str, Any] = {"parameters": {**places, **query}}
    if in_body:
        example["request"] = said
    if answer.content:
        example["response"] = _settled(answer.json(), ids)
    return example


def _archive(http: httpx.Client) -> dict[str, Any]:
    """The body of an import, which no example can show."""
    exported = http.get("/v1/tenants/theirs/export").content
    return {"content": exported, "headers": {"content-type": "application/octet-stream"}}


def _said(route: Route) -> tuple[dict[str, Any], dict[str, str]]:
    """The body or query of a sample, without vectors in the response, and the values in the path."""
    if route.operation is None or route.tag in BY_HAND:
        return BY_NAME.get(route.operation_id, {}), {name: PLACES[name] for name in route.places}
    row = OPERATIONS[route.operation.request]
    request = request_of(row)
    said = {name: value for name, value in row.given(request).items() if name in SAMPLES[row.request].fields}
    if "include" in said:
        said["include"] = ["text", "metadata"]
    said = json.loads(json.dumps(said, default=_rounded))
    if "documents" in said:
        said["documents"] = said["documents"][:2]
    return said, {name: str(getattr(request, name)) for name in row.places}


def _rounded(vector: Any) -> Any:
    return [_rounded(each) if getattr(each, "ndim", 0) else round(float(each), 2) for each in vector]


def _parameter(value: Any) -> Any:
    if isinstance(value, list):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, dict | bool) else value


def _settled(value: Any, ids: dict[str, str], name: str = "") -> Any:
    """Replace what differs from run to run: IDs, times, tokens, the last digits of numbers."""
    if isinstance(value, dict):
        if name == "memory_bytes":
            value = {**value, "used": 0}
        return {key: _settled(each, ids, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_settled(each, ids, name) for each in value]
    if isinstance(value, float):
        return round(value, 4)
    if not isinstance(value, str):
        return value
    if name in SAME:
        return SAME[name]
    value = TIME.sub("2026-01-02T03:04:05.678901Z", value)
    return ID.sub(lambda found: ids.setdefault(found[0], f"018f3c2e-7b6a-7c3d-8e9f-{len(ids):012x}"), value)
