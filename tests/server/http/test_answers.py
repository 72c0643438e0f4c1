"""Every refusal has one shape, whoever gives it: a route, the router, or an accident."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from cog_server.http.routes.answers import add_problem_answers
from tests.server.conftest import Server, serving

SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, text: str = "you") -> str:
            return text
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("answers")) as start:
        yield start(SOURCE)


def _assert_problem(answer: httpx.Response, status: int, title: str) -> dict[str, object]:
    document = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (document["status"], document["title"]) == (status, title)
    assert isinstance(document["error"], str)
    return dict(document)


def test_a_refusal_carries_its_detail_and_for_old_clients_its_error(server: Server) -> None:
    document = _assert_problem(server.http.get("/predictions/nobody"), 404, "Not Found")

    assert document["detail"] == document["error"] == "there is no prediction of this id"


def test_a_422_keeps_its_list_of_places(server: Server) -> None:
    answer = server.http.post("/predictions", json={"input": {"text": 5}})

    document = _assert_problem(answer, 422, answer.json()["title"])
    assert document["detail"] == [
        {"loc": ["body", "input", "text"], "msg": "Input should be a valid string", "type": "string_type"}
    ]
    assert document["error"] == "body.input.text: Input should be a valid string"


@pytest.mark.parametrize("path", ["/nowhere", "/predictions/", "/docs/assets/nothing.js"])
def test_an_unknown_path_is_a_problem(server: Server, path: str) -> None:
    document = _assert_problem(server.http.get(path), 404, "Not Found")

    assert "GET /" in str(document["detail"])


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(server: Server) -> None:
    answer = server.http.delete("/predictions/a/cancel")

    _assert_problem(answer, 405, "Method Not Allowed")
    assert answer.headers["allow"] == "POST"


def test_an_accident_is_a_problem_without_a_word_of_its_inside() -> None:
    app = FastAPI()
    add_problem_answers(app)

    @app.get("/")
    async def fail() -> None:
        raise RuntimeError("/secret/path")

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/")

    answer = asyncio.run(get())

    _assert_problem(answer, 500, "Internal Server Error")
    assert "secret" not in answer.text
