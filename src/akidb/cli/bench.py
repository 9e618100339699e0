"""`akidb bench`: hands over to `akidb.bench`."""

import typer


def add_to(app: typer.Typer) -> None:
    """Declare the command; its options are the bench's own, `--help` included."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command("bench", context_settings=settings, add_help_option=False)(bench)


def bench(context: typer.Context) -> int:
    """Measure this machine, beside the raw driver and a peer."""
    from akidb.bench import main

    return main(context.args)
