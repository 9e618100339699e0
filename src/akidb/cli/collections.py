"""`akidb collection`: documents whose vectors share a dimension, a metric and a model."""

from akidb.cli import everyday
from akidb.cli.session import group

app = group("collection", "Collections of documents with one dimension and metric.")

everyday.add(app, "collection", "create", "list", "count", "get", "update", "delete", "restore", "purge")
