"""`@cog.batch` on real servers: clients send one item each, `predict` gets lists."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.server.conftest import Serve, Server, client_of, serving, wait_until
from tests.server.observe.test_metrics import scrape, start, wait_for_end

CLIENTS = 32
# Of several items, one is 0: it shapes the batch. `hold` has them gather behind the first.
SOURCE = """
    import signal

    class Predictor(BasePredictor):
        calls = 0

        @batch(max_size=32, max_wait_ms=100)
        def predict(
            self, x: List[int], do: List[str] = Input(default=""), sleep_s: List[float] = Input(default=0.02, ge=0)
        ) -> List[Any]:
            self.calls += 1
            record_metric("size", len(x))
            print("printed in a batch of", len(x))
            scope = current_scope()
            end = time.monotonic() + max(sleep_s)
            while time.monotonic() < end:
                if "stubborn" in do:
                    try:
                        time.sleep(0.05)
                    except CancelationException:
                        pass
                else:
                    time.sleep(0.05 if max(sleep_s) > 0.05 else max(sleep_s))
            if "raise" in do:
                raise ValueError("as asked")
            if "die" in do:
                os.kill(os.getpid(), signal.SIGKILL)
            if "short" in do:
                return [1]
            if "text" in do:
                return "many"
            return [
                ValueError("in its place") if each == "value" else object() if each == "object"
                else [number, os.getpid(), len(x), scope.prediction_id]
                for number, each in zip(x, do)
            ]
"""


@pytest.fixture(scope="module")
def batched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave its worker alive."""
    with serving(tmp_path_factory.mktemp("batched")) as serve:
        yield serve(SOURCE)


def at_once(server: Server, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send each input on a connection of its own, all at the same time; the answers in that order."""
    barrier = threading.Barrier(len(inputs))

    def send(given: dict[str, Any]) -> dict[str, Any]:
        with client_of(server.url) as http:
            http.get("/livez")
            barrier.wait()
            document: dict[str, Any] = http.post("/predictions", json={"input": given}).json()
            return document

    with ThreadPoolExecutor(len(inputs)) as pool:
        return list(pool.map(send, inputs))


def start_batch(server: Server, inputs: list[dict[str, Any]]) -> list[str]:
    """Start predictions that come into one batch, and wait until that runs."""
    ids = [start(server, **given) for given in inputs]
    wait_until(lambda: all(get(server, each)["metrics"] for each in ids), "the batch does not begin")
    assert {get(server, each)["metrics"]["size"] for each in ids} == {len(ids)}
    return ids


def get(server: Server, prediction_id: str) -> dict[str, Any]:
    document: dict[str, Any] = server.http.get(f"/predictions/{prediction_id}").json()
    return document


def end_of(server: Server, prediction_id: str, timeout_s: float = 10) -> dict[str, Any]:
    wait_until(lambda: get(server, prediction_id).get("completed_at") is not None, "no end", timeout_s=timeout_s)
    return get(server, prediction_id)


def cancel(server: Server, prediction_id: str) -> float:
    """Cancel it; the seconds until it was canceled."""
    began = time.monotonic()
    server.http.post(f"/predictions/{prediction_id}/cancel")
    wait_for_end(server, prediction_id, "canceled")
    return time.monotonic() - began


# --- batches


def test_many_clients_at_once_are_answered_in_batches_each_with_its_own(batched: Server) -> None:
    documents = at_once(batched, [{"x": number} for number in range(CLIENTS)])

    assert [document["output"][0] for document in documents] == list(range(CLIENTS))
    assert max(document["output"][2] for document in documents) > 8
    for document in documents:
        assert document["metrics"]["size"] == document["output"][2]


def test_the_sizes_are_in_the_metrics(serve: Serve) -> None:
    server = serve(SOURCE)

    documents = at_once(server, [{"x": number} for number in range(8)])

    page = scrape(server)
    assert page["cog_batch_size_sum"] == 8
    assert page["cog_batch_size_count"] == pytest.approx(sum(1 / each["output"][2] for each in documents))


def test_a_batch_waits_for_more_no_longer_than_it_says(batched: Server) -> None:
    batched.predict(x=0)
    began = time.monotonic()

    document = batched.predict(x=1, sleep_s=0)

    assert document["output"][2] == 1
    assert 0.1 <= time.monotonic() - began < 0.6


def test_without_a_wait_a_batch_is_what_came_while_the_one_before_ran(serve: Serve) -> None:
    server = serve(SOURCE.replace("max_wait_ms=100", "max_wait_ms=0"))
    first = start(server, x=0, sleep_s=1.0)
    wait_until(lambda: bool(get(server, first)["metrics"]), "it does not begin")

    others = [start(server, x=number) for number in range(1, 6)]

    assert [end_of(server, each)["output"][2] for each in [first, *others]] == [1, 5, 5, 5, 5, 5]


def test_no_batch_is_larger_than_it_may_be(serve: Serve) -> None:
    server = serve(SOURCE.replace("max_size=32", "max_size=4"))

    documents = at_once(server, [{"x": number} for number in range(10)])

    assert [document["output"][0] for document in documents] == list(range(10))
    assert max(document["output"][2] for document in documents) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "largest"), [(3, 3), (64, 32)], ids=["below", "above"])
def test_the_setting_for_concurrency_limits_batches_too(serve: Serve, limit: int, largest: int) -> None:
    server = serve(SOURCE, environment={"COG_MAX_CONCURRENCY": str(limit)})
    first = start(server, x=0, sleep_s=1.5)

    documents = at_once(server, [{"x": number} for number in range(1, 41)])

    assert end_of(server, first)["status"] == "succeeded"
    assert [document["output"][0] for document in documents] == list(range(1, 41))
    assert max(document["output"][2] for document in documents) <= largest


def test_a_full_batch_does_not_wait(serve: Serve) -> None:
    server = serve(SOURCE.replace("max_size=32, max_wait_ms=100", "max_size=2, max_wait_ms=20_000"))

    documents = at_once(server, [{"x": 1}, {"x": 2}])

    assert [document["output"][2] for document in documents] == [2, 2]


def test_what_is_printed_in_a_batch_of_several_is_in_nobodys_logs(batched: Server) -> None:
    alone = batched.predict(x=0)
    ids = start_batch(batched, [{"x": 1, "sleep_s": 0.6}, {"x": 2}])

    several = [end_of(batched, each) for each in ids]

    assert (alone["logs"], alone["output"][3]) == ("printed in a batch of 1\n", alone["id"])
    assert [(each["logs"], each["output"][3]) for each in several] == [("", "")] * 2
    assert "printed in a batch of 2\n" in batched.log.read_text()


# --- errors


@pytest.mark.parametrize(
    ("how", "error"),
    [("raise", "as asked"), ("value", "in its place"), ("object", "output is a object, which has no JSON form")],
)
def test_one_bad_item_fails_alone(batched: Server, how: str, error: str) -> None:
    ids = start_batch(batched, [{"x": 0, "sleep_s": 0.6}, {"x": 1, "do": how}, {"x": 2}])

    documents = [end_of(batched, each) for each in ids]

    assert [document["status"] for document in documents] == ["succeeded", "failed", "succeeded"]
    assert documents[1]["error"] == error
    assert error in documents[1]["logs"]
    assert [documents[0]["output"][0], documents[2]["output"][0]] == [0, 2]


@pytest.mark.parametrize(
    ("how", "error"), [("short", "a list of 3, one output for each item, not of 1"), ("text", "not str")]
)
def test_another_number_of_outputs_than_items_fails_them_all(batched: Server, how: str, error: str) -> None:
    ids = start_batch(batched, [{"x": 0, "sleep_s": 0.6}, {"x": 1, "do": how}, {"x": 2}])

    documents = [end_of(batched, each) for each in ids]

    assert [document["status"] for document in documents] == ["failed"] * 3
    assert all(document["error"].endswith(error) for document in documents)


def test_a_crash_fails_each_of_the_batch_once(serve: Serve) -> None:
    server = serve(SOURCE)
    ids = start_batch(server, [{"x": 0, "sleep_s": 0.6}, {"x": 1, "do": "die"}, {"x": 2}])

    documents = [end_of(server, each) for each in ids]

    assert all(document["status"] == "failed" and "SIGKILL" in document["error"] for document in documents)
    assert server.predict(x=3)["output"][0] == 3
    assert scrape(server).all("cog_predictions_total") == {"succeeded": 1, "failed": 3, "canceled": 0}


def test_an_item_that_cannot_be_decoded_fails_alone(serve: Serve) -> None:
    server = serve(
        """
        class Point(BaseModel):
            x: int
            def __init__(self, **given: Any) -> None:
                super().__init__(**given)
                if self.x < 0:
                    raise ValueError("below zero")

        class Predictor(BasePredictor):
            @batch(max_size=4, max_wait_ms=300)
            def predict(self, point: List[Point]) -> List[int]:
                return [len(point) for each in point]
        """
    )

    documents = at_once(server, [{"point": {"x": number}} for number in (1, -1, 2)])

    assert [document["output"] for document in documents] == [2, None, 2]
    assert documents[1]["error"] == "below zero"


# --- cancels


def test_a_canceled_item_leaves_its_batch_untouched(batched: Server) -> None:
    ids = start_batch(batched, [{"x": number, "sleep_s": 2} for number in range(3)])

    seconds = cancel(batched, ids[1])

    others = [end_of(batched, each) for each in (ids[0], ids[2])]
    assert seconds < 1
    assert [each["output"][0] for each in others] == [0, 2]
    assert all(each["output"][2] == 3 and each["metrics"]["predict_time"] >= 2 for each in others)
    assert [each["output"][1] for each in others] == batched.worker_pids() * 2


def test_a_batch_is_broken_off_when_all_its_items_are_canceled(batched: Server) -> None:
    workers = batched.worker_pids()
    ids = start_batch(batched, [{"x": number, "sleep_s": 30} for number in range(3)])

    seconds = [cancel(batched, each) for each in ids]

    assert max(seconds) < 1
    assert batched.predict(x=7)["output"][:2] == [7, workers[0]]


def test_an_item_that_is_canceled_while_it_waits_is_in_no_batch(batched: Server) -> None:
    running = start(batched, x=0, sleep_s=1.5)
    wait_until(lambda: bool(get(batched, running)["metrics"]), "it does not begin")
    canceled, waiting = start(batched, x=1), start(batched, x=2)

    seconds = cancel(batched, canceled)

    assert seconds < 1
    assert end_of(batched, running)["output"][0] == 0
    assert end_of(batched, waiting)["output"][2] == 1
    assert get(batched, canceled)["metrics"].get("size") is None


def test_an_item_that_is_canceled_while_its_batch_gathers_is_not_in_it(serve: Serve) -> None:
    server = serve(SOURCE.replace("max_wait_ms=100", "max_wait_ms=1500"))
    kept, canceled = start(server, x=0), start(server, x=1)

    assert cancel(server, canceled) < 1
    assert end_of(server, kept)["output"][2] == 1


def test_one_canceled_item_of_a_failing_batch_is_not_run_again(batched: Server) -> None:
    ids = start_batch(batched, [{"x": 0, "do": "raise", "sleep_s": 1.0}, {"x": 1}, {"x": 2}])

    cancel(batched, ids[2])

    assert [end_of(batched, each)["status"] for each in ids] == ["failed", "succeeded", "canceled"]


HELD = """
    import signal

    class Predictor(BasePredictor):
        @batch(max_size=8, max_wait_ms=300)
        def predict(self, x: List[int]) -> List[int]:
            record_metric("size", len(x))
            # As in one long call of C: no handler of a signal runs meanwhile.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            time.sleep(max(x))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
            return [os.getpid() for each in x]
"""


@pytest.mark.slow
def test_a_worker_that_cannot_look_is_not_killed_for_one_of_its_batch(serve: Serve) -> None:
    server = serve(HELD, environment={"COG_CANCEL_GRACE": "0.5"})
    workers = server.worker_pids()
    ids = [start(server, x=3), start(server, x=1), start(server, x=2)]
    time.sleep(0.8)

    seconds = cancel(server, ids[1])

    assert seconds < 1.5
    assert [end_of(server, each)["output"] for each in (ids[0], ids[2])] == workers * 2
    assert server.predict(x=0)["output"] == workers[0]


@pytest.mark.slow
def test_a_worker_that_does_not_stop_is_killed_for_all_of_its_batch(serve: Serve) -> None:
    server = serve(HELD, environment={"COG_CANCEL_GRACE": "0.5"})
    workers = server.worker_pids()
    ids = [start(server, x=60), start(server, x=60)]
    time.sleep(0.8)

    for each in ids:
        server.http.post(f"/predictions/{each}/cancel")

    assert [end_of(server, each)["status"] for each in ids] == ["canceled", "canceled"]
    server.wait_for("READY")
    assert server.worker_pids() != workers


def test_a_batch_that_swallows_the_exception_of_a_cancel_is_killed(serve: Serve) -> None:
    server = serve(SOURCE, environment={"COG_CANCEL_GRACE": "0.3"})
    ids = start_batch(server, [{"x": number, "do": "stubborn", "sleep_s": 60} for number in range(2)])

    for each in ids:
        server.http.post(f"/predictions/{each}/cancel")

    assert [end_of(server, each)["status"] for each in ids] == ["canceled", "canceled"]
    assert server.predict(x=1)["output"][0] == 1


def test_a_deadline_ends_its_own_item_only(batched: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(batched.predict, x=0, sleep_s=1.5)
        answer = batched.http.post("/predictions", json={"input": {"x": 1}, "deadline": 0.5}).json()

        assert (answer["status"], "deadline" in answer["error"]) == ("failed", True)
        assert other.result()["output"][0] == 0


# --- files

FILES = """
    class Predictor(BasePredictor):
        @batch(max_size=8, max_wait_ms=300)
        def predict(self, file: List[Path], sleep_s: List[float] = Input(default=0)) -> List[Path]:
            record_metric("size", len(file))
            time.sleep(max(sleep_s))
            made = []
            for number, each in enumerate(file):
                path = Path(f"out{number}.txt")
                path.write_text(each.read_text().upper() + str(len(file)))
                made.append(path)
            return made
"""


def test_files_go_in_and_out_of_a_batch_one_for_each(serve: Serve) -> None:
    server = serve(FILES)

    documents = at_once(server, [{"file": f"data:,word{number}"} for number in range(4)])

    assert [_text(document["output"]) for document in documents] == [f"WORD{number}4" for number in range(4)]


@pytest.mark.slow
def test_the_files_of_a_canceled_item_stay_until_its_batch_has_read_them(serve: Serve) -> None:
    server = serve(FILES)
    ids = start_batch(server, [{"file": f"data:,word{number}", "sleep_s": 1.5} for number in range(2)])

    cancel(server, ids[0])

    # Had its file gone, the batch would have failed, and the other would have run again, alone.
    assert _text(end_of(server, ids[1])["output"]) == "WORD12"
    assert server.log.read_text().count("runs alone") == 0


def _text(url: str) -> str:
    return base64.b64decode(url.partition(",")[2]).decode()
