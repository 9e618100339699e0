"""AkiDB over HTTP: requests of the table go to a server; its answers, or the errors raised there, come back.

The server decides. The checks of a request's fields are made here too, since JSON would lose what some of
them refuse (NaN, keys that are no text, bytes).
"""

from akidb.client.http.remote import HttpOperations

__all__ = ["HttpOperations"]
