"""`akidb bench`: runs `akidb.bench`."""

import typer


def add_to(app: typer.Typer) -> None:
    """Declare the command. All options, `--help` included, are parsed by the benchmark."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command("bench", context_settings=settings, add_help_option=False)(bench)


def bench(context: typer.Context) -> int:
    """Benchmark AkiDB on this machine against the raw driver and another database."""
    from akidb.bench import main

    return main(context.args)
