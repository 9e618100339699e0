"""`kill -9` of a writer: acknowledged writes survive, others are complete or absent."""

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import writing_child
from fault_tools import add_tenant, opened
from history import History
from writing_child import TENANTS

from children import child

SEED = 20260101


def _kill_after(directory: Path, history: History, seed: int, seconds: float) -> None:
    reading, writing = Pipe(duplex=False)
    with reading, child(writing_child.run, directory, seed, dict(history.in_the_air), writing) as process:
        writing.close()
        history.note(*reading.recv())  # from here on it is writing
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if reading.poll(left):
                history.note(*reading.recv())
        process.kill()
        process.join()
        assert process.exitcode == -9
        for event in _rest(reading):
            history.note(*event)


def _rest(reading: Connection) -> Iterator[Any]:
    with suppress(EOFError):
        while True:
            yield reading.recv()


@pytest.mark.parametrize("kills", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_acknowledged_writes_survive_kills_at_random_moments(kills: int, tmp_path: Path) -> None:
    rng = random.Random(SEED + kills)
    with opened(tmp_path) as operations:
        for tenant in TENANTS:
            add_tenant(operations, tenant, "x", "y", storage_quota_bytes=10**12)
    history, number = History(), 0
    # A busy machine may need more of them until enough was written.
    while number < kills or history.acknowledged <= 10 * kills or history.done_unsaid == 0:
        assert number < 10 * kills, "it writes next to nothing"
        _kill_after(tmp_path, history, number, rng.uniform(0, 0.4))
        history.check(tmp_path)
        number += 1
    print(
        f"{number} kills, {history.acknowledged} writes acknowledged, {history.done_unsaid} done and unsaid"
    )
