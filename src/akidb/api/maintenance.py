"""The route that runs maintenance now."""

from akidb.api.routing import Call, Routes
from akidb.ports.upkeep import MaintenanceReport

routes = Routes("operation")


@routes.post("/v1/maintenance", changes=False, slow=True)
def maintain(call: Call) -> MaintenanceReport:
    """Run a round of maintenance now.

    A server does so by itself every minute: it purges what is past its retention, and finishes what a
    crash left.
    """
    return call.operations.maintain()
