"""A signal during an operation comes out as its handler's exception, and leaves nothing held or lost."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import interrupted_child
import pytest
from fault_tools import add_tenant, at, document, opened

import akidb
import akidb.aio
from akidb.observe import interrupts
from akidb.observe.interrupts import Deferred, Interruptible, InterruptibleStream, checkpoint
from akidb.operations.archives import CreateBackup
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant
from akidb.sql.errors import translated


def run(target: str, signals: int, handler: str) -> dict[str, Any]:
    program = [sys.executable, interrupted_child.__file__, target, str(signals), handler]
    done = subprocess.run(
        program, capture_output=True, text=True, timeout=180, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@contextmanager
def signals_after(seconds: float) -> Iterator[None]:
    """Send one SIGINT to this thread, after a while."""
    timer = threading.Timer(seconds, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def handled_by(handler: Callable[[int, Any], object]) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", ["default", "own"])
def test_interrupted_operations_leave_nothing_behind(handler: str, tmp_path: Path) -> None:
    result = run(str(tmp_path / "data"), 300, handler)
    assert result["wrong"] == []
    assert result["interrupts"] > 30


def test_interrupted_operations_on_postgresql_leave_nothing_behind(postgres_url: str) -> None:
    result = run(postgres_url, 150, "default")
    assert result["wrong"] == []
    assert result["interrupts"] > 15


class Blocking(io.RawIOBase):
    """A sink that blocks until a signal interrupts it."""

    def write(self, _: Any) -> int:
        assert not threading.Event().wait(30)
        return 0


def test_waiting_operations_are_interrupted_at_once(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as operations:
        add_tenant(operations, "t", "c")
        gate = operations._runtime.metadata._database.gate  # type: ignore[attr-defined]
        gate.enter()
        with signals_after(0.05), pytest.raises(KeyboardInterrupt):
            operations.perform(CreateTenant(name="U"))
        gate.leave()
        with signals_after(0.05), pytest.raises(KeyboardInterrupt):
            operations.perform(GetCollectionChanges(**at("t")._asdict(), since=0, wait_seconds=30))
        with signals_after(0.05), pytest.raises(KeyboardInterrupt):
            operations.perform(CreateBackup(), sink=Blocking())
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=[document("a")]))
        assert operations.perform(CountDocuments(**at("t")._asdict())) == 1


def test_signal_is_passed_to_its_handler_once() -> None:
    calls: list[int] = []
    with handled_by(lambda number, _: calls.append(number)):
        with Deferred(), Deferred():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert calls == []
            checkpoint()
            assert calls == [signal.SIGINT]
            with Interruptible():
                signal.raise_signal(signal.SIGINT)
                assert len(calls) == 2
                with Deferred():  # another operation, from a callback
                    signal.raise_signal(signal.SIGINT)
                    assert len(calls) == 2
                assert len(calls) == 3
            signal.raise_signal(signal.SIGINT)
            assert len(calls) == 3
        assert len(calls) == 4
        signal.raise_signal(signal.SIGINT)
        assert len(calls) == 5
    assert interrupts._operation is None


def test_second_signal_waits_while_first_is_handled() -> None:
    cleaned = False
    with pytest.raises(KeyboardInterrupt), Deferred():  # noqa: PT012
        try:
            with Interruptible():
                signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            cleaned = True
    assert cleaned
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_of_several_kinds_are_all_handled() -> None:
    calls: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: calls.append(number))
    try:
        with pytest.raises(KeyboardInterrupt), Deferred():  # noqa: PT012
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGINT)
        assert calls == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Deferred():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_defer_nothing() -> None:
    seen: list[object] = []

    def look() -> None:
        with Deferred(), Interruptible():
            seen.append(signal.getsignal(signal.SIGINT))
            checkpoint()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_stream_is_used_as_it_is() -> None:
    stream = InterruptibleStream(io.BytesIO(b"abc"))
    assert stream.seekable()
    assert stream.read(2) == b"ab"
    assert stream.tell() == 2


def test_cancelled_calls_complete_in_their_threads(tmp_path: Path) -> None:
    async def use() -> int:
        async with akidb.aio.connect(tmp_path / "data", threads=4) as db:
            tenant = await db.tenants.create("T", qps_quota=10**6)
            notes = await (await tenant.databases.create("d")).collections.create("c", dimension=16)
            vector = [1.0] * 16
            calls = [
                asyncio.create_task(notes.upsert([{"id": str(at), "vector": vector}])) for at in range(200)
            ]
            done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for call in calls:
                call.cancel()
            found = await asyncio.gather(*calls, return_exceptions=True)
            acknowledged = sum(not isinstance(each, BaseException) for each in found)
            assert acknowledged >= len(done)
            failed = [each for each in found if isinstance(each, BaseException)]
            assert all(isinstance(each, asyncio.CancelledError) for each in failed)
            await notes.upsert([{"id": "last", "vector": vector}])
            assert await notes.count() > acknowledged
            return acknowledged

    assert asyncio.run(use()) > 0
    with akidb.connect(tmp_path / "data") as db:
        assert all(finding.ok for finding in db.doctor())


def test_error_of_a_handler_is_not_taken_for_one_of_the_store() -> None:
    def expire(_number: int, _frame: object) -> None:
        raise TimeoutError("my deadline")

    def compare() -> None:
        with translated("a.db"), Deferred():
            signal.raise_signal(signal.SIGINT)
            checkpoint()

    with handled_by(expire), pytest.raises(TimeoutError, match="my deadline"):
        compare()
