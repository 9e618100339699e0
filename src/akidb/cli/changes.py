"""`akidb changes`: the change feed of a tenant or a collection, as JSON lines."""

from typing import Annotated, Any

import typer

from akidb.cli.arguments import Limit, collection_path
from akidb.cli.output import flush_output, write_bytes
from akidb.cli.session import Session, command
from akidb.domain.changes import ChangePage
from akidb.domain.documents import DEFAULT_INCLUDE, MAX_PAGE_LIMIT, Include
from akidb.domain.errors import InvalidArgument
from akidb.operations.changes import GetCollectionChanges, GetTenantChanges

FOLLOW_SECONDS = 30


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "changes")(changes)


def changes(
    session: Session,
    path: Annotated[str, typer.Argument(metavar="T[/D/C]", help="A tenant's metadata, or a collection.")],
    *,
    since: Annotated[int, typer.Option(help="next_since of the last line; 0 is the beginning.")] = 0,
    feed: Annotated[str | None, typer.Option(help="The feed of the last line.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more changes, until Ctrl-C.")] = False,
    limit: Limit = MAX_PAGE_LIMIT,
    vectors: Annotated[bool, typer.Option("--vectors", help="Include the vectors.")] = False,
) -> None:
    """Print the changes after a sequence number, as JSON lines.

    Each page ends with a line of `next_since` and `feed`; pass them to --since and --feed to continue.
    """
    from akidb.ports import wire

    include = DEFAULT_INCLUDE | {Include.VECTOR} if vectors else DEFAULT_INCLUDE
    wait_seconds = 0
    while True:
        page = _read(session, path, include, since=since, feed=feed, limit=limit, wait_seconds=wait_seconds)
        moved = (page.next_since, page.feed) != (since, feed)
        since, feed = page.next_since, page.feed
        if page.changes or moved or wait_seconds == 0:
            lines: list[Any] = [*page.changes, {"next_since": since, "feed": feed}]
            write_bytes(b"".join(wire.encode(line) + b"\n" for line in lines))
            flush_output()  # a follower reads them now
        if not page.more:
            if not follow:
                return
            wait_seconds = FOLLOW_SECONDS


def _read(session: Session, path: str, include: frozenset[Include], **where: Any) -> ChangePage[Any]:
    if "/" not in path and Include.VECTOR in include:
        raise InvalidArgument("vectors", "is for the documents of a collection: give T/D/C")
    if "/" in path:
        request = GetCollectionChanges(**collection_path(path)._asdict(), include=include, **where)
        return session.operations.perform(request)
    return session.operations.perform(GetTenantChanges(tenant=path, **where))
