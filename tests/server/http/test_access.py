"""Who may call: tokens, pages of other sites, /shutdown. And what ends the server besides."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route

from cog_server.http.access import OPEN_PATHS
from cog_server.http.app import create_app
from cog_server.jobs.service import Service
from cog_server.observe.logs import ModelLog
from cog_server.predictions.store.memory import MemoryStore
from cog_server.settings import Settings, SettingsError, read_settings
from cog_server.worker.pool import WorkerPool
from tests.server.conftest import Serve, Server, serving, wait_until

SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, sleep_s: float = 0.0) -> str:
            time.sleep(sleep_s)
            return " ".join(f"{name}={value}" for name, value in os.environ.items())
"""
OLD, NEW, FILED = "old-t0ken-A1", "new-t0ken-B2", "filed-t0ken-C3"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"{FILED}\n")
    environment = {"COG_AUTH_TOKEN": f"{OLD}, {NEW}", "COG_AUTH_TOKEN_FILE": str(folder / "token")}
    with serving(folder) as start:
        yield start(SOURCE, environment=environment)


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("open")) as start:
        yield start(SOURCE)


def _routes() -> list[tuple[str, str]]:
    """Every (method, path) of the application, in both modes."""

    async def routes(mode: str) -> list[BaseRoute]:
        settings = Settings(target="predict.py:Predictor", mode=mode)
        model_log = ModelLog(settings.log_format)
        pool = WorkerPool(settings, on_text=model_log.write)
        service = Service(settings, MemoryStore(1), pool, model_log, shut_down=lambda code: None)
        return create_app(settings, service, shut_down=lambda code: None).app.routes

    found = []
    for route in [route for mode in ("predict", "train") for route in asyncio.run(routes(mode))]:
        assert isinstance(route, Mount | Route), f"how is {route} called?"
        path = re.sub(r"{.*?}", "x", route.path)
        if isinstance(route, Mount):
            found.append(("GET", f"{path}/swagger-ui.css"))
        else:
            found += [(method, path) for method in sorted(route.methods or {"GET"})]
    return sorted(set(found))


def test_every_path_but_the_open_ones_needs_a_token(guarded: Server) -> None:
    walked = [*_routes(), ("GET", "/nowhere"), ("POST", "/predictions/"), ("OPTIONS", "/predictions")]
    closed = {(method, path): guarded.http.request(method, path) for method, path in walked if path not in OPEN_PATHS}

    assert len(closed) > 10
    assert {key: answer.status_code for key, answer in closed.items()} == dict.fromkeys(closed, 401)
    for (method, _), answer in closed.items():
        assert answer.headers["www-authenticate"] == "Bearer"
        assert method == "HEAD" or answer.json()["status"] == 401


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
def test_the_open_paths_need_none(guarded: Server, path: str) -> None:
    assert guarded.http.get(path).status_code == 200


@pytest.mark.parametrize("token", [OLD, NEW, FILED])
def test_each_token_lets_in(guarded: Server, token: str) -> None:
    assert guarded.http.post("/predictions", headers=bearer(token)).status_code == 200
    assert guarded.http.get("/docs", headers={"authorization": f"bearer {token}"}).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer wrong",
        b"Bearer old-t0ken-A",
        b"Bearer old-t0ken-A1x",
        b"Bearer old-t0ken-A1, new-t0ken-B2",
        b"Bearer ,",
        b"Basic old-t0ken-A1",
        b"old-t0ken-A1",
        "Bearer ą".encode(),
        b"Bearer \xff\xfe",
    ],
    ids=str,
)
def test_anything_else_does_not(guarded: Server, value: bytes) -> None:
    answer = guarded.http.post("/predictions", headers=[(b"authorization", value)])

    assert answer.status_code == 401


def test_two_authorizations_are_none(guarded: Server) -> None:
    headers = [("authorization", f"Bearer {OLD}"), ("authorization", f"Bearer {NEW}")]

    assert guarded.http.post("/predictions", headers=headers).status_code == 401


def test_a_trailer_is_no_header(guarded: Server) -> None:
    host, _, port = guarded.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
            b"\r\n2\r\n{}\r\n0\r\nAuthorization: Bearer old-t0ken-A1\r\n\r\n"
        )
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 401 ")


def test_no_token_is_in_a_log_an_answer_or_the_worker(guarded: Server) -> None:
    answers = [guarded.http.post("/predictions", headers=bearer(OLD)).json()["output"]]
    answers += [guarded.http.get(path, headers=bearer(NEW)).text for path in ("/", "/health-check", "/openapi.json")]
    answers += [guarded.http.get("/x", headers=bearer(token + "x")).text for token in (OLD, NEW, FILED)]

    assert "COG_PREDICT=" in answers[0]
    for text in [*answers, guarded.log.read_text()]:
        assert "t0ken" not in text
        assert "COG_AUTH_TOKEN=" not in text
        assert "COG_AUTH_TOKEN_FILE" not in text


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"COG_AUTH_TOKEN": ""}, "COG_AUTH_TOKEN is set but holds no token"),
        ({"COG_AUTH_TOKEN": " ,\n"}, "holds no token"),
        ({"COG_AUTH_TOKEN": "two s3cret words"}, "visible ASCII"),
        ({"COG_AUTH_TOKEN": "s3cret-ą"}, "visible ASCII"),
        ({"COG_AUTH_TOKEN_FILE": "/nowhere"}, "/nowhere cannot be read: No such file"),
        ({"COG_AUTH_TOKEN_FILE": "/dev/null"}, "COG_AUTH_TOKEN_FILE is set but holds no token"),
        ({"COG_CORS_ORIGINS": "null"}, "an origin is"),
        ({"COG_CORS_ORIGINS": "https://a.test/path"}, "an origin is"),
    ],
    ids=str,
)
def test_a_setting_that_would_let_in_too_many_is_an_error(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as error:
        read_settings({"COG_PREDICT": "predict.py:Predictor", **environment})

    assert "s3cret" not in str(error.value)


def test_settings_do_not_show_their_tokens() -> None:
    assert OLD not in repr(read_settings({"COG_PREDICT": "predict.py:Predictor", "COG_AUTH_TOKEN": OLD}))


OWN = [
    {},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    {"origin": "http://model.test"},
    {"origin": "http://MODEL.test:80"},
    {"origin": "https://model.test"},
    {"origin": "https://outside.test", "x-forwarded-host": "outside.test"},
    {"origin": "https://inner.test", "sec-fetch-site": "same-origin"},
]
FOREIGN = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://model.test"},
    {"origin": "http://evil.test"},
    {"origin": "http://model.test:8080"},
    {"origin": "http://model.test.evil.test"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "ą".encode().decode("latin-1")},
]


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_a_page_of_the_same_origin_may_start_a_prediction(open_server: Server, headers: dict[str, str]) -> None:
    answer = open_server.http.post("/predictions", headers={"host": "model.test", **headers})

    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_may_not(open_server: Server, headers: dict[str, str]) -> None:
    raw = [(name, value.encode("latin-1")) for name, value in {"host": "model.test", **headers}.items()]

    assert open_server.http.post("/predictions", headers=raw).status_code == 403
    assert open_server.http.put("/predictions/a", headers=raw).status_code == 403
    assert open_server.http.post("/predictions/a/cancel", headers=raw).status_code == 403
    assert open_server.http.get("/predict", headers=raw).status_code == 403
    assert open_server.http.head("/predict", headers=raw).status_code == 403
    assert open_server.http.get("/health-check", headers=raw).status_code == 200
    assert open_server.http.get("/docs", headers=raw).status_code == 200


def test_allowed_origins_may_and_get_their_headers(serve: Serve) -> None:
    environment = {"COG_CORS_ORIGINS": "https://app.test, http://localhost:3000", "COG_AUTH_TOKEN": NEW}
    server = serve(SOURCE, environment=environment)
    origin = {"origin": "https://app.test", "sec-fetch-site": "cross-site"}
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}

    before = server.http.options("/predictions", headers={**origin, **asked})
    answer = server.http.post("/predictions", headers={**origin, **bearer(NEW)})
    refused = server.http.post("/predictions", headers=origin)
    other = server.http.post("/predictions", headers={**bearer(NEW), "origin": "https://other.test"})

    assert before.status_code == 200
    assert "authorization" in before.headers["access-control-allow-headers"].lower()
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://app.test")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://app.test")
    assert (other.status_code, other.headers.get("access-control-allow-origin")) == (403, None)


def test_a_star_allows_every_page(serve: Serve) -> None:
    server = serve(SOURCE, environment={"COG_CORS_ORIGINS": "*"})

    answer = server.http.post("/predictions", headers={"origin": "null", "sec-fetch-site": "cross-site"})

    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


def test_shutdown_needs_a_token_to_exist(open_server: Server) -> None:
    answer = open_server.http.post("/shutdown")

    assert answer.status_code == 404
    assert "COG_AUTH_TOKEN" in answer.json()["detail"]
    assert open_server.predict()["status"] == "succeeded"


@pytest.mark.slow
def test_shutdown_lets_what_runs_end(serve: Serve) -> None:
    server = serve(SOURCE, environment={"COG_AUTH_TOKEN": NEW})
    answers: list[httpx.Response] = []

    def predict() -> None:
        with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
            answers.append(client.post("/predictions", json={"input": {"sleep_s": 2}}, headers=bearer(NEW)))

    thread = threading.Thread(target=predict)
    thread.start()
    wait_until(lambda: server.health()["status"] == "BUSY", "it does not begin")

    assert server.http.post("/shutdown").status_code == 401
    asked = server.http.post("/shutdown", headers=bearer(NEW))
    server.process.send_signal(signal.SIGTERM)  # The first signal: it drains, as it did before.
    thread.join()

    assert (asked.status_code, asked.json()) == (200, {})
    assert server.process.wait(20) == 0
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "succeeded")]


def test_with_await_explicit_shutdown_sigterm_is_ignored(serve: Serve) -> None:
    server = serve(SOURCE, environment={"COG_AUTH_TOKEN": NEW}, arguments=["--await-explicit-shutdown", "true"])

    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "SIGTERM is ignored" in server.log.read_text(), "it does not say so")
    still = server.http.post("/predictions", headers=bearer(NEW))
    server.http.post("/shutdown", headers=bearer(NEW))

    assert still.status_code == 200
    assert server.process.wait(20) == 0


def test_with_await_explicit_shutdown_the_second_sigint_ends_at_once(serve: Serve) -> None:
    server = serve(SOURCE, arguments=["--await-explicit-shutdown", "true"])
    assert "only SIGINT ends this server" in server.log.read_text()
    server.http.post("/predictions", json={"input": {"sleep_s": 25}}, headers={"prefer": "respond-async"})

    server.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGINT)

    assert server.process.wait(10) == 1
