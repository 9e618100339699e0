"""The route that examines the stores."""

from akidb.api.routing import Call, Routes
from akidb.domain.documents import Page
from akidb.ports.upkeep import Finding

routes = Routes("operation")


@routes.get("/v1/doctor")
def examine(call: Call) -> Page[Finding]:
    """Look at every store, also while others work."""
    return Page(items=call.operations.doctor())
