"""AkiDB over HTTP: sends operations to a server and returns its responses or raises its errors.

The server enforces all rules. Request fields are also validated here, because JSON encoding would lose
some invalid values (NaN, keys that are not strings, bytes).
"""

from akidb.client.http.remote import HttpOperations

__all__ = ["HttpOperations"]
