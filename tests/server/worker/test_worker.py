"""The worker's life: crashes, setups that fail, and what is left when the server goes."""

from __future__ import annotations

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import Serve, is_alive, wait_until
from tests.shared import free_port

CRASHING = """
    class Predictor(BasePredictor):
        def predict(self, how: str = "", number: int = 0) -> str:
            print("last words")
            if how == "exit":
                os._exit(7)
            if how == "segfault":
                import ctypes
                ctypes.string_at(0)
            if how == "sys.exit":
                sys.exit(3)
            if how == "interrupt":
                raise KeyboardInterrupt
            return "fine"
"""
SLOW_SETUP = """
    class Predictor(BasePredictor):
        def setup(self) -> None:
            time.sleep(60)
        def predict(self) -> str:
            return ""
"""


@pytest.mark.parametrize(
    ("how", "words"), [("exit", "exited with code 7"), ("segfault", "killed by signal 11 (SIGSEGV)")]
)
def test_a_crash_fails_its_prediction_with_the_reason_and_a_new_worker_takes_the_next(
    serve: Serve, how: str, words: str
) -> None:
    server = serve(CRASHING)

    crashed = server.predict(how=how)

    assert crashed["status"] == "failed"
    assert words in crashed["error"]
    assert "last words" in crashed["error"]
    assert server.predict()["output"] == "fine"


def test_sys_exit_and_keyboard_interrupt_fail_the_prediction_only(serve: Serve) -> None:
    server = serve(CRASHING)
    workers = server.worker_pids()

    assert server.predict(how="sys.exit")["error"] == "SystemExit: the model called sys.exit(3)"
    assert server.predict(how="interrupt")["error"] == "KeyboardInterrupt"
    assert server.worker_pids() == workers


def test_a_model_that_keeps_crashing_is_waited_for_and_never_given_up(serve: Serve) -> None:
    server = serve(CRASHING)

    for number in range(6):
        server.wait_for("READY")
        server.predict(how="exit", number=number)

    waiting = server.http.get("/readyz")
    assert waiting.status_code == 503
    assert re.search(r"exited with code 7 and is being restarted, in [01]\.\d s", waiting.json()["detail"])
    assert server.http.get("/livez").status_code == 200
    assert server.predict()["output"] == "fine"
    assert server.health()["status"] == "READY"


def test_a_model_that_keeps_crashing_is_given_up_where_the_operator_says_so(serve: Serve) -> None:
    server = serve(CRASHING, environment={"COG_MAX_RESTARTS": "1"})

    for number in range(2):
        server.wait_for("READY")
        server.predict(how="exit", number=number)

    server.wait_for("DEFUNCT")
    assert server.http.post("/predictions", json={}).status_code == 503
    assert server.http.get("/readyz").status_code == 503
    assert server.http.get("/livez").status_code == 503


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('no weights here')", "no weights here"),
        ("os._exit(3)", "exited with code 3"),
        ("sys.exit('gone')", "gone"),
        ("import no_such_module", "no_such_module"),
    ],
)
@pytest.mark.parametrize("where", ["setup", "import"])
def test_a_setup_that_fails_is_said_and_predictions_are_refused(
    serve: Serve, source: str, words: str, where: str
) -> None:
    indented = source if where == "setup" else "pass"
    top = source if where == "import" else ""
    server = serve(
        f"""
        {top}
        class Predictor(BasePredictor):
            def setup(self) -> None:
                {indented}
            def predict(self) -> str:
                return ""
        """,
        ready=False,
    )

    health = server.wait_for("SETUP_FAILED")

    assert words in health["reason"]
    assert health["setup"]["status"] == "failed"
    answer = server.http.post("/predictions", json={})
    assert answer.status_code == 503
    assert words in answer.json()["detail"]


def test_a_setup_over_its_time_fails(serve: Serve) -> None:
    server = serve(SLOW_SETUP, ready=False, environment={"COG_SETUP_TIMEOUT": "0.5"})

    assert "0.5 seconds" in server.wait_for("SETUP_FAILED")["reason"]


def test_health_answers_while_the_model_starts(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def setup(self) -> None:
                print("loading")
                time.sleep(1)
            def predict(self) -> str:
                return ""
        """,
        ready=False,
    )

    assert server.health()["status"] == "STARTING"
    assert server.http.get("/readyz").status_code == 503
    assert server.http.post("/predictions", json={}).status_code == 503
    assert server.wait_for("READY")["setup"]["logs"] == "loading\n"
    assert server.http.get("/readyz").status_code == 200


def test_health_says_busy_and_unhealthy(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            sick = False
            def predict(self, wait: float = 0, sick: bool = False) -> str:
                time.sleep(wait)
                self.sick = sick
                return ""
            def healthcheck(self) -> bool:
                return not self.sick
        """
    )
    server.http.post("/predictions", json={"id": "a", "input": {"wait": 1.5}}, headers={"prefer": "respond-async"})

    assert server.wait_for("BUSY")
    server.wait_for("READY")
    server.predict(sick=True)
    assert server.health()["status"] == "UNHEALTHY"


def test_health_answers_while_c_code_holds_the_interpreter(serve: Serve) -> None:
    server = serve(
        """
        import ctypes
        class Predictor(BasePredictor):
            def predict(self) -> str:
                ctypes.PyDLL(None).sleep(3)
                return ""
        """
    )
    server.http.post("/predictions", json={"id": "a"}, headers={"prefer": "respond-async"})
    time.sleep(0.3)
    started = time.monotonic()

    answer = server.http.get("/livez")

    assert answer.status_code == 200
    assert time.monotonic() - started < 0.5


def test_the_worker_and_its_children_die_with_the_server(serve: Serve) -> None:
    server = serve(
        """
        import subprocess
        class Predictor(BasePredictor):
            def setup(self) -> None:
                self.child = subprocess.Popen(["sleep", "600"])
            def predict(self) -> int:
                return self.child.pid
        """
    )
    child = server.predict()["output"]
    workers = server.worker_pids()

    server.process.send_signal(signal.SIGKILL)

    wait_until(lambda: not any(is_alive(pid) for pid in [*workers, child]), "processes are left")


def test_sigterm_lets_a_running_prediction_end(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                time.sleep(1)
                return "done"
        """
    )
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.predict)
        server.wait_for("BUSY")
        server.process.send_signal(signal.SIGTERM)

        assert answer.result(timeout=10)["output"] == "done"
    assert server.process.wait(10) == 0


def test_while_it_drains_the_server_says_so_to_who_asks(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                time.sleep(1.5)
                return "done"
        """
    )
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(server.predict)
        server.wait_for("BUSY")
        server.process.terminate()
        wait_until(lambda: server.http.get("/readyz").status_code == 503, "it is still ready")

        refused = httpx.post(f"{server.url}/predictions", json={})

        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.headers["connection"] == "close"
        assert running.result()["output"] == "done"
    assert server.process.wait(10) == 0


def test_what_outlives_the_drain_is_ended_and_the_exit_code_says_so(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                time.sleep(600)
                return "done"
        """,
        environment={"COG_DRAIN_TIMEOUT": "0.5", "COG_CANCEL_GRACE": "0.5"},
    )
    server.http.post("/predictions", json={}, headers={"prefer": "respond-async"})
    server.wait_for("BUSY")
    server.process.terminate()

    assert server.process.wait(10) == 1


@pytest.mark.parametrize("how", ["defunct", "setup"])
def test_a_server_without_a_worker_ends_if_the_operator_says_so(serve: Serve, how: str) -> None:
    source = CRASHING if how == "defunct" else "raise RuntimeError('no weights')"
    environment = {"COG_EXIT_ON_DEFUNCT": "1", "COG_MAX_RESTARTS": "0"}
    try:
        server = serve(source, ready=how == "defunct", environment=environment)
    except AssertionError as error:  # It was gone before it could be asked anything.
        assert "no weights" in str(error)
        return
    if how == "defunct":
        server.http.post("/predictions", json={"input": {"how": "exit"}})

    assert server.process.wait(10) == 1


def test_a_file_says_ready_as_long_as_it_is_true(serve: Serve, tmp_path: Path) -> None:
    ready = tmp_path / "run" / "ready"
    server = serve(CRASHING, environment={"COG_READY_FILE": str(ready), "COG_MAX_RESTARTS": "0"})
    assert ready.exists()

    server.http.post("/predictions", json={"input": {"how": "exit"}})

    server.wait_for("DEFUNCT")
    assert not ready.exists()


def test_a_worker_that_hangs_in_c_code_does_not_delay_health(serve: Serve) -> None:
    server = serve(
        """
        import ctypes
        class Predictor(BasePredictor):
            def predict(self) -> str:
                ctypes.PyDLL("libc.so.6").sleep(600)
                return ""
        """,
        environment={"COG_CANCEL_GRACE": "0.2"},
    )
    server.http.post("/predictions", json={"id": "held"}, headers={"prefer": "respond-async"})
    wait_until(lambda: server.http.get("/predictions/held").json()["status"] == "processing", "it does not begin")
    server.http.timeout = httpx.Timeout(2)

    assert server.health()["status"] == "BUSY"
    server.http.post("/predictions/held/cancel")
    wait_until(lambda: server.http.get("/predictions/held").json()["status"] == "canceled", "it goes on")


def test_sigterm_in_setup_ends_at_once(serve: Serve) -> None:
    server = serve(SLOW_SETUP, ready=False)
    started = time.monotonic()

    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(10) == 0
    assert time.monotonic() - started < 2


def test_a_port_in_use_is_said_before_the_model_starts(serve: Serve) -> None:
    server = serve(CRASHING)
    port = server.url.rpartition(":")[2]

    answer = subprocess.run(
        [sys.executable, "-m", "cog_server", "--host", "127.0.0.1", "--port", port],
        env={**os.environ, "COG_PREDICT": "predict.py:Predictor"},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )

    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in answer.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "x"), ("PORT", "70000"), ("COG_MAX_QUEUE", "-1"), ("COG_SETUP_TIMEOUT", "soon"), ("LOG_FORMAT", "xml")],
)
def test_a_setting_that_means_nothing_is_one_line(name: str, value: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "cog_server", "--host", "127.0.0.1"],
        env={**os.environ, "COG_PREDICT": "predict.py:Predictor", "PORT": str(free_port()), name: value},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )

    assert answer.returncode == 1
    assert name in answer.stderr
    assert answer.stderr.count("\n") == 1
