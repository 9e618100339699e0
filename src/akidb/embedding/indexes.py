"""The package indexes that this machine is configured for, by the variables and files of pip and uv.

If there are none: the default index of pip or uv, which is asked for it. AkiDB itself knows no index.
Users and passwords in addresses are separated here.
"""

import configparser
import contextlib
import importlib.util
import netrc
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

_ASK_SECONDS = 30
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
# pip: "Base URL of the Python Package Index (default URL)"; uv: "... (by default: <URL>)".
_DEFAULT = re.compile(r"default:? <?(https?://[^\s<>)]+)")
VARIABLES = "PIP_INDEX_URL or UV_DEFAULT_INDEX"
"""The variables that an error advises to set."""
_NAMED = re.compile(r"([A-Za-z0-9_.-]+)=(.*)", re.DOTALL)


class Index(NamedTuple):
    """A place with wheels: an index with a page for each project, or one page or folder for all of them."""

    url: str
    """The address without user and password."""
    setting: str = ""
    """The variable or file that names it."""
    authorization: str | None = None
    by_project: bool = True
    fault: str | None = None
    """Why it cannot be asked."""

    @property
    def folder(self) -> Path | None:
        """The path of an index in the file system, None for one on the network."""
        return path_of(self.url)


class Surroundings(NamedTuple):
    """How to reach indexes, if pip is configured for it: a proxy, and a file or folder of certificates."""

    proxy: str | None
    certificates: str | None


def path_of(url: str) -> Path | None:
    """Return the path that a `file` URL or a text without a scheme names."""
    if "://" not in url and not url.startswith("file:"):
        return Path(url).expanduser()
    return Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None


def split(url: str) -> tuple[str, str | None]:
    """Return a URL without user and password, and the value of `Authorization` for these."""
    parts = urlsplit(url)
    secret, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = secret.partition(":")
    return urlunsplit(parts._replace(netloc=host)), basic(unquote(user), unquote(password))


def basic(user: str, password: str) -> str:
    """Return the value of `Authorization` for a user."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def from_netrc(host: str) -> str | None:
    """Return the value of `Authorization` for a host from the user's netrc file."""
    try:
        found = netrc.netrc(os.environ.get("NETRC") or None).authenticators(host)
    except (OSError, RuntimeError, netrc.NetrcParseError):  # none, no home directory, not readable
        return None
    return None if found is None else basic(found[0], found[2] or "")


def places() -> Iterator[Index]:
    """Yield the places to ask: folders and pages of links, the index, further indexes, the default index.

    The default index is left out if an index is configured, and determined only when it is needed. If indexes
    are forbidden (`PIP_NO_INDEX`), or none is known, the last place is a `fault` that says so.
    """
    pip, uv = _Pip(), _Uv()
    yield from (*pip.links(), *uv.links())
    if pip.no_index or uv.no_index:
        yield Index("", fault="the configuration of pip or uv forbids package indexes (no-index)")
        return
    index = pip.index() or uv.index()
    yield from (*index, *pip.extra(), *uv.extra())
    if not index:
        yield default() or Index(
            "", fault="no package index is configured, and pip or uv, which know one, are missing"
        )


def default() -> Index | None:
    """Return the default index of pip or uv, as their help names it; None without these programs."""
    for command in _programs():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run(  # noqa: S603 - pip or uv, which are asked for their help
                [*command, "--help"],
                capture_output=True,
                check=False,
                env=os.environ | {"COLUMNS": "1000"},  # no address is broken by the end of a line
                stdin=subprocess.DEVNULL,
                timeout=_ASK_SECONDS,
            ).stdout
            if (found := _DEFAULT.search(" ".join(told.decode(errors="replace").split()))) is not None:
                program = "uv" if Path(command[0]).name == "uv" else "pip"
                return Index(found[1], f"the default of {program}")
    return None


def surroundings() -> Surroundings:
    """Return the proxy and the certificates that pip is configured for, or the variables of its library."""
    pip = _Pip()
    certificates = (
        pip.value("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    )
    return Surroundings(pip.value("proxy"), certificates)


class _Pip:
    """The settings of pip: its variables, then its files, of which the last one counts."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, str]] = {}
        for path in _pip_files():
            parser = configparser.RawConfigParser(strict=False)
            with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
                parser.read(path, encoding="utf-8")
            for section in ("global", "install", "download"):
                if parser.has_section(section):
                    for name, value in parser.items(section):
                        self._files[name.replace("_", "-")] = (value, str(path))

    @property
    def no_index(self) -> bool:
        return (self.value("no-index") or "").strip().lower() in _TRUE

    def value(self, name: str) -> str | None:
        return self._found(name)[0] or None

    def index(self) -> list[Index]:
        return self._indexes("index-url")

    def extra(self) -> list[Index]:
        return self._indexes("extra-index-url")

    def links(self) -> list[Index]:
        return [found._replace(by_project=False) for found in self._indexes("find-links")]

    def _indexes(self, name: str) -> list[Index]:
        value, setting = self._found(name)
        return [_index(url, setting) for url in value.split()]

    def _found(self, name: str) -> tuple[str, str]:
        variable = f"PIP_{name.upper().replace('-', '_')}"
        if value := os.environ.get(variable):
            return value, variable
        return self._files.get(name, ("", ""))


class _Uv:
    """The settings of uv: its variables, then its file for the user or the machine."""

    def __init__(self) -> None:
        self._path, self._file = _uv_file()

    @property
    def no_index(self) -> bool:
        given = os.environ.get("UV_NO_INDEX", "").strip().lower() in _TRUE
        return given or self._option("no-index") is True

    def index(self) -> list[Index]:
        for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
            if value := os.environ.get(variable):
                return [_uv_index(value, variable)]
        named = [each for each in self._listed() if each.get("default") is True]
        return [self._of_file(each) for each in named] or self._plain("index-url")

    def extra(self) -> list[Index]:
        given = self._variable("UV_INDEX") + self._variable("UV_EXTRA_INDEX_URL")
        named = [self._of_file(each) for each in self._listed() if each.get("default") is not True]
        return given + named + self._plain("extra-index-url")

    def links(self) -> list[Index]:
        found = self._variable("UV_FIND_LINKS", ",") + self._plain("find-links")
        return [each._replace(by_project=False) for each in found]

    def _variable(self, name: str, separator: str | None = None) -> list[Index]:
        values = os.environ.get(name, "").split(separator)
        return [_uv_index(value, name) for value in values if value]

    def _option(self, name: str) -> Any:
        pip = self._file.get("pip")
        inner = pip.get(name) if isinstance(pip, dict) else None
        return self._file.get(name) if inner is None else inner

    def _plain(self, name: str) -> list[Index]:
        value = self._option(name)
        values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        return [_index(url, self._path) for url in values if isinstance(url, str)]

    def _listed(self) -> list[dict[str, Any]]:
        listed = self._file.get("index")
        listed = listed if isinstance(listed, list) else []
        return [each for each in listed if isinstance(each, dict) and isinstance(each.get("url"), str)]

    def _of_file(self, entry: Mapping[str, Any]) -> Index:
        name = entry.get("name")
        return _uv_index(f"{name}={entry['url']}" if isinstance(name, str) else entry["url"], self._path)


def _index(url: str, setting: str) -> Index:
    try:
        url, authorization = split(url)
    except ValueError:  # its text may contain a password
        return Index("", setting, fault=f"{setting} is not the address of an index")
    return Index(url, setting, authorization)


def _uv_index(value: str, setting: str) -> Index:
    """Return an index given as `URL` or `NAME=URL`; the password of a named one may be in a variable."""
    named = _NAMED.fullmatch(value)
    if named is None:
        return _index(value, setting)
    index = _index(named[2], setting)
    prefix = f"UV_INDEX_{re.sub('[^A-Z0-9]', '_', named[1].upper())}"
    user, password = os.environ.get(f"{prefix}_USERNAME", ""), os.environ.get(f"{prefix}_PASSWORD", "")
    return index._replace(authorization=basic(user, password)) if user or password else index


def _programs() -> Iterator[Sequence[str]]:
    """Yield the commands of the programs here that have a default index.

    A virtual environment of uv or pipx has no pip, but its interpreter comes with a wheel of pip, which
    runs without being installed.
    """
    download = ("--isolated", "download")
    if importlib.util.find_spec("pip") is not None:
        yield (sys.executable, "-m", "pip", *download)
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR")]
    if (ensurepip := importlib.util.find_spec("ensurepip")) is not None and ensurepip.origin:
        folders.append(str(Path(ensurepip.origin).parent / "_bundled"))
    for folder in filter(None, folders):
        for wheel in sorted(Path(folder).glob("pip-*.whl")):
            yield (sys.executable, str(wheel / "pip"), *download)
    for name, words in (("pip3", download), ("uv", ("pip", "install"))):
        if (program := shutil.which(name)) is not None:
            yield (program, *words)


def _pip_files() -> list[Path]:
    """Return where pip's files may be; the last has precedence."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    paths = [folder / "pip" / "pip.conf" for folder in reversed(_machine_folders())]
    paths.append(Path("/etc/pip.conf"))
    with contextlib.suppress(RuntimeError):  # no home directory
        home = Path("~").expanduser()
        paths.append(home / ".pip" / "pip.conf")
        if sys.platform == "darwin":
            paths.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
        paths.append(_user_folder() / "pip" / "pip.conf")
    paths.append(Path(sys.prefix) / "pip.conf")
    return [*paths, Path(named)] if named else paths


def _uv_file() -> tuple[str, dict[str, Any]]:
    """Return uv's file and what it says; the user's has precedence over the machine's."""
    if os.environ.get("UV_NO_CONFIG", "").strip().lower() in _TRUE:
        return "", {}
    named = os.environ.get("UV_CONFIG_FILE")
    paths = [Path(named)] if named else []
    if not named:
        with contextlib.suppress(RuntimeError):
            paths.append(_user_folder() / "uv" / "uv.toml")
        paths += [folder / "uv" / "uv.toml" for folder in _machine_folders()]
        paths.append(Path("/etc/uv/uv.toml"))
    for path in paths:
        with contextlib.suppress(OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            return str(path), tomllib.loads(path.read_text(encoding="utf-8"))
    return "", {}


def _user_folder() -> Path:
    given = os.environ.get("XDG_CONFIG_HOME")
    return Path(given) if given else Path("~/.config").expanduser()


def _machine_folders() -> list[Path]:
    if sys.platform == "darwin":
        return [Path("/Library/Application Support")]
    given = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return [Path(folder) for folder in given.split(os.pathsep) if folder]
