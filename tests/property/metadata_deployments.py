"""The system under test of the state machine: real stores, two connections, a controllable clock."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from akidb.deployment import composition
from akidb.deployment.local import LocalOperations, open_local
from akidb.deployment.places import Location
from akidb.domain.errors import AkiDBError
from akidb.domain.ids import EntityId
from akidb.domain.upkeep import MaintenanceReport
from akidb.observe import context
from akidb.operations import OPERATIONS
from akidb.operations.upkeep import MaintainStores
from akidb.services import maintenance
from akidb.services.denials import WINDOW_SECONDS, Denials
from akidb.services.passwords import Cost, Passwords
from akidb.services.rate import RateLimiter
from akidb.settings import Settings
from clocks import SetClock
from postgres import Server

START = datetime(2026, 1, 31, 9, 15, 0, 123456, tzinfo=UTC)
REQUESTS = {row.name: request for request, row in OPERATIONS.items()}
VECTOR = [1.0] * 16
Outcome = tuple[str, Any]
"""`ok` and what was given, or the code of an error and its fields."""


class Clock:
    """Time as the program sees it. IDs have a clock of their own, which goes on with each of them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.now = START
        self.seconds = 0.0
        self._milliseconds = itertools.count(int(START.timestamp() * 1000))

    def pass_by(self, step: timedelta) -> None:
        """Let time pass; a step back moves the clock of the wall alone."""
        self.now += step
        self.seconds += max(step.total_seconds(), 0.0)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Have every deployment that is opened from now on go by this clock, and hash cheaply."""
        patch.setattr(composition, "_clock_of", lambda _: _Shown(self))
        patch.setattr(composition, "_unix_ms", lambda _: next(self._milliseconds))
        patch.setattr(composition, "RateLimiter", lambda *_, **__: RateLimiter(lambda: self.seconds))
        patch.setattr(composition, "Passwords", partial(Passwords, Cost(1, 8, 1)))
        # Each denied password has an audit entry, as in a minute of its own.
        minutes = itertools.count(0.0, WINDOW_SECONDS).__next__
        patch.setattr(composition, "Denials", partial(Denials, monotonic=minutes))
        patch.setattr(maintenance, "FIRST_ROUND_SECONDS", 86_400.0)


class _Shown(SetClock):
    """The same time, as deployments ask for it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now


def plain(value: Any) -> Any:
    """An answer in dicts, lists and texts; what a document does not carry is left out."""
    if isinstance(value, msgspec.Struct):
        skipped = {"vector", "sequence"} if hasattr(value, "vector") else set()
        named = ((name, getattr(value, name)) for name in value.__struct_fields__ if name not in skipped)
        return {name: plain(each) for name, each in named}
    if isinstance(value, EntityId | StrEnum):
        return str(value)
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


NOT_COMPARED = {"reason", "deleted_at", "purge_at"}
"""Fields of errors that the model does not know."""


def outcome(call: Callable[[], Any]) -> Outcome:
    """What a call comes to. Of a wrong argument the field counts, its reason is prose."""
    try:
        return "ok", plain(call())
    except AkiDBError as error:
        fields = {name: value for name, value in error.fields.items() if name not in NOT_COMPARED}
        if "deleted_at" in error.fields:  # who has the name
            del fields["id"]
        return error.code, fields


class Deployment:
    """One place with two connections: of one process, or on PostgreSQL of two."""

    def __init__(self, targets: tuple[Location, Location], settings: Settings) -> None:
        self._targets = targets
        self._settings = settings
        self.runtimes = [targets.index(target) for target in targets]
        """Which process, as it were, each connection belongs to."""
        self._connections = [open_local(target, settings) for target in targets]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def reopen(self, *indexes: int) -> set[int]:
        """Close connections and make them again; gives the processes that ended."""
        for index in indexes:
            self._connections[index].close()
        for index in indexes:
            self._connections[index] = open_local(self._targets[index], self._settings)
        alive = {self.runtimes[index] for index in range(len(self._connections)) if index not in indexes}
        return set(self.runtimes) - alive

    def __getitem__(self, index: int) -> LocalOperations:
        return self._connections[index]

    def call(self, index: int, operation: str, fields: dict[str, Any], key: str | None) -> Outcome:
        """Perform an operation such as `tenant.get`, with the key if there is one."""
        if operation == "document.upsert":
            documents = [{**each, "vector": VECTOR} for each in fields["documents"]]
            fields = {**fields, "documents": documents}
        request = REQUESTS[operation](**fields)
        with nullcontext() if key is None else context.request(idempotency_key=key):
            return outcome(lambda: self[index].perform(request))

    def pages(self, index: int, operation: str, fields: dict[str, Any], limit: int) -> Outcome:
        """All of a list, so many at a time."""
        found: list[Any] = []
        cursor = None
        while True:
            code, page = self.call(index, operation, {**fields, "limit": limit, "cursor": cursor}, None)
            if code != "ok":
                return code, page
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return "ok", found
            assert len(page["items"]) == limit, f"{operation}: a page that is not full goes on"

    def maintain(self, index: int) -> MaintenanceReport:
        return self[index].perform(MaintainStores())


class Place(Protocol):
    """Gives fresh deployments, one for each example."""

    def fresh(self) -> AbstractContextManager[Deployment]: ...


class Files:
    """On SQLite: copies of a directory that was made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._settings = Settings(
            models_dir=str(folder / "models"), default_model="hash", synchronous="normal"
        )
        open_local(folder / "template", self._settings).close()

    @contextmanager
    def fresh(self) -> Iterator[Deployment]:
        place = self._folder / str(next(self._numbers))
        shutil.copytree(self._folder / "template", place)
        made = Deployment((place, place), self._settings)
        try:
            yield made
        finally:
            made.close()
            shutil.rmtree(place)


class Databases:
    """On PostgreSQL: the same database under two names, so that each connection is a process of its own."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._settings = Settings(
            models_dir=str(folder), default_model="hash", synchronous="normal", postgresql_pool_size=2
        )

    @contextmanager
    def fresh(self) -> Iterator[Deployment]:
        url = self._server.url()
        other = f"{url}{'&' if '?' in url else '?'}application_name=other"
        made = Deployment((url, other), self._settings)
        try:
            yield made
        finally:
            made.close()
            self._server.drop(url)
