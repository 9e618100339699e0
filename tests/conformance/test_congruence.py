"""The same calls give the same results and errors on every deployment."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from congruence_archives import ARCHIVE_SCENARIOS
from congruence_changes import CHANGE_SCENARIOS
from congruence_deployments import Transcript, awaited, server
from congruence_documents import DOCUMENT_SCENARIOS
from congruence_faults import FAULTS
from congruence_scenarios import SCENARIOS, Scenario
from congruence_users import USER_SCENARIOS

import akidb
from postgres import Server

Connect = Callable[[], AbstractContextManager[akidb.Client]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty models directory, so only the `hash` model is installed."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def deployments(
    tmp_path_factory: pytest.TempPathFactory, models: Path, postgres_server: Server
) -> Iterator[dict[str, Connect]]:
    """Connections by deployment name. Each deployment has its own data, as every scenario runs on each."""
    places = {name: tmp_path_factory.mktemp(name) for name in ("one", "two", "three", "four", "five", "six")}
    databases = [postgres_server.url() for _ in range(2)]
    local: dict[str, Any] = {"models_dir": str(models), "wait_seconds": 0}
    with (
        server(places["three"] / "data", models),
        server(places["four"] / "data", models) as tcp,
        server(places["five"] / "data", models) as awaited_tcp,
        server(databases[1], models) as postgresql_tcp,
    ):
        yield {
            "directory": lambda: akidb.connect(places["one"], **local),
            "sqlite": lambda: akidb.connect(f"sqlite:///{places['two']}/data", **local),
            "socket": lambda: akidb.connect(places["three"] / "data", wait_seconds=0),
            "http": lambda: akidb.connect(tcp, wait_seconds=0),
            "aio-directory": lambda: awaited(places["six"], **local),
            "aio-http": lambda: awaited(awaited_tcp, wait_seconds=0),
            "postgresql": lambda: akidb.connect(databases[0], **local),
            "postgresql-http": lambda: akidb.connect(postgresql_tcp, wait_seconds=0),
        }
    for url in databases:
        postgres_server.drop(url)


@pytest.fixture(scope="module")
def expected(deployments: dict[str, Connect]) -> Callable[[Scenario], list[Any]]:
    """Results of a scenario on an in-process directory, as the reference."""
    return cache(lambda scenario: _run(scenario, deployments["directory"]))


def _run(scenario: Scenario, connect: Connect) -> list[Any]:
    saw = Transcript()
    with connect() as client:
        scenario(client, saw)
    return saw.entries


@pytest.mark.parametrize(
    "deployment", ["sqlite", "socket", "http", "aio-directory", "aio-http", "postgresql", "postgresql-http"]
)
@pytest.mark.parametrize(
    "scenario",
    [*SCENARIOS, *DOCUMENT_SCENARIOS, *USER_SCENARIOS, *CHANGE_SCENARIOS, *ARCHIVE_SCENARIOS, *FAULTS],
    ids=lambda it: f"{it.__module__[11:]}-{it.__name__}",
)
def test_scenario_gives_same_results_on_every_deployment(
    scenario: Scenario,
    deployment: str,
    deployments: dict[str, Connect],
    expected: Callable[[Scenario], list[Any]],
) -> None:
    wanted = expected(scenario)
    got = _run(scenario, deployments[deployment])
    for number, (want, have) in enumerate(zip(wanted, got, strict=True)):
        assert have == want, f"entry {number}"


def test_scenarios_cover_every_caller_error(
    expected: Callable[[Scenario], list[Any]],
) -> None:
    raised = {
        entry["raised"]
        for scenario in [*SCENARIOS, *DOCUMENT_SCENARIOS, *USER_SCENARIOS, *CHANGE_SCENARIOS]
        for entry in expected(scenario)
        if isinstance(entry, dict) and "raised" in entry
    }
    assert raised == {
        "AlreadyExists",
        "IdempotencyMismatch",
        "InvalidArgument",
        "InvalidState",
        "NotFound",
        "PreconditionFailed",
        "QuotaExceeded",
        "RateLimited",
        "Unauthenticated",
        "Unavailable",
    }
