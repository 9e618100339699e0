"""`akidb audit`: the audit log."""

from akidb.cli import everyday
from akidb.cli.session import group

app = group("audit", "The audit log.")

everyday.add(app, "audit", "list")
