"""Run by Alembic on a connection, passed by the caller, that is already in a transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
