"""Examples of requests and responses in the OpenAPI description.

`tools/generate_examples.py` writes them down from a server's responses to the samples of the tests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from akidb.api.routing import JSON, Route

_FILE = Path(__file__).with_name("examples.json")
PROBLEM: Mapping[str, Any] = {
    "type": "urn:akidb:error:invalid_argument",
    "title": "Invalid argument",
    "status": 400,
    "detail": "documents[3].vector: must have 384 dimensions, has 3",
    "code": "invalid_argument",
    "field": "documents[3].vector",
    "reason": "must have 384 dimensions, has 3",
    "request_id": "5d0d8c3f0f6f4c1fa9a3b6a1c2d3e4f5",
}


def load() -> dict[str, Any]:
    """Return the examples, by operation."""
    found: dict[str, Any] = msgspec.json.decode(_FILE.read_bytes())
    return found


def add(operation: dict[str, Any], route: Route, example: Mapping[str, Any]) -> None:
    """Add the example of a route to its description."""
    for parameter in operation["parameters"]:
        if parameter.get("name") in example["parameters"]:
            parameter["example"] = example["parameters"][parameter["name"]]
    if "request" in example:
        operation["requestBody"]["content"][JSON]["example"] = example["request"]
    if "response" in example:
        operation["responses"][str(route.status)]["content"][JSON]["example"] = example["response"]
