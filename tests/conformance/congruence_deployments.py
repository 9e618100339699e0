"""Deployments of AkiDB behind one synchronous client, with normalized results.

Servers run in a separate process; async clients run on an event loop in a thread.
"""

import asyncio
import inspect
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

import akidb
from akidb.ports.wire import enc_hook
from surroundings import QUICK_HASHES

T = TypeVar("T")

SERVE = f"""
{QUICK_HASHES}
import sys
from pathlib import Path
from akidb.api.server import serve
from akidb.settings import load
target, models = sys.argv[1:]
where = target if "://" in target else Path(target)
serve(where, load(models_dir=models), port=0, on_listening=lambda at: print(at.url, flush=True))
"""


@contextmanager
def server(target: Path | str, models: Path) -> Iterator[str]:
    """A server of this directory or database in a process of its own; gives its URL."""
    command = [sys.executable, "-c", SERVE, str(target), str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "the server did not start"
            yield url
        finally:
            process.terminate()
            assert process.wait(30) == 0


class Loop:
    """An event loop in a thread, for a caller that cannot await."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Awaited:
    """An awaitable handle with the interface of its synchronous twin."""

    def __init__(self, twin: Any, loop: Loop) -> None:
        self._twin = twin
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._twin, name)
        if not inspect.ismethod(value):
            return self._wrapped(value)

        def call(*args: Any, **kwargs: Any) -> Any:
            made = value(*args, **kwargs)
            if inspect.isasyncgen(made):
                return iter(self._loop.run(_listed(made)))
            # The call is made in this thread, whose context the request's key and ID belong to.
            return self._wrapped(self._loop.run(made))

        return call

    def __iter__(self) -> Iterator[Any]:
        return (self._wrapped(item) for item in self._loop.run(_listed(self._twin)))

    def _wrapped(self, value: Any) -> Any:
        if type(value).__module__.startswith("akidb.aio"):
            return Awaited(value, self._loop)
        if isinstance(value, akidb.Page):
            return akidb.Page(map(self._wrapped, value), value.next_cursor)
        return value


async def _listed(items: Any) -> list[Any]:
    return [item async for item in items]


@contextmanager
def awaited(target: str | Path, **settings: Any) -> Iterator[akidb.Client]:
    """The awaitable twin of a client, as a synchronous one."""
    loop = Loop()
    try:

        async def connect() -> Any:
            return await akidb.aio.connect(target, **settings)

        client = loop.run(connect())
        yield cast("akidb.Client", Awaited(client, loop))
        loop.run(client.close())
    finally:
        loop.close()


_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z")
_PATH = re.compile(r": /\S+ does not exist")
"""What a server does not say over TCP."""


class Transcript:
    """What calls gave, in a form that is the same wherever they are made."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self._ids: dict[str, str] = {}

    def __call__(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        """Make a call and note what it gives or raises."""
        try:
            value = call(*args, **kwargs)
        except akidb.AkiDBError as error:
            message = _PATH.sub("", error.message)
            said = {"raised": type(error).__name__, "message": message, "fields": error.fields}
            self.entries.append(self._plain(said))
            return None
        self.entries.append(self._plain(value))
        return value

    def place(self, call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Make a call that is wrong in its types, and note what it raises and where, not in which words.

        In process a check sees the value, over HTTP the decoder of the body or query may see it first.
        """
        try:
            call(*args, **kwargs)
        except akidb.AkiDBError as error:
            self.entries.append((type(error).__name__, error.fields.get("field")))
        else:
            self.entries.append("done")

    def _plain(self, value: Any) -> Any:
        if isinstance(value, akidb.Page):
            return {"items": [self._plain(item) for item in value], "more": value.next_cursor is not None}
        if isinstance(value, akidb.Matches):
            matches = [self._plain(match) for match in value]
            more = value.next_cursor is not None
            return {"matches": matches, "statistics": self._plain(value.statistics), "more": more}
        if isinstance(getattr(value, "entity", None), msgspec.Struct):
            return self._plain(value.entity)
        if isinstance(value, np.ndarray):
            assert value.dtype == np.float32
            return value.tolist()
        if isinstance(value, datetime):
            assert value.utcoffset() is not None
            return "<time>"
        if isinstance(value, msgspec.Struct):
            fields = {name: self._plain(getattr(value, name)) for name in value.__struct_fields__}
            return {type(value).__name__: fields}
        if isinstance(value, dict):
            return {str(key): self._plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple | Iterator):
            return [self._plain(item) for item in value]
        text = value if value is None or isinstance(value, int | float | str) else enc_hook(value)
        if isinstance(text, str):
            text = _TIME.sub("<time>", text)
            return _ID.sub(lambda found: self._ids.setdefault(found[0], f"<id {len(self._ids)}>"), text)
        return text
