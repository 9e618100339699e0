"""The worker threads for operations, and the limits on concurrent requests.

Only a request that has a slot for its kind of work takes a thread, and there are as many threads as slots:
however long the work of one kind takes, work of the other kinds finds its threads free.
"""

import asyncio
import contextvars
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar

from akidb.api.fair_slots import FairSlots
from akidb.domain.errors import AkiDBError, Internal, Overloaded
from akidb.observe import context
from akidb.observe.right_of_way import Traffic, begin
from akidb.operations import Work

SLOTS: Mapping[Work, int] = {Work.QUICK: 12, Work.SLOW: 14, Work.HEAVY: 4, Work.PASSWORD: 2}
"""Slots, and so threads, by kind of work. Heavy work has few: it keeps the interpreter busy."""
EACH: Mapping[Work, int] = {Work.QUICK: 8, Work.SLOW: 8, Work.HEAVY: 2, Work.PASSWORD: 1}
"""The slots that one tenant may have."""
MOST_WAITING: Mapping[Work, int] = {Work.PASSWORD: 8}
"""How many may wait for a slot. Where it is not limited here, the number of admitted requests limits it."""
LONG = frozenset({Work.HEAVY, Work.PASSWORD})
"""Work that short requests do not wait for: it gives way to them, or computes without the interpreter."""
SHARE_WAITING = 8
"""One tenant may have one in so many of the admitted requests waiting for slots of one kind."""
MIN_WAITING = 32
MAX_NAMES = 10_000

T = TypeVar("T")


class Workers:
    """Runs operations off the event loop. Admission and queues are handled on the event loop."""

    def __init__(self, *, capacity: int, streams: int, slow_each: int = EACH[Work.SLOW]) -> None:
        """Admit up to `capacity` requests; those beyond the number of slots are queued.

        `streams` is the number of threads for imports, exports and backups, which wait for their clients. A
        tenant has at most `slow_each` of the slots for slow work.
        """
        self._traffic = Traffic()
        self._pool = ThreadPoolExecutor(sum(SLOTS.values()), thread_name_prefix="akidb-http")
        self._streams = ThreadPoolExecutor(streams, thread_name_prefix="akidb-http-stream")
        self._aside: dict[str, ThreadPoolExecutor] = {}
        self._asked: dict[tuple[str, bytes], asyncio.Future[Any]] = {}
        self._slots = {
            work: FairSlots(
                places,
                each=min(slow_each, EACH[work]) if work is Work.SLOW else EACH[work],
                most_waiting=MOST_WAITING.get(work),
                waiting_each=max(MIN_WAITING, capacity // SHARE_WAITING),
                queue=str(work) if work in MOST_WAITING else "request",
            )
            for work, places in SLOTS.items()
        }
        self._names: dict[str, str] = {}
        """Tenant IDs by the names of recent requests: a tenant with two names has the slots of one."""
        self._capacity = capacity
        self._admitted = 0
        self._refusing = False

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold an admission slot, from the end of the body until the response is ready.

        Raises Overloaded if all slots are taken.
        """
        if self._admitted >= self._capacity:
            raise Overloaded("request")
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def run(self, function: Callable[[], T], work: Work, name: str) -> T:
        """Call `function` in a worker thread, in the caller's context, once there is a slot for this work.

        Slots are fair among tenants. `name` is the tenant's in the request, or else the path of the route.
        """
        whose = self._names.get(name, name)
        with nullcontext() if work in LONG else self._traffic.short():
            async with self._slots[work].place(whose):
                try:
                    return await self._run_in(self._pool, function, is_long=work is Work.HEAVY)
                finally:
                    tenant_id = context.tenant_id()
                    if tenant_id is not None and str(tenant_id) != whose:
                        self._note(name, str(tenant_id))

    def _note(self, name: str, tenant_id: str) -> None:
        if len(self._names) >= MAX_NAMES:
            self._names.clear()
        if name != tenant_id:
            self._names[name] = tenant_id

    async def run_stream(self, function: Callable[[], T]) -> T:
        """Call `function` in one of the threads for streams."""
        return await self._run_in(self._streams, function, is_long=True)

    async def run_aside(self, question: tuple[str, bytes], function: Callable[[], T]) -> T:
        """Call `function` in a thread for this route alone. The same questions at a time share one answer."""
        path, _ = question
        asked: asyncio.Future[T] | None = self._asked.get(question)
        if asked is None:
            if path not in self._aside:
                self._aside[path] = ThreadPoolExecutor(1, thread_name_prefix="akidb-http-aside")
            asked = self._asked[question] = asyncio.ensure_future(self._run_in(self._aside[path], function))
            asked.add_done_callback(lambda _: self._asked.pop(question))
        return await asyncio.shield(asked)

    async def _run_in(
        self, pool: ThreadPoolExecutor, function: Callable[[], T], *, is_long: bool = False
    ) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        task = _Task(loop, answer, contextvars.copy_context(), function, self._traffic, is_long)
        # Not `run_in_executor`, which chains two futures per call.
        pool.submit(task.run)
        try:
            return await answer
        finally:
            del answer, task, function  # an error has this frame in its traceback: they would be a cycle

    @property
    def refusing(self) -> bool:
        """Whether the server is shutting down."""
        return self._refusing

    def refuse(self) -> None:
        """Refuse new requests. Admitted requests continue."""
        self._refusing = True

    def close(self) -> None:
        """Wait for running work and stop the threads."""
        for pool in (self._pool, self._streams, *self._aside.values()):
            pool.shutdown()


class _Task(NamedTuple):
    """A call in a thread, and the future of its result on the event loop."""

    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Any]"
    context: contextvars.Context
    function: Callable[[], Any]
    traffic: Traffic
    is_long: bool

    def run(self) -> None:
        begin(self.traffic.work(is_long=self.is_long))
        try:
            value = self.context.run(self.function)
        except BaseException as error:  # noqa: BLE001 - re-raised where the result is awaited
            self.loop.call_soon_threadsafe(_fail, self.answer, _without_frames(error))
        else:
            self.loop.call_soon_threadsafe(_give, self.answer, value)


def _without_frames(error: BaseException) -> BaseException:
    """Return the error. If it goes to the client and not to the log, drop its traceback.

    The frames there keep what the request had in memory, such as 50 rows of a megabyte, for as long as the
    error lives.
    """
    if isinstance(error, AkiDBError) and not isinstance(error, Internal):
        error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def _give(answer: "asyncio.Future[T]", value: T) -> None:
    if not answer.cancelled():
        answer.set_result(value)


def _fail(answer: "asyncio.Future[Any]", error: BaseException) -> None:
    if not answer.cancelled():
        answer.set_exception(error)
