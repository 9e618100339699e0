"""One call of AkiDB's HTTP API: sends JSON, returns a typed response or raises the matching exception."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from akidb.client.http.problems import error_of
from akidb.client.http.transport import Answer, Transport
from akidb.domain.archives import BackupReport, ByteSink, ByteSource
from akidb.domain.errors import Internal, InvalidArgument
from akidb.observe import context
from akidb.observe.telemetry import current_trace
from akidb.ports import wire
from akidb.ports.wire import dec_hook

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 2**20

Query = Mapping[str, object]


class Caller:
    """Calls to one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def call(
        self,
        kind: Any,
        method: str,
        path: str,
        *,
        fields: Mapping[str, object] | None = None,
        if_version: int | None = None,
        safe: bool = False,
    ) -> Any:
        """Send a request and decode the response as `kind`; the path includes the query.

        A `safe` request may be sent twice.
        """
        body = None if fields is None else _body(fields)
        answer = self._succeeded(self._exchange(method, path, body, if_version=if_version, safe=safe))
        return None if kind is type(None) else self._decoded(answer, kind)

    def post(self, kind: Any, path: str, body: bytes, media_type: str) -> Any:
        """Send a body that is not JSON; decode the response as `kind`, None if the type is not supported."""
        _check_size(body)
        answer = self._exchange("POST", path, body, media_type=media_type)
        if answer.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return None
        return self._decoded(self._succeeded(answer), kind)

    def accepted(self, path: str) -> frozenset[str]:
        """Return the media types of bodies that the server says it accepts in a POST there."""
        answer = self._transport.send("OPTIONS", path, None, _marks("GET"), safe=True)
        types = (answer.headers.get("Accept-Post") or "").split(",") if answer.status < 300 else []
        return frozenset(type.strip().lower() for type in types)

    def fetch(self, kind: Any, path: str, sink: ByteSink) -> Any:
        """Stream a binary response of any size into `sink`; return its report."""
        headers = {"Accept": "application/octet-stream, application/json", **_marks("GET")}
        if kind is not BackupReport:
            self._succeeded(self._transport.fetch(path, headers, sink))
            return None
        from akidb.archive import PassedOn

        # Not from the header, which was sent before the stores were read.
        archive = PassedOn(sink)
        self._succeeded(self._transport.fetch(path, headers, archive))
        try:
            return archive.report()
        except InvalidArgument as error:
            raise Internal(f"{self._transport.url} sent an invalid response: {error}") from None

    def deliver(self, kind: type[T], path: str, query: Query, source: ByteSource) -> T:
        """Stream a binary request body of any size from `source` and decode the response as `kind`."""
        headers = {"Accept": "application/json", "Content-Type": "application/octet-stream", **_marks("POST")}
        answer = self._transport.deliver(path + query_text(query), headers, source)
        return self._decoded(self._succeeded(answer), kind)

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        media_type: str = "application/json",
        if_version: int | None = None,
        safe: bool = False,
    ) -> Answer:
        headers = {"Accept": "application/json"}
        if body is not None or method == "POST":  # the server refuses a POST that any web page could send
            headers["Content-Type"] = media_type
        if if_version is not None:
            headers["If-Match"] = f'"{if_version}"'
        headers |= _marks(method)
        safe = safe or "Idempotency-Key" in headers
        return self._transport.send(method, path, body, headers, safe=safe)

    def _succeeded(self, answer: Answer) -> Answer:
        if not 200 <= answer.status < 300:
            raise error_of(answer, self._transport.url)
        return answer

    def _decoded(self, answer: Answer, kind: type[T]) -> T:
        try:
            value: T = _decoder(kind).decode(answer.body)
        except msgspec.DecodeError as error:
            raise Internal(f"{self._transport.url} sent an invalid response: {error}") from None
        return value


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=dec_hook)
    return decoder


def _marks(method: str) -> dict[str, str]:
    """Return headers that propagate the context of the request being served in this process."""
    request = context.current()
    marks = {}
    if request.request_id is not None:
        marks["X-Request-ID"] = request.request_id
    if (trace := current_trace()) is not None:
        marks |= trace.headers
    if request.idempotency_key is not None and method != "GET":
        marks["Idempotency-Key"] = request.idempotency_key
    return marks


def _body(fields: Mapping[str, object]) -> bytes:
    body = wire.encode(fields)  # the values are validated
    _check_size(body, " as JSON")
    return body


def _check_size(body: bytes, form: str = "") -> None:
    if len(body) > MAX_BODY_BYTES:
        raise InvalidArgument("body", f"must be at most {MAX_BODY_BYTES} bytes{form}, has {len(body)}")


def query_text(query: Query) -> str:
    """Return a query string with its question mark, or nothing."""
    given = {name: _text(value) for name, value in query.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
