"""Routes of embedding models, as OpenAI's clients know them, with what AkiDB knows besides."""

from typing import Literal

import msgspec

from akidb.api.routing import Call, Routes
from akidb.ports.embedding import ModelInfo

routes = Routes("models")


class Model(msgspec.Struct, kw_only=True):
    """A model, installed or not."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "akidb"
    name: str
    embedder: str
    dimension: int
    max_tokens: int
    fingerprint: str
    installed: bool
    size_bytes: int
    license: str
    path: str | None
    """Where its files lie; told through the Unix socket alone."""


class ModelList(msgspec.Struct, kw_only=True):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


@routes.get("/v1/models")
def list_(call: Call) -> ModelList:
    """List all known models, installed or not (OpenAI's API)."""
    return ModelList(data=[_model(call, info) for info in call.operations.models.list()])


@routes.get("/v1/models/{model}")
def get(call: Call) -> Model:
    """Get one model (OpenAI's API)."""
    return _model(call, call.operations.models.info(call.places["model"]))


@routes.post("/v1/models/{model}/pull", slow=True)
def pull(call: Call) -> Model:
    """Fetch a model onto the server, unless it is there; answered when it is done."""
    return _model(call, call.operations.models.pull(call.places["model"]))


def _model(call: Call, info: ModelInfo) -> Model:
    shown = info if call.is_local else msgspec.structs.replace(info, path=None)
    return Model(id=info.name, **msgspec.structs.asdict(shown))
