"""`POST /predictions` and `/predict`, over real HTTP, with a real worker."""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cog_server.__main__ import listen
from tests.server.conftest import Serve, Server, serving, wait_until

ECHO = """
    class Predictor(BasePredictor):
        def predict(self, text: str = Input(default="you", max_length=10), times: int = Input(default=1, ge=1, le=3)) -> str:
            print("running", text)
            return " ".join([text] * times)
"""


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave nothing behind in it."""
    with serving(tmp_path_factory.mktemp("echo")) as start:
        yield start(ECHO)


def test_a_prediction_answers_with_every_documented_field(echo: Server) -> None:
    document = echo.predict(text="hi", times=2)

    assert document["status"] == "succeeded"
    assert document["output"] == "hi hi"
    assert document["input"] == {"text": "hi", "times": 2}
    assert document["logs"] == "running hi\n"
    assert document["error"] is None
    assert document["metrics"]["predict_time"] >= 0
    assert document["id"]
    assert document["created_at"] <= document["started_at"] <= document["completed_at"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"input": null}', b'{"input": {}}'], ids=str)
def test_defaults_fill_in_for_what_is_not_given(echo: Server, body: bytes) -> None:
    answer = echo.http.post("/predictions", content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["output"]) == (200, "you")


@pytest.mark.parametrize(
    ("given", "place", "word"),
    [
        ({"times": "2"}, ["body", "input", "times"], "integer"),
        ({"times": True}, ["body", "input", "times"], "integer"),
        ({"times": 4}, ["body", "input", "times"], "less than or equal to 3"),
        ({"text": 5}, ["body", "input", "text"], "string"),
        ({"text": "x" * 11}, ["body", "input", "text"], "10 characters"),
        ({"txet": "x"}, ["body", "input", "txet"], "did you mean 'text'"),
        ({"text": float("nan")}, ["body", "input", "text"], "NaN, which is no JSON number"),
    ],
    ids=str,
)
def test_a_wrong_input_is_a_422_that_names_the_field(
    echo: Server, given: dict[str, object], place: list[str], word: str
) -> None:
    body = json.dumps({"input": given})
    answer = echo.http.post("/predictions", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == place
    assert word in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b"\xff", 400),
        (b'{"input": {"times": NaN}}', 422),
        (b'{"input": {"times": ' + b"1" * 5000 + b"}}", 422),
        (b'{"input": {"text": "a"}, "input": {"text": "b"}}', 422),
        (b'{"input": {"text": "\\ud800"}}', 422),
        (b'{"input": {"text": ' + b"[" * 200 + b"]" * 200 + b"}}", 422),
        (b'{"id": "../../etc"}', 422),
        (b'{"context": {"a": 1}}', 422),
        (b'{"input": []}', 422),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_body_is_refused_and_never_a_server_error(echo: Server, body: bytes, status: int) -> None:
    answer = echo.http.post("/predictions", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == status, answer.text


def test_a_regular_expression_that_backtracks_stops_nobody(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(
                self, s: str = Input(default="", regex="^(a+)+$|^$"), look: str = Input(default="", regex="^(?!x)")
            ) -> str:
                return s + look
        """
    )

    refused = server.http.post("/predictions", json={"input": {"s": "a" * 60 + "!"}}, timeout=10)

    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "input", "s"]
    assert "^(a+)+$" in refused.json()["detail"][0]["msg"]
    assert server.http.post("/predictions", json={"input": {"look": "xa"}}).status_code == 422
    assert server.predict(s="aaa", look="ax")["output"] == "aaaax"


def test_other_content_types_are_refused(echo: Server) -> None:
    answer = echo.http.post("/predictions", content=b"\x80\x04.", headers={"content-type": "application/x-pickle"})

    assert answer.status_code == 415


def test_a_body_over_the_limit_is_refused_by_its_declared_length(echo: Server) -> None:
    connection = http.client.HTTPConnection(echo.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/predictions")
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", str(200 * 1024 * 1024))
    connection.endheaders(b'{"input": {"text": "')

    assert connection.getresponse().status == 413


def test_a_failed_prediction_is_a_200_with_its_error_and_its_logs(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                print("about to fail")
                raise ValueError("no picture in it")
        """
    )

    document = server.predict()

    assert (document["status"], document["error"], document["output"]) == ("failed", "no picture in it", None)
    assert document["logs"].startswith("about to fail\nTraceback")
    assert "cog/worker" not in document["logs"]


def test_predict_takes_the_bare_input_and_gives_the_bare_output(echo: Server) -> None:
    assert echo.http.post("/predict", json={"text": "hi"}).json() == {"output": "hi"}
    assert echo.http.get("/predict", params={"text": "5", "times": 2}).json() == {"output": "5 5"}
    assert echo.http.request("GET", "/predict", json={"text": "body"}).json() == {"output": "body"}
    assert echo.http.get("/predict", params={"times": "many"}).status_code == 422


def test_an_iterator_gives_a_list_and_keeps_what_it_gave_before_it_failed(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self, fail: bool = False) -> Iterator[int]:
                yield 1
                yield 2
                if fail:
                    raise RuntimeError("out of numbers")
        """
    )

    assert server.predict()["output"] == [1, 2]
    failed = server.predict(fail=True)
    assert (failed["status"], failed["output"]) == ("failed", [1, 2])


def test_predictions_wait_for_each_other_instead_of_being_refused(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self, n: int) -> int:
                time.sleep(0.02)
                return n
        """
    )

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        outputs = list(pool.map(lambda n: server.predict(n=n)["output"], range(20)))

    assert outputs == list(range(20))


def test_without_a_queue_a_second_prediction_is_a_409_with_retry_after(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                time.sleep(5)
                return ""
        """,
        environment={"COG_MAX_QUEUE": "0"},
    )
    server.http.post("/predictions", json={"id": "first"}, headers={"prefer": "respond-async"})

    answer = server.http.post("/predictions", json={})

    assert answer.status_code == 409
    assert answer.headers["retry-after"]
    server.http.post("/predictions/first/cancel")


def test_an_asynchronous_request_is_answered_at_once_and_can_be_asked_for(echo: Server) -> None:
    answer = echo.http.post("/predictions", json={"id": "abc"}, headers={"prefer": "respond-async, wait=5"})

    assert answer.status_code == 202
    wait_until(lambda: echo.http.get("/predictions/abc").json()["status"] == "succeeded", "it does not end")
    assert echo.http.get("/predictions/other").status_code == 404


def test_an_answer_does_not_wait_for_the_clients_acknowledgement() -> None:
    async def accept() -> int:
        accepted: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()

        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(writer.get_extra_info("socket"))
            writer.close()

        listener = listen("127.0.0.1", 0)
        async with await asyncio.start_server(take, sock=listener):
            with socket.create_connection(listener.getsockname()):
                return (await accepted).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert asyncio.run(accept()) == 1


def test_a_second_put_of_one_id_gets_the_first_ones_answer(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            count = 0
            def predict(self) -> int:
                time.sleep(0.2)
                self.count += 1
                return self.count
        """
    )

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: server.http.put("/predictions/same", json={}).json()["output"], range(10)))

    assert answers == [1] * 10


def test_async_predictions_run_at_once_up_to_their_limit(serve: Serve) -> None:
    server = serve(
        """
        import asyncio
        class Predictor(BasePredictor):
            running = peak = 0
            async def setup(self) -> None:
                self.ready = True
            @concurrent(max=4)
            async def predict(self) -> int:
                assert self.ready
                self.running += 1
                self.peak = max(self.peak, self.running)
                print("peak", self.peak)
                await asyncio.sleep(0.1)
                self.running -= 1
                return self.peak
        """
    )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        documents = list(pool.map(lambda _: server.predict(), range(8)))

    assert max(document["output"] for document in documents) == 4
    assert all(document["logs"].count("peak") == 1 for document in documents)


def test_what_c_code_and_children_print_is_in_the_logs(serve: Serve) -> None:
    server = serve(
        """
        import subprocess
        class Predictor(BasePredictor):
            def predict(self, word: str) -> str:
                os.write(1, f"from C {word}\\n".encode())
                subprocess.run(["sh", "-c", f"echo from a child {word} >&2"])
                return ""
        """
    )

    for word in ("one", "two"):
        assert sorted(server.predict(word=word)["logs"].splitlines()) == [f"from C {word}", f"from a child {word}"]


def test_unknown_inputs_pass_for_old_clients_if_a_setting_says_so(serve: Serve) -> None:
    server = serve(ECHO, environment={"COG_UNKNOWN_INPUTS": "ignore"})

    document = server.predict(text="hi", txet="x")

    assert (document["output"], document["input"]) == ("hi", {"text": "hi"})
    schema = server.http.get("/openapi.json").json()["components"]["schemas"]["Input"]
    assert "additionalProperties" not in schema


def test_metrics_and_context_of_the_running_prediction(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                self.record_metric("tokens", 7)
                record_metric("tokens", 5, mode="incr")
                current_scope().record_metric("model.layer", "a", mode="append")
                record_metric("model.size.bytes", 3)
                record_metric("timing.gone", 1)
                record_metric("timing.gone", None)
                self.scope.metrics["gone"] = True
                del self.scope.metrics["gone"]
                return current_scope().context["who"]
        """
    )

    document = server.http.post("/predictions", json={"context": {"who": "me"}}).json()

    assert document["output"] == "me", document
    assert document["metrics"].pop("predict_time") > 0
    assert document["metrics"] == {"tokens": 12, "model": {"layer": ["a"], "size": {"bytes": 3}}}


@pytest.mark.parametrize(
    "pause", ["time.sleep(60)", "while True: pass", "asyncio.run(asyncio.sleep(60))"], ids=["sleep", "loop", "await"]
)
def test_cancel_stops_a_running_prediction_and_the_next_one_works(serve: Serve, pause: str) -> None:
    server = serve(
        f"""
        import asyncio
        class Predictor(BasePredictor):
            def predict(self, wait: bool = False) -> str:
                if wait:
                    {pause}
                return "done"
        """
    )
    server.http.post("/predictions", json={"id": "a", "input": {"wait": True}}, headers={"prefer": "respond-async"})
    wait_until(lambda: server.http.get("/predictions/a").json()["status"] == "processing", "it does not begin")
    [worker] = server.worker_pids()

    assert server.http.post("/predictions/a/cancel").status_code == 200
    wait_until(lambda: server.http.get("/predictions/a").json()["status"] == "canceled", "it is not canceled")

    assert server.predict()["output"] == "done"
    assert server.worker_pids() == [worker]
    assert server.http.post("/predictions/nobody/cancel").status_code == 404


@pytest.mark.slow
def test_a_prediction_that_swallows_its_cancel_is_killed_after_the_grace(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self, wait: bool = False) -> str:
                while wait:
                    try:
                        time.sleep(60)
                    except BaseException:
                        pass
                return "done"
        """
    )
    server.http.post("/predictions", json={"id": "a", "input": {"wait": True}}, headers={"prefer": "respond-async"})
    wait_until(lambda: server.http.get("/predictions/a").json()["status"] == "processing", "it does not begin")
    started = time.monotonic()

    server.http.post("/predictions/a/cancel")
    wait_until(lambda: server.http.get("/predictions/a").json()["status"] == "canceled", "not canceled", timeout_s=15)

    assert time.monotonic() - started < 7
    assert server.predict()["output"] == "done"


def test_a_client_that_leaves_cancels_its_prediction(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self, wait: bool = False) -> str:
                if wait:
                    time.sleep(60)
                return "done"
        """
    )

    with pytest.raises(Exception, match="timed out"):
        server.http.post("/predictions", json={"input": {"wait": True}}, timeout=0.5)

    started = time.monotonic()
    assert server.predict()["output"] == "done"
    assert time.monotonic() - started < 5
