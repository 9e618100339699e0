"""`akidb.ports.operations.Operations` of a server, over HTTP.

The server checks and decides; here arguments become requests, and answers values or the exceptions
that were raised there. What JSON cannot carry (NaN, keys that are no text) is refused before it is sent, by
the same checks of the domain.
"""

from akidb.client.http.archives import HttpArchives
from akidb.client.http.caller import Caller
from akidb.client.http.changes import HttpChanges
from akidb.client.http.collections import HttpCollections
from akidb.client.http.databases import HttpDatabases
from akidb.client.http.documents import HttpDocuments
from akidb.client.http.migration import HttpMigration
from akidb.client.http.models import HttpEmbeddings, HttpModels
from akidb.client.http.tenants import HttpAudit, HttpTenants
from akidb.client.http.transport import Transport
from akidb.client.http.users import HttpUsers
from akidb.domain.documents import Page
from akidb.ports.upkeep import Finding, MaintenanceReport

__all__ = ["HttpOperations"]


class HttpOperations:
    """Everything AkiDB can be asked, asked of a server. Safe to use from several threads at once."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        """Speak to the server at `http://HOST:PORT`, `https://...` or `unix:///PATH` of its socket."""
        self._caller = Caller(Transport(url, timeout_seconds=timeout_seconds))
        self.tenants = HttpTenants(self._caller)
        self.databases = HttpDatabases(self._caller)
        self.collections = HttpCollections(self._caller)
        self.documents = HttpDocuments(self._caller)
        self.changes = HttpChanges(self._caller)
        self.embeddings = HttpEmbeddings(self._caller)
        self.models = HttpModels(self._caller)
        self.users = HttpUsers(self._caller)
        self.audit = HttpAudit(self._caller)
        self.archives = HttpArchives(self._caller)
        self.migration = HttpMigration()

    def doctor(self) -> list[Finding]:
        """Have the server look at every store."""
        return self._caller.get(Page[Finding], "/v1/doctor").items

    def maintain(self) -> MaintenanceReport:
        """Have the server run a round of maintenance."""
        return self._caller.ask(MaintenanceReport, "/v1/maintenance", {})

    def close(self) -> None:
        """Close the connections. Later calls raise Unavailable."""
        self._caller.close()
