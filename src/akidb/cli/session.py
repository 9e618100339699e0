"""What a command runs with: settings, the connection, the output; and how a command is declared.

The options `--url`, `--data` and `--json` stand before the command or after it. This is the one place
that knows them.
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

from akidb.cli.output import Output
from akidb.domain.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from akidb.operations.declare import Operations
    from akidb.settings import Settings

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


class Shared(NamedTuple):
    """The options of every command, as far as they were given in one place."""

    url: str | None = None
    data: str | None = None
    json: bool = False

    def joined(self, other: "Shared") -> "Shared":
        """Put together what stood before the command and after it."""
        urls = [url for url in (self.url, other.url) if url is not None]
        directories = [data for data in (self.data, other.data) if data is not None]
        if len(urls) + len(directories) > 1:
            raise InvalidArgument("url", "give one of --url and --data, once")
        return Shared(next(iter(urls), None), next(iter(directories), None), json=self.json or other.json)


class Session:
    """One run of one command. What is heavy is made when it is first asked for."""

    def __init__(self, shared: Shared, *, makes_store: bool) -> None:
        self._url, self._data = shared.url, shared.data
        self._makes_store = makes_store
        self.out = Output(json=shared.json)
        self._opened: Operations | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):  # of which typer lets no more through than the status
            for note in getattr(error, "__notes__", ()):
                print(f"interrupted: {note}", file=sys.stderr, flush=True)
        if self._opened is not None:
            self._opened.close()

    @functools.cached_property
    def settings(self) -> "Settings":
        """The settings, with what the command line says."""
        from akidb import settings

        return settings.load(url=self._data if self._url is None else self._url)

    @functools.cached_property
    def place(self) -> str | Path:
        """Where the data is: the URL of a server, or the path of a directory."""
        from akidb.client.connect import resolve

        # What --data names is a directory, also when it looks like a URL.
        return resolve(self.settings.url if self._data is None else Path(self._data))

    @property
    def program(self) -> str:
        """How a shell calls another command that works at the same place."""
        given = (("--url", self._url), ("--data", self._data))
        options = [word for name, value in given if value is not None for word in (name, _masked(value))]
        return shlex.join([*this_program(), *options])

    @property
    def is_remote(self) -> bool:
        """Whether another process was named, not a directory."""
        from akidb.client.connect import is_server

        return is_server(self.place)

    @property
    def directory(self) -> Path:
        """The data directory. Raises InvalidArgument when a server was named."""
        if isinstance(self.place, str):
            what = "server" if self.is_remote else "database"
            raise InvalidArgument("url", f"must be a data directory here, not the {what} {self.shown_place}")
        return self.place

    @property
    def shown_place(self) -> str:
        """The place without a password that its URL may hold."""
        return _masked(str(self.place))

    @property
    def stores(self) -> str | Path:
        """What this process may open itself: a directory, or the URL of a PostgreSQL database.

        Raises InvalidArgument when a server was named.
        """
        if self.is_remote:
            raise InvalidArgument(
                "url",
                f"must be a data directory or a PostgreSQL database here, not the server {self.shown_place}",
            )
        return self.place

    @property
    def operations(self) -> "Operations":
        """What can be asked, in this process or of a server; opened at the first use.

        Raises NotFound for a directory without a store, unless the command is one that makes it.
        """
        if self._opened is None:
            from akidb.client.connect import bind

            if not self._makes_store:
                self._require_store()
            self._opened = bind(self.place, self.settings)
        return self._opened

    def _require_store(self) -> None:
        """Opening makes a store where there is none: a directory that was mistyped must not become one."""
        from akidb.deployment.local import METADATA_NAME

        if isinstance(self.place, Path) and not (self.place / METADATA_NAME).exists():
            error = NotFound("store", self.place)
            error.add_note("`akidb tenant create`, `akidb serve` and `akidb demo` make one")
            raise error


def command(app: typer.Typer, name: str, *, makes_store: bool = False) -> Callable[[Command[P]], Command[P]]:
    """Make a function a command of `app`; beside its own options it takes those of every command.

    Only one that `makes_store` may be called for a directory that holds no store yet.
    """

    def register(function: Command[P]) -> Command[P]:
        own = list(inspect.signature(function).parameters.values())[1:]

        @functools.wraps(function)
        def run(
            context: typer.Context, url: str | None, data: str | None, json: bool, **given: Any
        ) -> int | None:
            before = context.find_object(Shared) or Shared()
            with Session(before.joined(Shared(url, data, json)), makes_store=makes_store) as session:
                return function(session, **given)  # type: ignore[call-arg]

        shared = [
            _keyword("url", Url, None),
            _keyword("data", Data, None),
            _keyword("json", Json, default=False),
        ]
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*parameters, *shared, context])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*parameters, *shared, context)}
        app.command(name)(run)
        return function

    return register


def group(name: str, help: str) -> typer.Typer:
    """Make a group of commands, such as `akidb tenant`."""
    return typer.Typer(
        name=name, help=help, rich_markup_mode=None, invoke_without_command=True, callback=require_command
    )


def require_command(context: typer.Context) -> None:
    """Answer a call that names no command with the help."""
    if context.invoked_subcommand is None:
        if (context.find_object(Shared) or Shared()).json:
            raise InvalidArgument("command", "is missing")
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def this_program() -> list[str]:
    """The words that call this program from the current directory, also where it is not on the PATH."""
    if shutil.which("akidb") is not None:
        return ["akidb"]
    for script in (Path(sys.argv[0]).absolute(), Path(sys.executable).with_name("akidb")):
        if script.name == "akidb" and script.is_file():
            return [_from_here(script)]
    return [sys.executable, "-m", "akidb"]


def _masked(url: str) -> str:
    """A URL as it may be shown."""
    if "://" not in url:
        return url
    url = re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", url)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", url)


def _from_here(script: Path) -> str:
    if not script.is_relative_to(here := Path.cwd()):
        return str(script)
    # A shell looks a word without a slash up on the PATH alone.
    return f"./{script.name}" if script.parent == here else str(script.relative_to(here))


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def confirm(session: Session, question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone; without a terminal `--yes` must have answered."""
    if yes:
        return
    if not sys.stdin.isatty() or session.out.json:
        raise InvalidArgument("yes", "this cannot be undone: say --yes")
    if not typer.confirm(question, err=True):
        raise typer.Abort
