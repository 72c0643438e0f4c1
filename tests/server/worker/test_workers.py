"""Several workers behind one server: who gets what, who dies alone, and which GPUs each of them sees."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cog_server.settings import Settings, SettingsError, read_settings
from cog_server.worker.devices import Place, devices_of, read_visible
from cog_server.worker.oom import OomKills
from cog_server.worker.pool import WorkerPool, state_of
from cog_server.worker.supervisor import State, Supervisor, WorkerUnavailable
from tests.conftest import REPOSITORY
from tests.server.conftest import Serve, Server, is_alive, serving, wait_until
from tests.server.observe.test_metrics import scrape, start
from tests.server.worker.test_batching import at_once, end_of, get

TWO = {"COG_WORKERS": "2", "COG_CANCEL_GRACE": "0.3"}
# It gives: which worker it ran in, the process id, when it began and ended.
SOURCE = """
    class Predictor(BasePredictor):
        def setup(self) -> None:
            time.sleep(1.5 * os.path.exists("slow"))
            print("setup of", os.environ["COG_WORKER_INDEX"], "of", os.environ["COG_WORKERS"])
            self.is_sick = False

        def predict(self, sleep_s: float = 0.0, do: str = "", file: Path = None) -> List[float]:
            began = time.monotonic()
            while do == "hold":
                try:
                    time.sleep(600)
                except BaseException:
                    pass
            if do == "exit":
                os._exit(7)
            if do == "fail":
                raise ValueError("as asked")
            self.is_sick = do == "sicken"
            time.sleep(sleep_s)
            return [int(os.environ["COG_WORKER_INDEX"]), os.getpid(), began, time.monotonic()]

        def healthcheck(self) -> bool:
            return not self.is_sick
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with two workers, for all tests that leave both alive."""
    with serving(tmp_path_factory.mktemp("two")) as serve:
        yield serve(SOURCE, environment=TWO)


@pytest.fixture
def fragile(serve: Serve) -> Server:
    """The same for a test that does not."""
    return serve(SOURCE, environment=TWO)


def hold_both(server: Server, **given: Any) -> list[str]:
    """Start a prediction in each of two workers; their ids, by the index of the worker."""
    ids = [start(server, **given), start(server, **given)]
    for each in ids:
        wait_until(lambda each=each: get(server, each)["status"] == "processing", "it does not begin")  # type: ignore[misc]
    return ids


def workers(server: Server) -> list[dict[str, Any]]:
    found = server.health()["workers"]
    assert isinstance(found, list)
    return found


def wait_for_both(server: Server) -> None:
    wait_until(lambda: [each["state"] for each in workers(server)] == ["READY", "READY"], "a worker is missing")


# --- who gets what


def test_two_workers_run_two_predictions_at_once(two: Server) -> None:
    outputs = [document["output"] for document in at_once(two, [{"sleep_s": 0.4}] * 4)]

    edges = sorted([(output[2], 1) for output in outputs] + [(output[3], -1) for output in outputs])
    running, most = 0, 0
    for _, step in edges:
        running += step
        most = max(most, running)
    assert most == 2
    assert Counter(output[0] for output in outputs) == {0: 2, 1: 2}
    assert {int(output[1]) for output in outputs} == set(two.worker_pids())


def test_a_third_prediction_waits_for_the_first_worker_that_is_free(two: Server) -> None:
    ids = [start(two, sleep_s=1.5), start(two, sleep_s=0.3), start(two)]

    ends = [end_of(two, each) for each in ids]

    assert [end["output"][0] for end in ends] == [0, 1, 1]
    assert ends[2]["output"][3] < ends[0]["output"][3]


def test_it_is_busy_when_both_are(two: Server) -> None:
    first = start(two, sleep_s=1.0)
    wait_until(lambda: get(two, first)["status"] == "processing", "it does not begin")
    assert two.health()["status"] == "READY"

    second = start(two, sleep_s=0.5)

    assert two.health()["status"] == "BUSY"
    assert {end_of(two, each)["status"] for each in (first, second)} == {"succeeded"}


def test_without_a_queue_there_is_room_for_two(serve: Serve) -> None:
    server = serve(SOURCE, environment={**TWO, "COG_MAX_QUEUE": "0"})
    hold_both(server, sleep_s=30)

    assert server.http.post("/predictions", json={"input": {}}).status_code == 409


ASYNC = """
    import asyncio
    class Predictor(BasePredictor):
        @concurrent(max=4)
        async def predict(self, sleep_s: float = 0.0) -> int:
            await asyncio.sleep(sleep_s)
            return int(os.environ["COG_WORKER_INDEX"])
"""


@pytest.mark.slow
def test_the_least_busy_worker_gets_the_next(serve: Serve) -> None:
    server = serve(ASYNC, environment=TWO)
    began = time.monotonic()

    documents = at_once(server, [{"sleep_s": 1.0}] * 8)

    assert time.monotonic() - began < 1.9, "eight at once"
    assert Counter(document["output"] for document in documents) == {0: 4, 1: 4}
    # One that is at work is passed over by one that is not.
    held = start(server, sleep_s=1.0)
    wait_until(lambda: get(server, held)["status"] == "processing", "it does not begin")
    assert server.predict()["output"] != end_of(server, held)["output"]


def test_batches_are_gathered_in_each_worker(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            @batch(max_size=4, max_wait_ms=300)
            def predict(self, x: List[int]) -> List[Any]:
                time.sleep(0.2)
                return [[each, len(x), int(os.environ["COG_WORKER_INDEX"])] for each in x]
        """,
        environment=TWO,
    )

    outputs = [document["output"] for document in at_once(server, [{"x": number} for number in range(8)])]

    assert [output[0] for output in outputs] == list(range(8))
    assert {output[1] for output in outputs} == {4}
    assert Counter(output[2] for output in outputs) == {0: 4, 1: 4}


# --- who dies alone


@pytest.mark.slow
def test_a_killed_worker_takes_its_own_prediction_and_no_other(fragile: Server) -> None:
    server = fragile
    ids = hold_both(server, sleep_s=1.5)
    before = [each["pid"] for each in workers(server)]

    os.kill(before[1], signal.SIGKILL)

    lost = end_of(server, ids[1])
    assert lost["status"] == "failed"
    assert "killed by signal 9 (SIGKILL)" in lost["error"]
    assert server.http.get("/readyz").status_code == 200
    wait_for_both(server)
    after = workers(server)
    assert [each["restarts"] for each in after] == [0, 1]
    assert after[0]["pid"] == before[0]
    assert not is_alive(before[1])
    assert end_of(server, ids[0])["output"][:2] == [0, before[0]]
    documents = at_once(server, [{"sleep_s": 0.3}] * 2)
    assert {int(each["output"][1]) for each in documents} == {each["pid"] for each in after}


@pytest.mark.slow
def test_a_stuck_prediction_that_is_canceled_costs_its_own_worker_only(fragile: Server) -> None:
    server = fragile
    ids = [start(server, do="hold"), start(server, sleep_s=1.5)]
    wait_until(lambda: all(get(server, each)["status"] == "processing" for each in ids), "they do not begin")
    before = [each["pid"] for each in workers(server)]

    server.http.post(f"/predictions/{ids[0]}/cancel")

    assert end_of(server, ids[0])["status"] == "canceled"
    wait_for_both(server)
    assert end_of(server, ids[1])["output"][:2] == [1, before[1]]
    assert [each["restarts"] for each in workers(server)] == [1, 0]


def test_with_no_worker_left_predictions_wait_for_one(fragile: Server) -> None:
    server = fragile
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.http.get("/readyz").status_code == 503, "they live")

    document = server.predict()

    assert document["status"] == "succeeded"
    wait_for_both(server)
    assert server.http.get("/readyz").status_code == 200


@pytest.mark.slow
def test_a_prediction_whose_worker_ends_before_it_begins_goes_to_the_other(serve: Serve) -> None:
    server = serve(SOURCE, environment={**TWO, "COG_ALLOW_PRIVATE_URLS": "1"})
    (server.log.parent / "slow").touch()
    with held_file() as (url, is_asked, go_on):
        waiting = start(server, file=url)
        assert is_asked.wait(10)
        os.kill(workers(server)[0]["pid"], signal.SIGKILL)
        wait_until(lambda: workers(server)[0]["state"] == "STARTING", "it lives")
        go_on.set()

        assert end_of(server, waiting)["output"][0] == 1
    wait_for_both(server)


@contextlib.contextmanager
def held_file() -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """A URL whose content comes when the second event is set; the first says that it was asked for."""
    is_asked, go_on = threading.Event(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_asked.set()
            go_on.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"text")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}/file.txt", is_asked, go_on
        listener.shutdown()


def test_failures_in_a_row_are_counted_for_each_worker(serve: Serve) -> None:
    server = serve(SOURCE, environment={**TWO, "COG_RESTART_AFTER_FAILURES": "2"})

    for _ in range(2):  # One after the other, they come to the first worker.
        held = start(server, do="fail")
        assert end_of(server, held)["status"] == "failed"

    wait_until(lambda: [each["restarts"] for each in workers(server)] == [1, 0], "it is not replaced")
    wait_for_both(server)


def test_a_worker_that_is_given_up_leaves_the_other(serve: Serve) -> None:
    server = serve(SOURCE, environment={**TWO, "COG_MAX_RESTARTS": "0"})

    server.predict(do="exit")

    wait_until(lambda: workers(server)[0]["state"] == "DEFUNCT", "it is not given up")
    assert server.health()["status"] == "READY"
    assert "exited with code 7" in workers(server)[0]["reason"]
    assert server.predict()["output"][0] == 1
    server.predict(do="exit")
    assert "exited with code 7" in server.wait_for("DEFUNCT")["reason"]
    assert server.http.post("/predictions", json={}).status_code == 503


def test_each_kill_for_want_of_memory_is_one_workers(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 3\noom_kill 3\n")
    kills = OomKills([tmp_path / "none", events])
    began = kills.count()
    assert not kills.claim(since=began)

    events.write_text("oom 5\noom_kill 5\n")

    assert [kills.claim(since=began) for _ in range(3)] == [True, True, False]
    events.write_text("oom 6\noom_kill 6\n")  # A child of a model, which nobody claims.
    assert not kills.claim(since=kills.count())
    assert OomKills([tmp_path / "none"]).count() == 0


# --- setup, health, the end

HALF_BROKEN = """
    class Predictor(BasePredictor):
        def setup(self) -> None:
            if os.environ["COG_WORKER_INDEX"] == "1":
                raise RuntimeError("no memory on its GPU")
        def predict(self) -> int:
            return int(os.environ["COG_WORKER_INDEX"])
"""


def test_one_setup_that_fails_fails_all(serve: Serve) -> None:
    server = serve(HALF_BROKEN, ready=False, environment=TWO)

    health = server.wait_for("SETUP_FAILED")

    assert health["reason"] == "worker 1: no memory on its GPU"
    assert health["setup"]["status"] == "failed"
    assert server.http.post("/predictions", json={}).status_code == 503


def test_one_setup_that_fails_is_borne_where_one_worker_is_enough(serve: Serve) -> None:
    server = serve(HALF_BROKEN, environment={**TWO, "COG_WORKERS_QUORUM": "1"})

    assert [server.predict()["output"] for _ in range(3)] == [0, 0, 0]
    wait_until(lambda: workers(server)[1]["state"] == "SETUP_FAILED", "it does not fail")
    health = server.health()
    assert (health["status"], health["setup"]["status"], "reason" in health) == ("READY", "succeeded", False)
    assert workers(server)[1]["reason"] == "no memory on its GPU"


def test_it_is_ready_when_all_are(serve: Serve) -> None:
    source = HALF_BROKEN.replace('raise RuntimeError("no memory on its GPU")', "time.sleep(1)")
    server = serve(source, ready=False, environment=TWO)
    wait_until(lambda: workers(server)[0]["state"] == "READY", "the first is not ready")

    assert server.health()["status"] == "STARTING"
    assert server.http.post("/predictions", json={}).status_code == 503
    assert server.wait_for("READY")["setup"]["completed_at"]


def test_health_tells_of_each_worker(two: Server) -> None:
    health = two.health()

    assert health["setup"]["logs"] == "--- worker 0\nsetup of 0 of 2\n--- worker 1\nsetup of 1 of 2\n"
    assert [{**each, "pid": 0} for each in health["workers"]] == [
        {"index": index, "state": "READY", "restarts": 0, "devices": [], "pid": 0} for index in (0, 1)
    ]
    assert sorted(each["pid"] for each in health["workers"]) == sorted(two.worker_pids())


def test_one_worker_is_not_listed(serve: Serve) -> None:
    health = serve(SOURCE).health()

    assert "workers" not in health
    assert health["setup"]["logs"] == "setup of 0 of 1\n"


def test_one_sick_worker_is_enough_to_be_unhealthy(fragile: Server) -> None:
    fragile.predict(do="sicken")

    health = fragile.health()

    assert (health["status"], health["user_healthcheck_error"]) == ("UNHEALTHY", "worker 0: is unhealthy")


def test_metrics_tell_of_each_worker(fragile: Server) -> None:
    fragile.predict(do="exit")
    wait_for_both(fragile)

    page = scrape(fragile)

    assert page.all("cog_worker_restarts_total") == {"0": 1, "1": 0}
    assert page.all("cog_workers")["READY"] == 2
    assert page["cog_worker_state", "READY"] == 1


def test_sigterm_lets_both_predictions_end(fragile: Server) -> None:
    server = fragile
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(server.predict, sleep_s=1.0) for _ in range(2)]
        server.wait_for("BUSY")
        pids = server.worker_pids()
        server.process.terminate()

        assert sorted(answer.result(10)["output"][0] for answer in answers) == [0, 1]
    assert server.process.wait(10) == 0
    assert not any(map(is_alive, pids))


def test_kill_9_of_the_server_takes_both_workers(fragile: Server) -> None:
    pids = fragile.worker_pids()
    assert len(pids) == 2

    fragile.process.kill()

    wait_until(lambda: not any(map(is_alive, pids)), "a worker is left")


# --- devices


@pytest.mark.parametrize(
    ("workers", "visible", "groups"),
    [
        (1, "0123", ["0123"]),
        (2, "0123", ["01", "23"]),
        (3, "01234567", ["012", "345", "67"]),
        (4, "0123", ["0", "1", "2", "3"]),
        (5, "01", ["0", "1", "0", "1", "0"]),
        (2, "", ["", ""]),
        ("per_gpu", "0123", ["0", "1", "2", "3"]),
        ("per_gpu", "0", ["0"]),
        ("per_gpu", "", [""]),
    ],
)
def test_gpus_are_shared_out(workers: Any, visible: str, groups: list[str]) -> None:
    assert devices_of(workers, tuple(visible)) == [tuple(group) for group in groups]


def test_there_are_not_more_workers_than_may_be_however_many_gpus_there_are() -> None:
    groups = devices_of("per_gpu", [str(number) for number in range(70)])

    assert [len(group) for group in groups] == [2] * 6 + [1] * 58


@pytest.mark.parametrize(
    ("value", "devices"),
    [
        ("0,1", ("0", "1")),
        (" 1 , 0", ("1", "0")),
        ("", ()),
        ("-1", ()),
        ("2,-1,3", ("2",)),
        ("0,,1", ("0",)),
        ("NoDevFiles", ()),
        ("GPU-8932f937-d72c,MIG-GPU-8932f937/1/0,MIG-12ab", ("GPU-8932f937-d72c", "MIG-GPU-8932f937/1/0", "MIG-12ab")),
    ],
)
def test_what_cuda_sees_is_read_as_cuda_reads_it(value: str, devices: tuple[str, ...]) -> None:
    assert read_visible(value) == devices


def test_only_one_of_several_is_told_of_its_gpus() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in Place(0, 1, ("0",)).variables
    assert "CUDA_VISIBLE_DEVICES" not in Place(0, 2).variables
    assert Place(1, 2, ("2", "3")).variables == {
        "CUDA_VISIBLE_DEVICES": "2,3",
        "COG_WORKER_INDEX": "1",
        "COG_WORKERS": "2",
    }


LOOK = """
    class Predictor(BasePredictor):
        def predict(self, sleep_s: float = 0.5) -> str:
            time.sleep(sleep_s)
            return os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
"""
SMI = 'case "$1" in *=index) echo 0; echo 1; echo 2;; *) exit 3;; esac'


def seen(server: Server) -> list[str]:
    """What each worker sees."""
    count = len(server.worker_pids())
    return sorted(str(document["output"]) for document in at_once(server, [{}] * count))


@pytest.mark.parametrize(
    ("count", "given", "expected"),
    [
        ("2", "3,5,7", ["3,5", "7"]),
        ("per_gpu", "GPU-aa,GPU-bb", ["GPU-aa", "GPU-bb"]),
        ("2", "", ["", ""]),
        ("1", "4,5", ["4,5"]),
    ],
)
def test_each_worker_sees_its_part_of_what_the_operator_gives(
    serve: Serve, count: str, given: str, expected: list[str]
) -> None:
    server = serve(LOOK, environment={"COG_WORKERS": count, "CUDA_VISIBLE_DEVICES": given})

    assert seen(server) == expected


def test_a_worker_for_each_gpu_that_nvidia_smi_lists(serve: Serve, tmp_path: Path) -> None:
    server = serve(LOOK, environment={"COG_WORKERS": "per_gpu", **with_smi(tmp_path, SMI)})

    assert seen(server) == ["0", "1", "2"]
    assert [each["devices"] for each in workers(server)] == [["0"], ["1"], ["2"]]


def test_per_gpu_without_a_gpu_is_one_worker_and_a_warning(serve: Serve, tmp_path: Path) -> None:
    server = serve(LOOK, environment={"COG_WORKERS": "per_gpu", **with_smi(tmp_path, "echo No devices; exit 9")})

    assert seen(server) == ["unset"]
    assert "no GPU is visible" in server.log.read_text()
    assert "nvidia-smi fails, so no GPU is counted: No devices" in server.log.read_text()


def test_the_server_answers_and_ends_while_nvidia_smi_hangs(serve: Serve, tmp_path: Path) -> None:
    environment = {"COG_WORKERS": "per_gpu", **with_smi(tmp_path, "exec sleep 60")}
    server = serve(LOOK, ready=False, environment=environment)

    assert server.health()["status"] == "STARTING"
    assert server.http.get("/readyz").status_code == 503
    assert server.http.post("/predictions", json={}).status_code == 503
    assert server.http.get("/openapi.json").status_code == 503
    scrape(server)
    server.process.terminate()
    assert server.process.wait(5) == 0


def with_smi(folder: Path, script: str) -> dict[str, str]:
    """An environment with a program that stands in for nvidia-smi."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


# --- settings


@pytest.mark.parametrize("value", ["0", "65", "-1", "two", "per-gpu", "1.5", "9" * 5000])
def test_a_number_of_workers_that_means_nothing_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=r"COG_WORKERS is .*1 to 64, or per_gpu"):
        read_settings({"COG_PREDICT": "p.py:P", "COG_WORKERS": value})


def test_more_than_there_are_cannot_be_asked_to_be_ready() -> None:
    with pytest.raises(SettingsError, match="COG_WORKERS_QUORUM is 3, but COG_WORKERS is 2"):
        read_settings({"COG_PREDICT": "p.py:P", "COG_WORKERS": "2", "COG_WORKERS_QUORUM": "3"})


def test_a_training_has_one_worker() -> None:
    assert read_settings({"COG_TRAIN": "t.py:t", "COG_WORKERS": "per_gpu"}, mode="train").workers == 1


# --- the pool itself

_READY, _STARTING, _FAILED, _DEFUNCT = State.READY, State.STARTING, State.SETUP_FAILED, State.DEFUNCT


@pytest.mark.parametrize(
    ("states", "set_up", "quorum", "expected"),
    [
        ([_STARTING, _STARTING], 0, 2, _STARTING),
        ([_READY, _STARTING], 1, 2, _STARTING),
        ([_READY, _STARTING], 1, 1, _READY),
        ([_READY, _READY], 2, 2, _READY),
        ([_READY, _FAILED], 1, 2, _FAILED),
        ([_READY, _FAILED], 1, 1, _READY),
        ([_STARTING, _FAILED], 0, 1, _STARTING),
        ([_FAILED, _FAILED], 0, 1, _FAILED),
        ([_STARTING, _READY], 2, 2, _READY),
        ([_STARTING, _DEFUNCT], 2, 2, _STARTING),
        ([_READY, _DEFUNCT], 2, 2, _READY),
        ([_DEFUNCT, _FAILED], 1, 1, _DEFUNCT),
        ([_DEFUNCT, _DEFUNCT], 2, 2, _DEFUNCT),
    ],
)
def test_what_the_workers_are_as_one(states: list[State], set_up: int, quorum: int, expected: State) -> None:
    assert state_of(states, set_up=set_up, quorum=quorum) is expected


@contextlib.asynccontextmanager
async def pool_of(folder: Path, workers: int) -> AsyncIterator[WorkerPool]:
    """A pool of real workers, ready, with one slot each."""
    (folder / "predict.py").write_text("from cog import *\ndef predict() -> int:\n    return 1\n")
    settings = Settings("predict.py:predict", model_path=str(REPOSITORY), folder=folder, workers=workers)
    pool = WorkerPool(settings, on_text=lambda text, prediction_id, worker: None)
    ready = asyncio.Event()
    pool.listeners.append(lambda state: ready.set() if state is State.READY else None)
    await pool.start()
    await asyncio.wait_for(ready.wait(), 20)
    try:
        yield pool
    finally:
        await pool.stop(1.0)


Given = list[Supervisor | WorkerUnavailable]


def test_a_lease_comes_at_once_and_then_in_the_order_of_asking(tmp_path: Path) -> None:
    async def go() -> None:
        async with pool_of(tmp_path, 2) as pool:
            first, second, third, fourth = Given(), Given(), Given(), Given()
            for each in (first, second, third, fourth):
                pool.lease(each.append)
            assert [len(each) for each in (first, second, third, fourth)] == [1, 1, 0, 0]
            assert first != second

            pool.give_back(second[0])  # type: ignore[arg-type]  # it is a worker

            assert third == second
            assert fourth == []

    asyncio.run(go())


def test_one_that_is_first_goes_before_all_who_wait_and_one_that_withdraws_gets_none(tmp_path: Path) -> None:
    async def go() -> None:
        async with pool_of(tmp_path, 1) as pool:
            worker = await pool.wait_lease()
            waiting, gone, first = Given(), Given(), Given()
            take_none = gone.append
            pool.lease(take_none)
            pool.lease(waiting.append)
            pool.lease(first.append, is_first=True)
            pool.withdraw(take_none)
            pool.give_back(worker)
            assert (first, gone, waiting) == ([worker], [], [])
            pool.give_back(worker)
            assert (gone, waiting) == ([], [worker])

    asyncio.run(go())


def test_a_thousand_that_give_back_at_once_are_served_one_after_the_other(tmp_path: Path) -> None:
    async def go() -> None:
        async with pool_of(tmp_path, 1) as pool:
            worker = await pool.wait_lease()
            order: list[int] = []

            def take(number: int, offer: Supervisor | WorkerUnavailable) -> None:
                order.append(number)
                assert isinstance(offer, Supervisor)
                pool.give_back(offer)

            for number in range(5000):
                pool.lease(lambda offer, number=number: take(number, offer))  # type: ignore[misc]
            pool.give_back(worker)
            assert order == list(range(5000))
            assert await pool.wait_lease() is worker

    asyncio.run(go())


@pytest.mark.parametrize("moment", ["waiting", "before it is given", "after it was given"])
def test_a_coroutine_that_is_canceled_keeps_no_worker(tmp_path: Path, moment: str) -> None:
    async def go() -> None:
        async with pool_of(tmp_path, 1) as pool:
            worker = await pool.wait_lease()
            waiting = asyncio.create_task(pool.wait_lease())
            await asyncio.sleep(0)
            if moment == "after it was given":
                pool.give_back(worker)
            waiting.cancel()
            if moment == "before it is given":
                pool.give_back(worker)
            with pytest.raises(asyncio.CancelledError):
                await waiting
            if moment == "waiting":
                pool.give_back(worker)

            assert await asyncio.wait_for(pool.wait_lease(), 5) is worker

    asyncio.run(go())


def test_a_worker_that_is_being_killed_is_given_to_nobody(tmp_path: Path) -> None:
    async def go() -> None:
        async with pool_of(tmp_path, 1) as pool:
            [supervisor] = pool.supervisors
            before = supervisor.pid

            supervisor.kill("a test")

            assert await asyncio.wait_for(pool.wait_lease(), 20) is supervisor
            assert supervisor.pid not in (None, before)

    asyncio.run(go())


def test_who_waits_when_the_last_worker_is_gone_is_told(tmp_path: Path) -> None:
    async def go() -> None:
        async with pool_of(tmp_path, 1) as pool:
            await pool.wait_lease()
            waiting = Given()
            pool.lease(waiting.append)
            await pool.stop(0.0)
            assert [type(each) for each in waiting] == [WorkerUnavailable]
            with pytest.raises(WorkerUnavailable, match="shutting down"):
                await pool.wait_lease()

    asyncio.run(go())
