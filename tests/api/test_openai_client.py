"""The unmodified OpenAI Python client, and the OpenAI format of the embeddings API."""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from .running import Process

MODEL = "all-minilm-l6-v2"
TEXTS = ["Where are vectors kept?", "Vectors live in SQL.", "A fox jumps over a fence."]


@pytest.fixture(scope="module")
def client(server: Process) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none is needed", max_retries=0) as connected:
        yield connected


def test_client_embeds_texts(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=MODEL, input=TEXTS)
    vectors = np.array([item.embedding for item in answer.data])
    assert vectors.shape == (3, 384)
    assert [item.index for item in answer.data] == [0, 1, 2]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert answer.model == MODEL
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > len(TEXTS)


def test_client_embeds_single_text_as_floats_with_all_options(client: openai.OpenAI) -> None:
    whole = client.embeddings.create(model=MODEL, input=TEXTS).data[0].embedding
    [item] = client.embeddings.create(
        model=MODEL, input=TEXTS[0], encoding_format="float", dimensions=384, user="somebody"
    ).data
    np.testing.assert_allclose(item.embedding, whole, atol=2e-6)


def test_client_lists_and_gets_models(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {MODEL, "hash"} <= set(models)
    assert client.models.retrieve(MODEL).id == MODEL
    assert models[MODEL].object == "model"


def test_client_raises_openai_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="no-such-model", input="x")
    assert unknown.value.code == "not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.embeddings.create(model=MODEL, input="x", dimensions=256)
    assert (wrong.value.param, wrong.value.code) == ("dimensions", "invalid_argument")
    assert "384" in wrong.value.message
    with pytest.raises(openai.BadRequestError) as tokens:
        client.embeddings.create(model=MODEL, input=[1, 2, 3])
    assert tokens.value.param == "input"
    assert "token ids" in tokens.value.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [[1, 2]]}, "input"),
        ({"input": 7}, "input"),
        ({"input": None}, "input"),
        ({"input": ["x", None]}, "input[1]"),
        ({"input": ["x", {}]}, "input[1]"),
        ({"input": []}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": ["x", "y" * (2**20 + 1)]}, "input[1]"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "temperature": 1}, "temperature"),
        ({}, "input"),
    ],
)
def test_invalid_request_error_names_parameter(http: httpx.Client, body: dict[str, Any], param: str) -> None:
    answer = http.post("/v1/embeddings", json={"model": "hash", **body})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        param,
        "invalid_argument",
    )


@pytest.mark.parametrize(
    "body",
    [
        {"encoding_format": None},
        {"dimensions": None},
        {"user": None},
        {"model": None},
        # As LiteLLM and Dify send it, with every option that they know.
        {"model": MODEL, "encoding_format": None, "dimensions": None, "user": None},
    ],
    ids=str,
)
def test_null_stands_for_the_default(http: httpx.Client, body: dict[str, Any]) -> None:
    answer = http.post("/v1/embeddings", json={"input": TEXTS[0], **body})
    assert answer.status_code == 200, answer.text
    assert answer.json() == http.post("/v1/embeddings", json={"input": TEXTS[0]}).json()


def test_client_sends_null_for_its_options(client: openai.OpenAI) -> None:
    extra = {"encoding_format": None, "dimensions": None, "user": None}
    answer = client.embeddings.create(model=MODEL, input=TEXTS[0], extra_body=extra)
    assert len(answer.data[0].embedding) == 384


def test_all_errors_of_openai_routes_have_openai_format(http: httpx.Client) -> None:
    answers = [
        http.put("/v1/embeddings"),
        http.post("/v1/embeddings", content=b"x=1"),
        http.post("/v1/embeddings", json={"input": "x"}, headers={"host": "evil.example"}),
        http.get("/v1/models?x=1"),
        http.get("/v1/models/a/b"),
        http.post("/v1/models/none/pull"),
    ]
    assert [answer.status_code for answer in answers] == [405, 415, 400, 400, 404, 404]
    for answer in answers:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_responses_include_akidb_extension_fields(http: httpx.Client) -> None:
    body = {"input": ["one two", "x " * 1000], "model": MODEL, "encoding_format": "base64"}
    short, long = http.post("/v1/embeddings", json=body).json()["data"]
    assert (short["token_count"], short["truncated"]) == (4, False)
    assert long["truncated"] is True
    assert np.frombuffer(b64decode(short["embedding"]), "<f4").shape == (384,)
    model = http.get(f"/v1/models/{MODEL}").json()
    assert (model["name"], model["dimension"], model["installed"]) == (MODEL, 384, True)
    assert http.post("/v1/models/hash/pull").json()["name"] == "hash"


def test_default_model_is_used_when_none_is_given(http: httpx.Client) -> None:
    answer = http.post("/v1/embeddings", json={"input": "x", "dimensions": 384}).json()
    assert answer["model"] == MODEL
