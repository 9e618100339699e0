"""All operations, over HTTP."""

from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import msgspec

from akidb.client.http import arrow, codecs
from akidb.client.http.caller import Caller, query_text
from akidb.client.http.transport import Transport
from akidb.domain.documents import Include
from akidb.domain.errors import InvalidArgument, RateLimited
from akidb.observe import context
from akidb.operations import OPERATIONS, Operation, Request
from akidb.operations.embeddings import EmbedTexts, GetModel, ListModels, PullModel
from akidb.ports.arrow import MEDIA_TYPE

A = TypeVar("A")

MAX_QUERY_CHARACTERS = 4096
"""A longer query is sent as the body of a POST: servers and proxies limit the length of a URL."""


class HttpOperations:
    """`akidb.operations.Operations` on a server. Thread-safe."""

    def __init__(self, url: str, *, timeout_seconds: float, wait_seconds: float = 0) -> None:
        """Connect to `http://HOST:PORT`, `https://...`, or a server's socket at `unix:///PATH`.

        A request that exceeds the tenant's rate limit is sent again when the server says, if that is within
        `wait_seconds` of the call.
        """
        self._wait_seconds = wait_seconds
        self._caller = Caller(Transport(url, timeout_seconds=timeout_seconds))
        self._accepts_arrow: bool | None = None
        """Whether the server does; None while it has not been asked."""

    def perform(self, request: Request[A], **ends: Any) -> A:
        """Send a request and return its result. Raises the error that the server raised."""
        row = OPERATIONS[type(request)]
        if row.local:
            raise InvalidArgument(
                "url",
                "must be the data directory or the database: stop the server and migrate it directly",
            )
        request = row.checked(request)
        give_up_at = monotonic() + self._wait_seconds
        while True:
            try:
                return self._send(row, request, ends)  # type: ignore[no-any-return]  # as the row says
            except RateLimited as error:
                wait_seconds = error.retry_after_seconds
                if error.fields.get("limit") == 0 or monotonic() + wait_seconds > give_up_at:
                    raise
            sleep(wait_seconds)

    def ready(self) -> None:
        """Raise Unavailable if the server or its stores do not work; whatever the server raised otherwise."""
        self._caller.call(_Health, "GET", "/health/ready", safe=True)

    def close(self) -> None:
        """Close the connections. Later calls raise Unavailable."""
        self._caller.close()

    def _send(self, row: Operation, request: Request[Any], ends: Mapping[str, Any]) -> Any:
        by_hand = _BY_HAND.get(type(request))
        return self._ask(row, request, ends) if by_hand is None else by_hand(self._caller, request)

    def _ask(self, row: Operation, request: Request[Any], ends: Mapping[str, Any]) -> Any:
        places = {name: _escaped(getattr(request, name)) for name in row.places}
        path = row.path.format_map(places)
        if row.gives == "bytes":
            return self._caller.fetch(row.sent, path, ends["sink"])
        query = {} if row.in_body else codecs.query_of(row, request)
        if row.takes == "bytes":
            return self._caller.deliver(row.sent, path, query, ends["source"])
        if row.arrow is not None and (answer := self._ask_in_arrow(row, request, path)) is not None:
            return answer
        method, in_body, query_part = row.method, row.in_body, query_text(query)
        if row.body_path and len(query_part) > MAX_QUERY_CHARACTERS:
            method, in_body, query_part = "POST", True, ""
            path = row.body_path.format_map(places)
        answer = self._caller.call(
            row.sent,
            method,
            path + query_part,
            fields=codecs.body_of(row, request) if in_body else None,
            if_version=getattr(request, "if_version", None),
            safe=not row.changes,
        )
        if row.member is not None:
            answer = getattr(answer, row.member)
        if Include.VECTOR in getattr(request, "include", ()):
            answer = codecs.with_arrays(answer)
        return answer

    def _ask_in_arrow(self, row: Operation, request: Any, path: str) -> Any:
        """Send the documents of a request as Arrow. Return None if they are rather sent as JSON.

        With an idempotency key they are: a server compares repeated requests in the form that they came in,
        and it may be of another version the next time.
        """
        if self._accepts_arrow is False or context.current().idempotency_key is not None:
            return None
        if not arrow.has_many_numbers(request.documents):
            return None
        if self._accepts_arrow is None:
            self._accepts_arrow = MEDIA_TYPE in self._caller.accepted(path)
            if not self._accepts_arrow:
                return None
        others = {name: value for name, value in codecs.query_of(row, request).items() if name != row.arrow}
        body = arrow.body_of(request.documents, request.mode)
        answer = self._caller.post(row.sent, path + query_text(others), body, MEDIA_TYPE)
        if answer is None:  # another server than the one that was asked
            self._accepts_arrow = False
        return answer


def _escaped(value: object) -> str:
    return quote(str(value), safe="")


class _Health(msgspec.Struct):
    status: Literal["ok"]


class _Models(msgspec.Struct):
    data: list[codecs.ModelInfo]


def _embed(caller: Caller, request: EmbedTexts) -> Any:
    fields = {"input": request.texts, "model": request.model, "encoding_format": "base64"}
    given = {name: value for name, value in fields.items() if value is not None}
    sent = caller.call(codecs.Embeddings, "POST", "/v1/embeddings", fields=given, safe=True)
    return sent.result()


def _list_models(caller: Caller, _: ListModels) -> Any:
    return caller.call(_Models, "GET", "/v1/models", safe=True).data


def _get_model(caller: Caller, request: GetModel) -> Any:
    return caller.call(codecs.ModelInfo, "GET", codecs.model_path(request.model), safe=True)


def _pull_model(caller: Caller, request: PullModel) -> Any:
    return caller.call(codecs.ModelInfo, "POST", f"{codecs.model_path(request.model)}/pull")


_BY_HAND: Mapping[type[Request[Any]], Callable[[Caller, Any], Any]] = {
    EmbedTexts: _embed,
    ListModels: _list_models,
    GetModel: _get_model,
    PullModel: _pull_model,
}
"""Operations whose routes follow OpenAI's API."""
