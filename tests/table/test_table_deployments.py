"""Every operation has the same response in every deployment, and is reported to listeners by name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from stage import ROWS, every_deployment, every_row, perform

from akidb.domain.errors import AkiDBError
from akidb.observe import telemetry
from akidb.operations import Operation, Operations
from akidb.ports import wire
from postgres import Server

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
SERVERS = ("socket", "http")


class Listener:
    """Notes which operations ended how."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []

    def begin(self, name: str) -> telemetry.End:
        return lambda _seconds, code: self.ended.append((name, code))

    def __getattr__(self, _: str) -> Any:  # the other events
        return lambda *_args, **_named: lambda *_more: None


def _plain(answer: Any, folder: Path) -> str:
    text = wire.encode(answer).decode(errors="backslashreplace").replace(str(folder), "<folder>")
    names: dict[str, str] = {}
    text = ID.sub(lambda found: names.setdefault(found[0], f"<id {len(names)}>"), text)
    text = re.sub(r'"feed":"[0-9a-f]{32}-', '"feed":"<feed>-', text)
    text = re.sub(r'"next_cursor":"[^"]+"', '"next_cursor":"<cursor>"', text)
    # An entry says how a request came, which is not the same everywhere.
    text = re.sub(r'"(ip_address|user_agent|request_id)":(null|"[^"]*")', r'"\1":"<any>"', text)
    return re.sub(r'"memory_bytes":\{"limit":\d+,"used":\d+', '"memory_bytes":{', TIME.sub("<time>", text))


@pytest.fixture(scope="module")
def deployments(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Server
) -> Iterator[dict[str, Operations]]:
    with every_deployment(tmp_path_factory, postgres_server) as found:
        yield found


class Outcome(NamedTuple):
    """What one sample came to in one deployment."""

    answer: str
    reports: list[tuple[str, str]]


@pytest.fixture(scope="module")
def outcomes(
    deployments: dict[str, Operations], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Outcome]:
    """Of each sample in each deployment, in table order.

    Nothing else is asked of these deployments: a test that performed a sample once more would
    change what the other tests compare, in whichever order they run.
    """
    found = {}
    for name, operations in deployments.items():
        folder = tmp_path_factory.mktemp(f"files-{name}")
        for row in ROWS:
            listener = Listener()
            telemetry.listen(listener)
            try:
                answer = _plain(perform(operations, row, folder), folder)
            except AkiDBError as error:
                answer = f"{type(error).__name__}: {error.message}"
            finally:
                telemetry.leave(listener)
            found[name, row.name] = Outcome(answer, listener.ended)
    return found


@pytest.mark.parametrize("deployment", ["socket", "http", "postgresql"])
@every_row
def test_sample_has_same_response_in_every_deployment(
    row: Operation, deployment: str, outcomes: dict[tuple[str, str], Outcome]
) -> None:
    expected = outcomes["directory", row.name].answer
    assert not re.match(r"[A-Z][A-Za-z]+: ", expected), expected
    got = outcomes[deployment, row.name].answer
    if row.local and deployment in SERVERS:
        assert got.startswith("InvalidArgument: url: ")
    else:
        assert got == expected


@every_row
def test_operation_is_reported_to_listener_by_name(
    row: Operation, outcomes: dict[tuple[str, str], Outcome]
) -> None:
    assert (row.name, "ok") in outcomes["directory", row.name].reports
