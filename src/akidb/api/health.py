"""Routes for those who run a server: health, metrics, and the description of all routes."""

from typing import Literal

import msgspec

from akidb.api import metrics as figures
from akidb.api.routing import Call, Routes

routes = Routes("server")


class Health(msgspec.Struct):
    """All is well."""

    status: Literal["ok"] = "ok"


@routes.get("/health/live", inline=True)
def live(call: Call) -> Health:  # noqa: ARG001 - every handler is called alike
    """Tell whether the process answers."""
    return Health()


@routes.get("/health/ready")
def ready(call: Call) -> Health:
    """Tell whether the stores and the default model work."""
    call.app.operations.ready()
    return Health()


@routes.get("/metrics", aside=True, media_type=figures.MEDIA_TYPE)
def metrics(call: Call) -> bytes:
    """Get the server's figures in Prometheus's text form."""
    return call.app.metrics.render()


@routes.get("/openapi.json", inline=True)
def openapi(call: Call) -> bytes:
    """Get the OpenAPI description of all routes."""
    return call.app.description


@routes.get("/docs", inline=True, media_type="text/html")
def docs(call: Call) -> bytes:
    """Read the description in a browser."""
    return call.app.page
