"""GET requests to package indexes: through the configured proxy, with the credentials of each server.

Errors name a server by its host and port: the address, a proxy or the library's text may contain a password.
"""

import importlib
import ssl
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException, HTTPMessage, InvalidURL
from pathlib import Path
from typing import IO, Any, Protocol, Self
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
    getproxies,
)

from akidb.embedding import indexes

TIMEOUT_SECONDS = 30.0
"""How long a server may be silent."""
LEAST_BYTES, LEAST_SECONDS = 2**16, 60.0
_PIECE_BYTES = 2**18
_AGENT = "akidb"
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_AS_THEY_ARE = "%/:=&?~#+!$,;'@()*[]"


class Fault(Exception):
    """Why an index or a file of it cannot be used: text without secrets, and the status of a response."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class Passing(Fault):
    """A fault that another try may not have."""


class Response(Protocol):
    """What is used of `http.client.HTTPResponse`."""

    status: int
    headers: HTTPMessage
    url: str

    def read1(self, n: int = -1, /) -> bytes:
        """Read up to `n` bytes, as soon as there are some."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *args: object) -> None: ...


def host_of(url: str) -> str:
    """Return the host and port of a URL, for messages."""
    return urlsplit(url).netloc.rpartition("@")[2] or "a server without a name"


class Web:
    """Requests in the name of one index, whose credentials only its own server gets."""

    def __init__(self, url: str, authorization: str | None) -> None:
        self._known = {_origin(url): authorization} if authorization else {}
        given = indexes.surroundings()
        self._opener = OpenerDirector()
        for handler in (
            ProxyHandler(_proxies(given.proxy)),
            UnknownHandler(),
            HTTPHandler(),
            HTTPSHandler(context=_tls(given.certificates)),
            HTTPDefaultErrorHandler(),
            _Redirects(self),
            HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Send a request and return the response, whose status is one of success.

        Raises Passing for a server that cannot be reached or is overloaded, Fault for all else.
        """
        host, request = "a server", None
        try:
            host = host_of(url)
            request = self.request(url, {"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers})
            response: Response = self._opener.open(request, timeout=TIMEOUT_SECONDS)
        except HTTPError as error:
            with error:
                host, status = host_of(error.url or url), error.code
            advice = "; its address may contain USER:PASSWORD@" if status in {401, 403} else ""
            fault = Passing if status in _PASSING else Fault
            raise fault(f"{host} answered with the status {status}{advice}", status) from None
        except (OSError, HTTPException, ValueError) as error:
            proxy = " through the proxy" if request is not None and request.host != host else ""
            raise Passing(f"{host} cannot be reached{proxy}: {reason(error)}") from None
        return response

    def request(self, url: str, headers: Mapping[str, str]) -> Request:
        """Return a request with the credentials for its server. Raises Fault for a URL other than HTTP."""
        url, authorization = indexes.split(url)
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Fault(f"{host_of(url)}: only http and https can be downloaded from")
        request = Request(quote(url, safe=_AS_THEY_ARE), headers=dict(headers))  # noqa: S310 - checked above
        origin = _origin(url)
        if authorization is not None:
            self._known[origin] = authorization
        authorization = self._known.get(origin) or indexes.from_netrc(parts.hostname)
        if authorization is not None:
            request.add_unredirected_header("Authorization", authorization)
        return request


class _Redirects(HTTPRedirectHandler):
    """Follows redirections with the credentials of the new server, if there are any."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        del fp, code, msg, headers
        kept = {name: value for name, value in req.headers.items() if name.lower() != "host"}
        return self._web.request(newurl, kept)


def pieces(response: Response) -> Iterator[bytes]:
    """Yield the body of a response as it arrives.

    Raises Passing if the connection breaks, is silent, or brings less than `LEAST_BYTES` in `LEAST_SECONDS`.
    """
    host = host_of(response.url)
    began, came = time.monotonic(), 0
    while True:
        try:
            piece = response.read1(_PIECE_BYTES)
        except (OSError, HTTPException, ValueError) as error:
            raise Passing(f"{host} stopped sending: {reason(error)}") from None
        if not piece:
            return
        yield piece
        came += len(piece)
        if time.monotonic() - began > LEAST_SECONDS:
            if came < LEAST_BYTES:
                raise Passing(f"{host} sent only {came} bytes in {LEAST_SECONDS:g} seconds")
            began, came = time.monotonic(), 0


def reason(error: BaseException) -> str:
    """Return what a failed connection says of itself, if that is known to contain no address."""
    if isinstance(error, URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} seconds"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({error.verify_message}); PIP_CERT names a file of certificates"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    if isinstance(error, OSError) and "Tunnel connection failed" in text:
        return f"its proxy refuses ({text})"
    if isinstance(error, URLError) and "unknown url type" in text:
        return "its proxy is not an HTTP proxy"
    return (
        "a malformed address or proxy" if isinstance(error, ValueError | InvalidURL) else type(error).__name__
    )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _proxies(configured: str | None) -> dict[str, str]:
    """Return the proxies of the environment, unless pip is configured for one."""
    if configured:
        return dict.fromkeys(("http", "https"), configured)
    found = getproxies()
    every = found.get("all")
    every = every if every and every.startswith(("http:", "https:")) else None
    return {scheme: proxy for scheme in ("http", "https") if (proxy := found.get(scheme) or every)}


def _tls(certificates: str | None) -> ssl.SSLContext:
    """Return a context that trusts the configured certificates, those of the system, or those of pip."""
    if certificates:
        try:
            if Path(certificates).is_dir():
                return ssl.create_default_context(capath=certificates)
            return ssl.create_default_context(cafile=certificates)
        except OSError as error:
            raise Fault(f"the certificates that pip is configured for: {reason(error)}") from None
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and (paths.capath is None or not any(Path(paths.capath).iterdir())):
        for name in ("certifi", "pip._vendor.certifi"):
            with_certificates: Any = _module(name)
            if with_certificates is not None:
                context.load_verify_locations(with_certificates.where())
                break
    return context


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
