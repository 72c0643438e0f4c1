"""Inputs that crash workers again and again are not run once more; all others are."""

from __future__ import annotations

from cog_server.jobs import poison
from cog_server.jobs.poison import Poison
from tests.server.conftest import Serve, Server

CRASHING = """
    class Predictor(BasePredictor):
        def setup(self):
            with open("starts", "a") as file:
                file.write("x")
        def predict(self, text: str, file: Optional[Path] = None) -> str:
            if "bad" in text:
                os._exit(7)
            return text
"""


def starts(server: Server) -> int:
    return (server.log.parent / "starts").stat().st_size


def crash(server: Server, text: str, times: int) -> None:
    for _ in range(times):
        assert "exited with code 7" in server.predict(text=text)["error"]


def test_an_input_that_has_crashed_three_workers_is_failed_without_a_fourth(serve: Serve) -> None:
    server = serve(CRASHING)
    crash(server, "bad", 3)
    server.wait_for("READY")
    before = starts(server)

    refused = server.predict(text="bad")

    assert refused["status"] == "failed"
    assert "has crashed the model's worker 3 times within 10 minutes" in refused["error"]
    assert starts(server) == before
    assert server.predict(text="fine")["output"] == "fine"
    assert "exited with code 7" in server.predict(text="bad too")["error"]
    assert "cog_poisoned_predictions_total 1" in server.http.get("/metrics").text


def test_an_input_with_files_is_known_by_their_urls(serve: Serve) -> None:
    server = serve(CRASHING)
    given = {"text": "bad", "file": "data:text/plain;base64,QQ=="}
    for _ in range(3):
        assert "exited with code 7" in server.predict(**given)["error"]

    assert "has crashed the model's worker" in server.predict(**given)["error"]
    assert "exited with code 7" in server.predict(**{**given, "file": "data:text/plain;base64,Qg=="})["error"]


def test_what_waits_is_failed_too_once_its_input_is_known(serve: Serve) -> None:
    server = serve(CRASHING)
    for number in range(8):
        body = {"input": {"text": "bad"}, "id": f"p{number}"}
        assert server.http.post("/predictions", json=body, headers={"prefer": "respond-async"}).status_code == 202
    server.predict(text="fine")

    errors = [server.http.get(f"/predictions/p{number}").json()["error"] for number in range(8)]

    assert sum("exited with code 7" in error for error in errors) == 3
    assert sum("has crashed the model's worker" in error for error in errors) == 5


def test_the_operator_can_turn_it_off(serve: Serve) -> None:
    server = serve(CRASHING, environment={"COG_POISON_LIMIT": "0"})

    crash(server, "bad", 4)


def test_a_success_clears_an_input() -> None:
    known = Poison(3)
    known.crash(b"a")
    known.crash(b"a")
    known.succeed(b"a")
    known.crash(b"a")

    assert known.verdict(b"a") is None


def test_crashes_are_forgotten_after_ten_minutes() -> None:
    moment = 0.0
    known = Poison(2, clock=lambda: moment)
    known.crash(b"a")
    moment = 599.0
    known.crash(b"a")
    assert known.verdict(b"a") is not None

    moment = 601.0
    assert known.verdict(b"a") is None


def test_no_number_of_inputs_fills_the_memory() -> None:
    known = Poison(1)
    for number in range(poison.MAX_INPUTS + 10):
        known.crash(b"%d" % number)

    assert len(known._crashes) == poison.MAX_INPUTS
    assert known.verdict(b"0") is None
    assert known.verdict(b"%d" % (poison.MAX_INPUTS + 9)) is not None
