"""The context of a command (settings, connection, output), and the declaration of commands.

The options `--url`, `--data`, `--wait` and `--json` are accepted before and after the command. They are
handled only here.
"""

import functools
import inspect
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, NamedTuple, ParamSpec, Self

import typer

from akidb.cli.arguments import naming_options
from akidb.cli.output import Output
from akidb.domain.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from akidb.operations.declare import Operations
    from akidb.settings import Loaded, Settings

P = ParamSpec("P")
Command = Callable[Concatenate["Session", P], int | None]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="A directory, sqlite:///PATH, postgresql://HOST/DATABASE or http://HOST:PORT.",
    ),
]
Data = Annotated[str | None, typer.Option("--data", metavar="DIR", help="A data directory.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output.")]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait", metavar="SECONDS", help="Wait this long for another process to close the directory; 0: not."
    ),
]


class Shared(NamedTuple):
    """The options that every command has, as given before or after the command."""

    url: str | None = None
    data: str | None = None
    json: bool = False
    wait: float | None = None

    def joined(self, other: "Shared") -> "Shared":
        """Merge the options from before and after the command."""
        urls = [url for url in (self.url, other.url) if url is not None]
        directories = [data for data in (self.data, other.data) if data is not None]
        if len(urls) + len(directories) > 1:
            raise InvalidArgument("url", "give one of --url and --data, once")
        return Shared(
            next(iter(urls), None),
            next(iter(directories), None),
            json=self.json or other.json,
            wait=self.wait if other.wait is None else other.wait,
        )


class Session:
    """One run of one command. Expensive attributes are created lazily."""

    def __init__(self, shared: Shared, *, makes_store: bool) -> None:
        self._url, self._data, self._wait = shared.url, shared.data, shared.wait
        self._makes_store = makes_store
        self.out = Output(json=shared.json)
        self._opened: Operations | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):  # typer passes on only its status
            for note in getattr(error, "__notes__", ()):
                print(f"interrupted: {note}", file=sys.stderr, flush=True)
        if self._opened is not None:
            self._opened.close()

    @functools.cached_property
    def loaded(self) -> "Loaded":
        """The settings, overridden by the command line, and where each came from."""
        from akidb.settings import load_with_sources

        where = self._data if self._url is None else self._url
        with naming_options({} if self._wait is None else {"open_wait_seconds": "wait"}):
            return load_with_sources(url=where, open_wait_seconds=self._wait)

    @property
    def settings(self) -> "Settings":
        """The settings, overridden by the command line."""
        return self.loaded.settings

    @functools.cached_property
    def place(self) -> str | Path:
        """The location of the data: the URL of a server or database, or the path of a directory."""
        from akidb.client.connect import resolve, resolve_directory

        if self._data is not None:
            with naming_options({"url": "data"}):
                return resolve_directory(self._data)
        with self.loaded.named():
            return resolve(self.settings.url)

    @property
    def program(self) -> str:
        """The shell command line of this program with the same data location, for hints."""
        given = (("--url", self._url), ("--data", self._data))
        options = [word for name, value in given if value is not None for word in (name, masked(value))]
        return shlex.join([*this_program(), *options])

    @property
    def is_remote(self) -> bool:
        """Whether the location is a server."""
        from akidb.client.connect import is_server

        return is_server(self.place)

    @property
    def directory(self) -> Path:
        """The data directory. Raises InvalidArgument for a server or database."""
        if isinstance(self.place, str):
            what = "server" if self.is_remote else "database"
            raise InvalidArgument("url", f"must be a data directory here, not the {what} {self.shown_place}")
        return self.place

    @property
    def shown_place(self) -> str:
        """The location, with any password in its URL masked."""
        return masked(str(self.place))

    @property
    def stores(self) -> str | Path:
        """The location that this process can open itself: a directory or the URL of a PostgreSQL database.

        Raises InvalidArgument for a server.
        """
        if self.is_remote:
            raise InvalidArgument(
                "url",
                f"must be a data directory or a PostgreSQL database here, not the server {self.shown_place}",
            )
        return self.place

    @property
    def operations(self) -> "Operations":
        """The operations, in process or on a server; opened on first use.

        Raises NotFound for a directory without a store, unless the command may create one.
        """
        if self._opened is None:
            from akidb.client.connect import bind

            if not self._makes_store:
                self.require_store()
            self._opened = bind(self.place, self.settings)
        return self._opened

    def require_store(self) -> None:
        """Raise NotFound if the store does not exist: opening a mistyped directory would create one."""
        if not isinstance(self.place, Path):
            return
        from akidb.deployment.note import METADATA_NAME

        if not (self.place / METADATA_NAME).exists():
            import akidb.deployment.local  # noqa: F401 - without it no command can create one

            error = NotFound("store", self.place)
            error.add_note("`akidb tenant create`, `akidb serve` and `akidb demo` create one")
            if (source := self.loaded.sources["url"]).name is not None:
                error.add_note(f"the setting url is from the {source}")
            raise error


def command(app: typer.Typer, name: str, *, makes_store: bool = False) -> Callable[[Command[P]], Command[P]]:
    """Register a function as a command of `app`, with the shared options in addition to its own.

    Only a command with `makes_store` accepts a directory without a store.
    """

    def register(function: Command[P]) -> Command[P]:
        own = list(inspect.signature(function).parameters.values())[1:]

        @functools.wraps(function)
        def run(
            context: typer.Context,
            url: str | None,
            data: str | None,
            json: bool,
            wait: float | None,
            **given: Any,
        ) -> int | None:
            before = context.find_object(Shared) or Shared()
            with Session(before.joined(Shared(url, data, json, wait)), makes_store=makes_store) as session:
                return function(session, **given)  # type: ignore[call-arg]

        shared = [
            _keyword("url", Url, None),
            _keyword("data", Data, None),
            _keyword("json", Json, default=False),
            _keyword("wait", Wait, None),
        ]
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*parameters, *shared, context])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*parameters, *shared, context)}
        app.command(name)(run)
        return function

    return register


def group(name: str, help: str) -> typer.Typer:
    """Create a group of commands, such as `akidb tenant`."""
    return typer.Typer(
        name=name, help=help, rich_markup_mode=None, invoke_without_command=True, callback=require_command
    )


def require_command(context: typer.Context) -> None:
    """Print the help and exit with 2 if no command is given."""
    if context.invoked_subcommand is None:
        if (context.find_object(Shared) or Shared()).json:
            raise InvalidArgument("command", "is missing")
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def this_program() -> list[str]:
    """Return the command that runs this program from the current directory, even if it is not on the PATH."""
    if shutil.which("akidb") is not None:
        return ["akidb"]
    for script in (Path(sys.argv[0]).absolute(), Path(sys.executable).with_name("akidb")):
        if script.name == "akidb" and script.is_file():
            return [_from_here(script)]
    return [sys.executable, "-m", "akidb"]


def masked(url: str) -> str:
    """Mask the passwords in a URL."""
    if "://" not in url:
        return url
    url = re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", url)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", url)


def _from_here(script: Path) -> str:
    if not script.is_relative_to(here := Path.cwd()):
        return str(script)
    # A shell searches only the PATH for a word without a slash.
    return f"./{script.name}" if script.parent == here else str(script.relative_to(here))


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def confirm(session: Session, question: str, *, yes: bool) -> None:
    """Ask for confirmation. Raises InvalidArgument without a terminal, unless `--yes` was given."""
    if yes:
        return
    if not sys.stdin.isatty() or session.out.json:
        raise InvalidArgument("yes", "this cannot be undone: confirm with --yes")
    if not typer.confirm(question, err=True):
        raise typer.Abort
