"""Requests generated from the OpenAPI description get no 500 and no undocumented response."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks

from akidb.api import openapi
from akidb.api.app import ROUTES
from akidb.api.routing import Route
from akidb.domain.changes import MAX_WAIT_SECONDS

from .running import Process

# A description cannot say all that makes an input valid: that a name is taken, a filter well-formed.
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
_HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

_document = openapi.describe(ROUTES)
_schema = schemathesis.openapi.from_dict(_document)
_names = itertools.count()


class World:
    """A tenant with a database, a collection and a document, so that generated requests find entities."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.places: dict[str, str] = {}

    def renew(self) -> None:
        """Recreate them if earlier requests deleted or renamed them."""
        slug = f"generated-{next(_names)}"
        self.places = {"tenant": slug, "database": "kb", "collection": "notes", "model": "hash"}
        self.places["user"] = "bob@example.org"
        self._make("/v1/tenants", {"name": slug, "slug": slug, "qps_quota": 1_000_000})
        self._make(f"/v1/tenants/{slug}/databases", {"name": "kb"})
        self._make(f"/v1/tenants/{slug}/users", {"email": "bob@example.org", "password": "correct horse"})
        collections = f"/v1/tenants/{slug}/databases/kb/collections"
        self._make(collections, {"name": "notes", "embedding_model": "hash"})
        self._make(f"{collections}/notes/documents", {"documents": [{"id": "0", "text": "a text"}]})

    def _make(self, path: str, body: dict[str, Any]) -> None:
        answer = self._http.post(path, json=body)
        assert answer.status_code in {200, 201}, answer.text


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as connected:
        yield connected


def _checked(route: Route, world: World, cases: int, send: Callable[[Case[Any]], None]) -> Callable[[], None]:
    """Send cases of a route, with existing and missing entities, valid and (where possible) invalid."""
    operation = _schema[route.path][route.method]
    places = {name: world.places[name] for name in route.places}
    described = _document["paths"][route.path][route.method.lower()]
    varies = "requestBody" in described or any(each.get("in") != "path" for each in described["parameters"])
    strategies = [operation.as_strategy(GenerationMode.POSITIVE, path_parameters=places)]
    if varies:
        strategies.append(operation.as_strategy(GenerationMode.NEGATIVE, path_parameters=places))
    if route.places:
        strategies.append(operation.as_strategy(GenerationMode.POSITIVE))

    @hypothesis.settings(
        max_examples=cases if varies else -(-cases // 5),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=_HEALTH,
    )
    @hypothesis.given(case=st.one_of(strategies))
    def check(case: Case[Any]) -> None:
        send(case)

    return check


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@pytest.mark.parametrize(
    ("least", "cases_of_a_route"),
    [(100, 2), pytest.param(2_000, 75, marks=pytest.mark.slow)],
    ids=["100", "2000"],
)
def test_generated_requests_get_documented_responses(
    server: Process, http: httpx.Client, session: requests.Session, least: int, cases_of_a_route: int
) -> None:
    world, sent, statuses = World(http), 0, set()

    def send(case: Case[Any]) -> None:
        nonlocal sent
        wait = case.query.get("wait_seconds")
        if isinstance(wait, int | float) and 0 <= wait <= MAX_WAIT_SECONDS:
            case.query["wait_seconds"] = 0  # as valid, and over at once
        response = case.call(base_url=server.url, session=session)
        case.validate_response(response, checks=CHECKS)
        sent += 1
        statuses.add(response.status_code)

    for route in ROUTES:
        world.renew()
        _checked(route, world, cases_of_a_route, send)()
    assert sent >= least, sent
    assert {200, 201, 204, 400, 404} <= statuses
