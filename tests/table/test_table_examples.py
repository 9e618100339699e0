"""The examples in the OpenAPI description are what a server answers today."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from examples import recorded
from stage import local

from akidb.api import openapi
from akidb.api.app import ROUTES
from akidb.api.routing import JSON

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))  # its server serves here too

PATHS = openapi.describe(ROUTES)["paths"]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    from congruence_deployments import server

    folder = tmp_path_factory.mktemp("examples")
    with (
        server(folder / "data", folder) as url,
        local(url, folder) as operations,
        httpx.Client(base_url=url) as http,
    ):
        yield recorded(operations, http)


def test_every_example_gets_its_response(answered: dict[str, Any]) -> None:
    """After a change: `tools/generate_examples.py`."""
    kept = json.loads((Path(openapi.__file__).parent / "examples.json").read_text())
    assert answered.keys() == kept.keys()
    for name, example in answered.items():
        assert json.loads(json.dumps(example)) == kept[name], (
            f"{name} is stale: run tools/generate_examples.py"
        )


def test_every_body_and_response_in_json_has_an_example() -> None:
    for route in ROUTES:
        described = PATHS[route.path][route.method.lower()]
        if (body := described.get("requestBody", {}).get("content", {}).get(JSON)) is not None:
            assert "example" in body, route.operation_id
        answer = described["responses"][str(route.status)].get("content", {}).get(JSON)
        if answer is not None and route.name != "openapi":
            assert "example" in answer, route.operation_id
        if not route.gives_stream:
            places = [each for each in described["parameters"] if each.get("in") == "path"]
            assert all("example" in place for place in places), route.operation_id
