"""Processes that are made to die: forked from one that has loaded everything, so that they start at once."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pytest", "akidb.deployment.local", "alembic.command", "akidb.client"])


@contextmanager
def child(target: Callable[..., Any], *arguments: Any) -> Iterator[BaseProcess]:
    """A running process; killed when the block ends if it still runs."""
    process = _context.Process(target=target, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
        process.close()


def exit_code(target: Callable[..., Any], *arguments: Any, timeout_seconds: float = 60) -> int | None:
    """Run a process to its end; None when it does not come."""
    with child(target, *arguments) as process:
        process.join(timeout_seconds)
        return process.exitcode
