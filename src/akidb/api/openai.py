"""OpenAI-compatible routes for embeddings and models: a codec in front of the operations."""

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from akidb.api.routing import Call, Routes
from akidb.domain.embedding import ModelInfo
from akidb.domain.errors import InvalidArgument, NotFound
from akidb.operations.embeddings import EmbedTexts, GetModel, ListModels, PullModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_embeddings, _models = Routes("embedding"), Routes("model")


class EmbeddingRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Texts to embed, with the default model if none is given."""

    input: Any
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = None
    user: str | None = None


class EmbeddingItem(msgspec.Struct, kw_only=True):
    """The vector of one text: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    token_count: int
    truncated: bool


class EmbeddingUsage(msgspec.Struct, kw_only=True):
    """The number of tokens that the model processed."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, kw_only=True):
    """Vectors in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


@_embeddings.post("/v1/embeddings", changes=False, raises=(NotFound,))
def create(call: Call, body: EmbeddingRequest) -> EmbeddingList:
    """Embed a text or a list of texts (OpenAI's API)."""
    texts = _texts(body.input)
    if body.dimensions is not None:
        _check_dimensions(call, body.model, body.dimensions)
    try:
        result = call.operations.perform(EmbedTexts(texts=texts, model=body.model))
    except InvalidArgument as error:
        raise _as_input(error) from None
    encode = _base64 if body.encoding_format == "base64" else _numbers
    tokens = sum(result.token_counts)
    return EmbeddingList(
        data=[
            EmbeddingItem(index=i, embedding=encode(vector), token_count=count, truncated=truncated)
            for i, (vector, count, truncated) in enumerate(
                zip(result.vectors, result.token_counts, result.truncated, strict=True)
            )
        ],
        model=result.model,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _texts(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        raise InvalidArgument("input", "must be a string or a list of strings")
    for i, text in enumerate(given):
        if isinstance(text, int | list):
            raise InvalidArgument("input", "token ids are not supported; send the text")
        if not isinstance(text, str):
            raise InvalidArgument(f"input[{i}]", "must be a string")
    return given


def _as_input(error: InvalidArgument) -> InvalidArgument:
    """Rename the field `texts` to `input`, as it is called by this route."""
    if not error.field.startswith("texts"):
        return error
    return InvalidArgument(error.field.replace("texts", "input", 1), error.reason)


def _check_dimensions(call: Call, model: str | None, dimensions: int) -> None:
    name = model or call.app.settings.default_model
    dimension = call.operations.perform(GetModel(model=name)).dimension
    if dimensions != dimension:
        raise InvalidArgument("dimensions", f"must be {dimension}, the dimension of {name}, or absent")


def _numbers(vector: "NDArray[np.float32]") -> list[float]:
    numbers: list[float] = vector.tolist()
    return numbers


def _base64(vector: "NDArray[np.float32]") -> str:
    return b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")


class Model(ModelInfo, frozen=True, kw_only=True):
    """A model, installed or not. Its file path is sent only over the Unix socket."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "akidb"


class ModelList(msgspec.Struct, kw_only=True):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


@_models.get("/v1/models")
def list_(call: Call) -> ModelList:
    """List all known models, installed or not (OpenAI's API)."""
    return ModelList(data=[_model(call, info) for info in call.operations.perform(ListModels())])


@_models.get("/v1/models/{model}")
def get(call: Call) -> Model:
    """Get one model (OpenAI's API)."""
    return _model(call, call.operations.perform(GetModel(model=call.places["model"])))


@_models.post("/v1/models/{model}/pull")
def pull(call: Call) -> Model:
    """Download a model onto the server, unless it is installed; the response is sent when that is done."""
    return _model(call, call.operations.perform(PullModel(model=call.places["model"])))


def _model(call: Call, info: ModelInfo) -> Model:
    shown = info if call.is_local else msgspec.structs.replace(info, path=None)
    return Model(id=info.name, **msgspec.structs.asdict(shown))


routes = [*_embeddings, *_models]
