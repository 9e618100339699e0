"""Routes for operators: health, metrics, and the API description."""

from typing import Literal

import msgspec

from akidb.api import metrics as figures
from akidb.api.routing import Call, Routes

routes = Routes("server")


class Health(msgspec.Struct):
    """The response of a healthy server."""

    status: Literal["ok"] = "ok"


@routes.get("/health/live", inline=True)
def live(call: Call) -> Health:  # noqa: ARG001 - all handlers have the same signature
    """Check that the process is alive."""
    return Health()


@routes.get("/health/ready", aside=True)
def ready(call: Call) -> Health:
    """Check that the stores and the default model work."""
    call.app.operations.ready()
    return Health()


@routes.get("/metrics", aside=True, media_type=figures.MEDIA_TYPE)
def metrics(call: Call) -> bytes:
    """Get the server's metrics in the Prometheus text format."""
    return call.app.metrics.render()


@routes.get("/openapi.json", inline=True)
def openapi(call: Call) -> bytes:
    """Get the OpenAPI description of all routes."""
    return call.app.description


@routes.get("/docs", inline=True, media_type="text/html")
def docs(call: Call) -> bytes:
    """Get the API description as an HTML page."""
    return call.app.page
