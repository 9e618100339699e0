"""The async handles: complete, in sync with the generator, and safe for many concurrent awaits."""

import asyncio
import inspect
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import akidb
import akidb.aio
from akidb.client.threads import Threads

TOOL = Path(__file__).parents[2] / "tools/generate_aio.py"


def test_async_handles_match_generator_output() -> None:
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", [name for name in akidb.aio.__all__ if name != "connect"])
def test_every_method_has_async_counterpart(name: str) -> None:
    handle, twin = getattr(akidb, name), getattr(akidb.aio, name)
    assert twin is not handle
    for member, value in vars(handle).items():
        if member.startswith("_"):
            continue
        other = vars(twin)[member]
        if inspect.isfunction(value):
            assert inspect.iscoroutinefunction(other) or inspect.isasyncgenfunction(other)
            assert list(inspect.signature(other).parameters) == list(inspect.signature(value).parameters)
        assert other.__doc__ == value.__doc__
    assert hasattr(twin, "__aiter__") == hasattr(handle, "__iter__")


def _client(path: Path, **options: Any) -> Any:
    return akidb.aio.connect(path / "data", models_dir=str(path / "models"), **options)


def test_connection_is_awaited_or_used_as_context_manager(tmp_path: Path) -> None:
    async def main() -> None:
        client = await _client(tmp_path)
        await client.tenants.create("Aki Labs")
        await client.close()
        await client.close()
        async with _client(tmp_path) as client:
            assert await client.tenants.exists("aki-labs")
        async with await _client(tmp_path) as client:
            assert [tenant.slug async for tenant in client.tenants] == ["aki-labs"]
        with pytest.raises(akidb.Unavailable, match="was closed"):
            await client.tenants.list()
        with pytest.raises(akidb.InvalidArgument):
            async with akidb.aio.connect("ftp://localhost"):
                pass

    asyncio.run(main())


def test_async_handles_return_async_handles(tmp_path: Path) -> None:
    async def main() -> None:
        async with _client(tmp_path) as db:
            tenant = await db.tenants.create("Aki Labs")
            notes = await (await tenant.databases.create("kb")).collections.create("notes", dimension=16)
            assert isinstance(notes, akidb.aio.CollectionHandle)
            assert notes.entity == notes._sync.entity
            await notes.upsert([{"id": f"{n:03}", "vector": [1.0] * 16} for n in range(150)])
            assert [d.id async for d in notes.scan_all()] == [f"{n:03}" for n in range(150)]
            (found,) = await notes.search([1.0] * 16, top_k=1)
            assert found.id == "000"
            page = await tenant.databases.list()
            assert [type(one) for one in page] == [akidb.aio.DatabaseHandle]
            assert await tenant.databases.find("none") is None
            assert repr(tenant).startswith("<tenant aki-labs ")
            await tenant.update(name="Renamed")
            assert (tenant.name, tenant.version) == ("Renamed", 2)

    asyncio.run(main())


def test_thousand_concurrent_awaits_share_few_threads(tmp_path: Path) -> None:
    async def main() -> None:
        async with _client(tmp_path, threads=4) as db:
            await db.tenants.create("Aki Labs", qps_quota=1_000_000)
            before = threading.active_count()
            found = await asyncio.gather(*(db.tenants.get("aki-labs") for _ in range(1000)))
            assert len({tenant.id for tenant in found}) == 1
            assert threading.active_count() <= before + 4

    asyncio.run(main())


def test_call_runs_in_context_of_its_caller(tmp_path: Path) -> None:
    async def create(db: Any, key: str) -> Any:
        with akidb.request(idempotency_key=key, request_id=f"request-{key}"):
            return await db.tenants.create(f"Tenant {key}")

    async def main() -> None:
        async with _client(tmp_path) as db:
            made = await asyncio.gather(*(create(db, str(n)) for n in range(10)))
            again = await asyncio.gather(*(create(db, str(n)) for n in range(10)))
            assert [one.id for one in made] == [one.id for one in again]
            (entry,) = await made[3].audit()
            assert entry.request_id == "request-3"

    asyncio.run(main())


def test_close_waits_for_running_calls() -> None:
    ended = []

    async def main() -> None:
        threads = Threads(1)
        begun, go = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            go.wait(10)
            ended.append("work")

        task = asyncio.ensure_future(threads(work))
        assert await asyncio.to_thread(begun.wait, 10)
        closing = asyncio.ensure_future(threads.close(lambda: ended.append("last")))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(task, closing)

    asyncio.run(main())
    assert ended == ["work", "last"]


def test_cancelled_caller_stops_waiting() -> None:
    async def main() -> None:
        threads = Threads(1)
        go = threading.Event()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(threads(go.wait, 10), 0.01)
        go.set()
        await threads.close(lambda: None)

    asyncio.run(main())


@pytest.mark.parametrize("threads", [0, -1, 2.5, True, "8", None])
def test_wrong_number_of_threads_is_named(tmp_path: Path, threads: Any) -> None:
    async def main() -> None:
        with pytest.raises(akidb.InvalidArgument, match=r"^threads: must be a whole number"):
            await _client(tmp_path, threads=threads)

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []
