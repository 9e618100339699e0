"""`akidb audit`: the record of what was done."""

from akidb.cli import everyday
from akidb.cli.session import group

app = group("audit", "The record of what was done.")

everyday.add(app, "audit", "list")
