"""The command tree of `akidb`: groups, commands and global options."""

from typing import Annotated

import typer

from akidb.cli import (
    audit,
    backup,
    bench,
    changes,
    collections,
    databases,
    demo,
    doctor,
    documents,
    maintain,
    migrate,
    models,
    ready,
    search,
    serve,
    settings,
    tenants,
    users,
)
from akidb.cli.session import Data, Json, Shared, Url, Wait, require_command

# Coloured help would double the run time of `--help`.
app = typer.Typer(
    name="akidb", rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)

GROUPS = (tenants, databases, collections, documents, users, models, audit, migrate)
COMMANDS = (demo, serve, ready, search, changes, backup, doctor, maintain, settings, bench)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    *,
    url: Url = None,
    data: Data = None,
    json: Json = False,
    wait: Wait = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """AkiDB, a multi-tenant vector database with built-in text embeddings.

    Data is stored in the directory akidb-data, unless --data, --url, AKIDB_URL or akidb.toml overrides it.
    """
    if version:
        from akidb import __version__

        typer.echo(f"akidb {__version__}")
        raise typer.Exit
    context.obj = Shared(url, data, json, wait)
    require_command(context)


for _module in COMMANDS:
    _module.add_to(app)
for _group in GROUPS:
    app.add_typer(_group.app)
