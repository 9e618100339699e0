"""The awaitable twin of the Python interface: the same handles, whose methods run in threads.

    async with akidb.aio.connect("./data") as db:
        aki = await db.tenants.get("aki-labs")
        async for database in aki.databases:
            ...

The other modules, except `base`, are generated from `akidb.client.handles` by `tools/generate_aio.py`.
"""

from collections.abc import Generator
from types import TracebackType
from typing import Any

from akidb.aio.client import Client, Models
from akidb.aio.collections import Collections
from akidb.aio.databases import DatabaseHandle, Databases
from akidb.aio.documents import CollectionHandle
from akidb.aio.migration import Migration
from akidb.aio.tenants import TenantHandle, Tenants
from akidb.aio.users import UserHandle, Users
from akidb.client import connect as targets
from akidb.client.connect import DEFAULT_TIMEOUT_SECONDS, Target
from akidb.client.threads import Threads

__all__ = [
    "Client",
    "CollectionHandle",
    "Collections",
    "DatabaseHandle",
    "Databases",
    "Migration",
    "Models",
    "TenantHandle",
    "Tenants",
    "UserHandle",
    "Users",
    "connect",
]

DEFAULT_THREADS = 16


class Connecting:
    """A connection to be made: await it, or enter it with `async with`."""

    def __init__(self, target: Target | None, threads: int, options: dict[str, Any]) -> None:
        self._target = target
        self._threads = threads
        self._options = options
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connect()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> Client:
        threads = Threads(self._threads)
        return Client(await threads(targets.connect, self._target, **self._options), threads)


def connect(
    target: Target | None = None,
    *,
    threads: int = DEFAULT_THREADS,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    **settings: Any,
) -> Connecting:
    """Connect to AkiDB, as `akidb.connect` does; up to `threads` calls run at once, others wait.

    Use it as `db = await connect(...)`, to be closed with `await db.close()`, or as
    `async with connect(...) as db`.
    """
    return Connecting(target, threads, {"timeout_seconds": timeout_seconds, **settings})
