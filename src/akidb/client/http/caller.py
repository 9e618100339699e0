"""One call of AkiDB's HTTP interface: JSON out, a typed answer or the right exception back."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from akidb.client.http.problems import error_of
from akidb.client.http.transport import Answer, Transport
from akidb.domain.errors import Internal, InvalidArgument
from akidb.domain.ids import EntityId
from akidb.domain.names import check_integer
from akidb.observe import context
from akidb.observe.telemetry import current_trace
from akidb.ports.archive import ByteSink, ByteSource
from akidb.ports.wire import dec_hook

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 2**20
_BINARY = (bytes, bytearray, memoryview)

Query = Mapping[str, object]


class Caller:
    """Calls of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def get(self, kind: type[T], path: str, query: Query | None = None) -> T:
        """Read something."""
        return self._decoded(self._send("GET", path + _query(query), safe=True), kind)

    def ask(self, kind: type[T], path: str, fields: Mapping[str, object]) -> T:
        """Read something with a POST, because what is asked for does not fit a URL."""
        return self._decoded(self._send("POST", path, _body(fields), safe=True), kind)

    def post(
        self,
        kind: type[T],
        path: str,
        fields: Mapping[str, object] | None = None,
        *,
        if_version: int | None = None,
    ) -> T:
        """Change something."""
        body = None if fields is None else _body(fields)
        return self._decoded(self._send("POST", path, body, if_version=if_version), kind)

    def patch(self, kind: type[T], path: str, fields: Mapping[str, object], *, if_version: int | None) -> T:
        """Change fields of an entity."""
        return self._decoded(self._send("PATCH", path, _body(fields), if_version=if_version), kind)

    def delete(self, path: str, *, if_version: int | None) -> None:
        """Delete an entity."""
        self._send("DELETE", path, if_version=if_version)

    def command(self, path: str, *, if_version: int | None) -> None:
        """Do something that has no answer."""
        self._send("POST", path, if_version=if_version)

    def fetch(self, path: str, target: ByteSink) -> None:
        """Read bytes of any number into `target`."""
        headers = {"Accept": "application/octet-stream, application/json", **_marks("GET")}
        self._succeeded(self._transport.fetch(path, headers, target))

    def deliver(self, kind: type[T], path: str, query: Query, source: ByteSource) -> T:
        """Change something with bytes of any number."""
        headers = {"Accept": "application/json", "Content-Type": "application/octet-stream", **_marks("POST")}
        answer = self._transport.deliver(path + _query(query), headers, source)
        return self._decoded(self._succeeded(answer), kind)

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        if_version: int | None = None,
        safe: bool = False,
    ) -> Answer:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if if_version is not None:
            headers["If-Match"] = f'"{check_integer(if_version, "if_version", 1)}"'
        headers |= _marks(method)
        safe = safe or "Idempotency-Key" in headers
        return self._succeeded(self._transport.send(method, path, body, headers, safe=safe))

    def _succeeded(self, answer: Answer) -> Answer:
        if not 200 <= answer.status < 300:
            raise error_of(answer, self._transport.url)
        return answer

    def _decoded(self, answer: Answer, kind: type[T]) -> T:
        try:
            value: T = _decoder(kind).decode(answer.body)
        except msgspec.DecodeError as error:
            raise Internal(f"{self._transport.url} answered not as AkiDB does: {error}") from None
        return value


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=dec_hook)
    return decoder


def _marks(method: str) -> dict[str, str]:
    """The headers that tell of the request which is being served here."""
    request = context.current()
    marks = {}
    if request.request_id is not None:
        marks["X-Request-ID"] = request.request_id
    if (trace := current_trace()) is not None:
        marks |= trace.headers
    if request.idempotency_key is not None and method != "GET":
        marks["Idempotency-Key"] = request.idempotency_key
    return marks


def _enc_hook(value: Any) -> Any:
    if isinstance(value, EntityId):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is no JSON value")


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


def _body(fields: Mapping[str, object]) -> bytes:
    for name, value in fields.items():
        if isinstance(value, float) and not isfinite(value):  # it would be sent as null
            raise InvalidArgument(name, "must be a finite number")
        if isinstance(value, _BINARY):  # it would be sent as base64
            raise InvalidArgument(name, f"must not be {type(value).__name__}")
    try:
        body = _encoder.encode(fields)
    except (UnicodeEncodeError, TypeError, NotImplementedError, OverflowError, RecursionError) as error:
        raise _fault(fields, error) from None
    if len(body) > MAX_BODY_BYTES:
        raise InvalidArgument("body", f"must be at most {MAX_BODY_BYTES} bytes as JSON, has {len(body)}")
    return body


def _fault(fields: Mapping[str, object], error: Exception) -> InvalidArgument:
    """Find which of the fields cannot be sent."""
    for name, value in fields.items():
        try:
            _encoder.encode(value)
        except UnicodeEncodeError:
            return InvalidArgument(name, "must not hold lone surrogates")
        except (TypeError, NotImplementedError, OverflowError, RecursionError) as fault:
            return InvalidArgument(name, str(fault))
    return InvalidArgument("body", str(error))


def _query(query: Query | None) -> str:
    if query is None:
        return ""
    given = {name: _text(name, value) for name, value in query.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _BINARY):
        raise InvalidArgument(name, f"must not be {type(value).__name__}")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(name, "must not hold lone surrogates") from None
    return text
