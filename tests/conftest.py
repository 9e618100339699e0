"""Components that tests of every kind may ask for."""

from postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]
