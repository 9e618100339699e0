"""`akidb database`: groups of collections of one tenant."""

from akidb.cli import everyday
from akidb.cli.session import group

app = group("database", "Databases: named groups of collections of a tenant.")

everyday.add(app, "database", "create", "list", "count", "get", "update", "delete", "restore", "purge")
