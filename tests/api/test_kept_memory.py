"""An error that a request ends with does not keep what the request had in memory."""

import asyncio
import gc
import weakref

from akidb.api.workers import Workers
from akidb.domain.errors import AkiDBError, Internal, InvalidArgument
from akidb.operations import Work


class Rows(list[bytes]):
    """What a request has read."""


def fails_with(error: AkiDBError) -> "tuple[weakref.ref[Rows], BaseException]":
    """Run a request that fails; return a reference to what it had read, and the error."""
    read: list[weakref.ref[Rows]] = []

    def reading() -> None:
        rows = Rows([b"a row"])
        read.append(weakref.ref(rows))
        try:
            raise LookupError
        except LookupError:
            raise error from None

    async def ask() -> BaseException:
        workers = Workers(capacity=1, streams=1)
        try:
            await workers.run(reading, Work.HEAVY, "a")
        except AkiDBError as raised:
            return raised
        finally:
            workers.close()
        raise AssertionError("it did not fail")

    raised = asyncio.run(ask())
    return read[0], raised


def test_error_does_not_keep_what_the_request_had_read() -> None:
    gc.collect()
    gc.disable()
    try:
        rows, error = fails_with(InvalidArgument("top_k", "selects too much"))
    finally:
        gc.enable()
    assert isinstance(error, InvalidArgument)
    assert rows() is None


def test_error_that_is_logged_keeps_where_it_was_raised() -> None:
    _, error = fails_with(Internal("a fault"))
    names = []
    trace = error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "reading"
