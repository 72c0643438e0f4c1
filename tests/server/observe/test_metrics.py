"""`/metrics` of real servers, read by Prometheus' own parser."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cog_server.observe.exposition import Family, Sample, expose, labeled, number
from cog_server.observe.gpu_usage import GpuLoad, GpuUsage, read_loads
from cog_server.observe.metrics import MAX_NAMES, TIME_BOUNDS_S, Metrics
from tests.server.conftest import Serve, Server, serving, wait_until

SOURCE = """
    import signal

    class Predictor(BasePredictor):
        def predict(self, do: str = "", sleep_s: float = 0.0) -> str:
            record_metric("tokens", 7)
            record_metric("tokens", 3, mode="incr")
            record_metric("model.loss", 0.25)
            record_metric("label", "a text")
            record_metric("is_good", True)
            time.sleep(sleep_s)
            if do == "fail":
                raise ValueError("as asked")
            if do == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            return do
"""
GPU_SCRIPT = """case "$1" in
*memory.used*) echo asked >> "{count}"; echo '0, 1024, 81559, 37'; echo '1, 2, 4096, [N/A]';;
*) exit 3;;
esac"""


class Page:
    """What one scrape says."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.values = {
            (sample.name, *sample.labels.values()): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __getitem__(self, key: str | tuple[str, ...]) -> float:
        return self.values[(key,) if isinstance(key, str) else key]

    def __contains__(self, name: str) -> bool:
        return any(key[0].startswith(name) for key in self.values)

    def all(self, name: str) -> dict[str, float]:
        """The values of one metric by its label."""
        return {key[1]: value for key, value in self.values.items() if key[0] == name}


def scrape(server: Server, **headers: str) -> Page:
    answer = server.http.get("/metrics", headers=headers)
    assert answer.status_code == 200
    return Page(answer.text)


def start(server: Server, **given: Any) -> str:
    answer = server.http.post("/predictions", json={"input": given}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    return str(answer.json()["id"])


def wait_for_end(server: Server, prediction_id: str, status: str) -> None:
    wait_until(lambda: server.http.get(f"/predictions/{prediction_id}").json()["status"] == status, f"not {status}")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Page, Page]]:
    """Three scrapes: of a server that has done nothing, of one with a prediction running, and after much has happened."""
    with serving(tmp_path_factory.mktemp("metrics")) as serve:
        server = serve(SOURCE, environment={"COG_MAX_QUEUE": "0"})
        fresh = scrape(server)
        for _ in range(3):
            server.predict(sleep_s=0.02)
        server.predict(do="fail")
        running = start(server, sleep_s=60)
        wait_until(
            lambda: server.http.get(f"/predictions/{running}").json()["status"] == "processing", "it does not begin"
        )
        assert server.http.post("/predictions", json={"input": {}}).status_code == 409
        busy = scrape(server)
        server.http.post(f"/predictions/{running}/cancel")
        wait_for_end(server, running, "canceled")
        assert server.http.post("/predictions", json={"input": {"do": 3}}).status_code == 422
        assert server.http.post("/predict", content=b"x", headers={"content-type": "a/b"}).status_code == 415
        server.predict(do="die")
        server.wait_for("READY")
        yield fresh, busy, scrape(server)


@pytest.fixture
def fresh(story: tuple[Page, Page, Page]) -> Page:
    return story[0]


@pytest.fixture
def busy(story: tuple[Page, Page, Page]) -> Page:
    return story[1]


@pytest.fixture
def after(story: tuple[Page, Page, Page]) -> Page:
    return story[2]


def test_a_server_that_has_done_nothing_has_zeros_to_count_from(fresh: Page) -> None:
    assert fresh.all("cog_predictions_total") == {"succeeded": 0, "failed": 0, "canceled": 0}
    assert set(fresh.all("cog_rejected_requests_total")) == {"409", "413", "415", "422", "503", "507"}
    assert set(fresh.all("cog_rejected_requests_total").values()) == {0}
    assert fresh["cog_prediction_queue_seconds_count"] == fresh["cog_prediction_predict_seconds_count"] == 0
    assert fresh["cog_worker_restarts_total"] == 0
    assert "cog_model_metric" not in fresh


def test_predictions_are_counted_by_how_they_ended(after: Page) -> None:
    assert after.all("cog_predictions_total") == {"succeeded": 3, "failed": 2, "canceled": 1}


def test_refused_requests_are_counted_by_status(after: Page) -> None:
    assert after.all("cog_rejected_requests_total") == {"409": 1, "413": 0, "415": 1, "422": 1, "503": 0, "507": 0}


def test_one_that_runs_is_in_flight_and_not_queued(busy: Page, after: Page) -> None:
    assert (busy["cog_predictions_in_flight"], busy["cog_predictions_queued"]) == (1, 0)
    assert (after["cog_predictions_in_flight"], after["cog_predictions_queued"]) == (0, 0)


def test_times_are_observed_once_each(busy: Page, after: Page) -> None:
    assert busy["cog_prediction_queue_seconds_count"] == 5
    assert busy["cog_prediction_predict_seconds_count"] == 4
    assert after["cog_prediction_queue_seconds_count"] == 6
    assert after["cog_prediction_predict_seconds_count"] == 6


def test_times_are_in_seconds_and_in_the_right_buckets(busy: Page) -> None:
    assert 0.06 <= busy["cog_prediction_predict_seconds_sum"] < 2
    assert busy["cog_prediction_predict_seconds_bucket", "0.01"] == 1
    assert busy["cog_prediction_predict_seconds_bucket", "5.0"] == 4
    assert 0 < busy["cog_prediction_queue_seconds_sum"] < 2


@pytest.mark.parametrize("name", ["cog_prediction_queue_seconds", "cog_prediction_predict_seconds"])
def test_buckets_go_from_a_millisecond_to_an_hour_and_rise_to_the_count(after: Page, name: str) -> None:
    buckets = after.all(f"{name}_bucket")

    assert [float(bound) for bound in buckets] == [*TIME_BOUNDS_S, math.inf]
    assert (TIME_BOUNDS_S[0], TIME_BOUNDS_S[-1]) == (0.001, 3600)
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets["+Inf"] == after[f"{name}_count"]


def test_a_killed_worker_is_a_restart_and_its_prediction_has_a_time(after: Page) -> None:
    assert after["cog_worker_restarts_total"] == 1
    assert after["cog_prediction_predict_seconds_count"] == sum(after.all("cog_predictions_total").values())


def test_the_setup_time_is_the_last_worker_s(busy: Page, after: Page) -> None:
    assert 0 < busy["cog_setup_seconds"] < 15
    assert after["cog_setup_seconds"] != busy["cog_setup_seconds"]


def test_the_worker_is_in_exactly_one_state(after: Page) -> None:
    states = after.all("cog_worker_state")

    assert set(states) == {"STARTING", "READY", "SETUP_FAILED", "DEFUNCT", "STOPPED"}
    assert [state for state, value in states.items() if value] == ["READY"]


def test_the_last_number_that_the_model_recorded_is_there(after: Page) -> None:
    assert after.all("cog_model_metric") == {"tokens": 10, "model.loss": 0.25}


def test_nothing_is_said_of_batches_and_gpus_where_there_are_none(after: Page) -> None:
    assert "cog_batch_size" not in after
    assert "cog_gpu" not in after


def test_every_metric_has_a_type_and_says_what_it_is(after: Page) -> None:
    for family in after.families.values():
        assert family.type in ("counter", "gauge", "histogram"), family
        assert family.documentation.endswith("."), family
        assert all(sample.name.startswith("cog_") for sample in family.samples)


def test_every_metric_is_in_the_manual(after: Page, repository: Path) -> None:
    manual = (repository / "docs" / "observability.md").read_text()

    for family in after.families.values():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"`{name}" in manual, name


def test_the_answer_says_which_format_it_has(serve: Serve) -> None:
    server = serve(SOURCE)

    answer = server.http.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert server.http.get("/").json()["metrics_url"] == "/metrics"
    assert "/metrics" in server.http.get("/openapi.json").json()["paths"]


def test_a_token_is_needed_where_one_is_set(serve: Serve) -> None:
    server = serve(SOURCE, environment={"COG_AUTH_TOKEN": "t0ken"})

    assert server.http.get("/metrics").status_code == 401
    assert scrape(server, Authorization="Bearer t0ken")["cog_worker_state", "READY"] == 1


def test_a_page_is_there_while_the_model_sets_up_and_then_says_how_long_that_took(serve: Serve) -> None:
    slow = """
        class Predictor(BasePredictor):
            def setup(self) -> None:
                time.sleep(0.5)
                while not os.path.exists("seen"):
                    time.sleep(0.01)

            def predict(self) -> str:
                return ""
    """

    server = serve(slow, ready=False)
    early = scrape(server)
    (server.log.parent / "seen").touch()
    server.wait_for("READY")
    late = scrape(server)

    assert early["cog_worker_state", "STARTING"] == 1
    assert "cog_setup_seconds" not in early
    assert 0.5 <= late["cog_setup_seconds"] < 15


def test_waiting_ones_are_queued_and_their_wait_is_timed(serve: Serve) -> None:
    server = serve(SOURCE)
    first = start(server, sleep_s=60)
    waiting = [start(server) for _ in range(2)]
    wait_until(lambda: scrape(server)["cog_predictions_queued"] == 2, "they do not wait")

    assert scrape(server)["cog_predictions_in_flight"] == 3
    time.sleep(0.3)
    server.http.post(f"/predictions/{waiting[0]}/cancel")
    server.http.post(f"/predictions/{first}/cancel")
    wait_for_end(server, waiting[1], "succeeded")

    page = scrape(server)
    assert page["cog_prediction_queue_seconds_count"] == 3
    assert page["cog_prediction_queue_seconds_sum"] >= 0.6
    assert page["cog_prediction_predict_seconds_count"] == 2
    assert page.all("cog_predictions_total") == {"succeeded": 1, "failed": 0, "canceled": 2}


def test_what_a_model_records_is_there_while_it_runs(serve: Serve) -> None:
    server = serve(SOURCE)
    start(server, sleep_s=60)

    wait_until(lambda: scrape(server).all("cog_model_metric") == {"tokens": 10, "model.loss": 0.25}, "not there")


def test_a_model_that_talks_past_our_checks_spoils_no_page(serve: Serve) -> None:
    names = ['a"b', "a\\b", "a\nb 1\ncog_worker_restarts_total 99", "ünï{}", "\\n", ""]
    server = serve(
        f"""
        from cog import current_scope

        class Predictor(BasePredictor):
            def predict(self) -> str:
                for name in {names!r}:
                    current_scope().metrics._on_change(name, 10 ** 400)
                current_scope().metrics._on_change("x" * 1000, 1)
                current_scope().metrics._on_change("gone", 1)
                current_scope().metrics._on_change("gone", None)
                return ""
        """
    )
    server.predict()

    page = scrape(server)

    assert page.all("cog_model_metric") == {**dict.fromkeys(names, math.inf), "gone": 1}
    assert page["cog_worker_restarts_total"] == 0


def test_names_are_bounded() -> None:
    metrics = Metrics()
    for number_of_name in range(MAX_NAMES + 50):
        metrics.record(f"name_{number_of_name}", number_of_name)
    metrics.record("name_0", 7)

    values = Page(expose(metrics.families()).decode()).all("cog_model_metric")

    assert len(values) == MAX_NAMES
    assert values["name_0"] == 7


def test_batches_are_there_once_there_was_one() -> None:
    metrics = Metrics()
    for size in (1, 3, 4, 1000):
        metrics.count_batch(size)

    page = Page(expose(metrics.families()).decode())

    assert (page["cog_batch_size_count"], page["cog_batch_size_sum"]) == (4, 1008)
    assert (page["cog_batch_size_bucket", "1.0"], page["cog_batch_size_bucket", "4.0"]) == (1, 3)


def test_a_text_of_any_kind_comes_back_as_it_was() -> None:
    texts = dict.fromkeys(('"', "\\", "\n", '\\"', "\\n", "a,b}", "#", " ", "\r", "\u2028", "é", "{"), 1.0)

    page = Page(expose([Family("m", "gauge", 'a "help"\nwith \\n', labeled("label", texts))]).decode())

    assert page.all("m") == texts
    assert page.families["m"].documentation == 'a "help"\nwith \\n'


def test_a_text_that_is_not_unicode_does_not_fail() -> None:
    assert expose([Family("m", "gauge", "h", (Sample(1, (("a", "\udc80"),)),))]).endswith(b'm{a="?"} 1\n')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (-(10**400), "-Inf"),
        (10**5000, "+Inf"),
        (2**60, "1.152921504606847e+18"),
        (math.nan, "NaN"),
        (-math.inf, "-Inf"),
    ],
    ids=lambda each: str(each)[:20] if not isinstance(each, int) else "int",
)
def test_numbers_are_what_prometheus_reads(value: float, text: str) -> None:
    assert number(value) == text


def test_gpus_are_there_from_the_second_scrape_on(serve: Serve, tmp_path: Path) -> None:
    count = tmp_path / "count"
    server = serve(SOURCE, environment={"PATH": _smi(tmp_path, GPU_SCRIPT.format(count=count))})

    first = scrape(server)
    wait_until(lambda: "cog_gpu" in scrape(server), "no GPU appears", timeout_s=4)
    page = scrape(server)

    assert "cog_gpu" not in first
    assert page.all("cog_gpu_memory_used_bytes") == {"0": 1024 * 2**20, "1": 2 * 2**20}
    assert page.all("cog_gpu_memory_total_bytes") == {"0": 81559 * 2**20, "1": 4096 * 2**20}
    assert page.all("cog_gpu_utilization_ratio") == {"0": pytest.approx(0.37)}
    # However often it is scraped.
    assert count.read_text().splitlines() == ["asked"]


def test_nobody_asks_for_gpus_before_a_scrape(serve: Serve, tmp_path: Path) -> None:
    count = tmp_path / "count"
    server = serve(SOURCE, environment={"PATH": _smi(tmp_path, GPU_SCRIPT.format(count=count))})

    server.predict()

    assert not count.exists()


def test_a_hanging_nvidia_smi_holds_up_neither_a_scrape_nor_the_end(serve: Serve, tmp_path: Path) -> None:
    server = serve(SOURCE, environment={"PATH": _smi(tmp_path, "exec sleep 60")})
    started = time.monotonic()

    pages = [scrape(server) for _ in range(20)]
    server.process.terminate()

    assert server.process.wait(10) == 0
    assert time.monotonic() - started < 5
    assert not any("cog_gpu" in page for page in pages)


def test_an_nvidia_smi_that_hangs_is_asked_ever_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = tmp_path / "count"
    monkeypatch.setenv("PATH", _smi(tmp_path, f'echo asked >> "{count}"; exec sleep 60'))

    async def scrape_often() -> None:
        usage = GpuUsage(every_s=0.05, timeout_s=0.05)
        for _ in range(80):
            assert usage.latest() == {}
            await asyncio.sleep(0.01)
        await usage.stop()

    asyncio.run(scrape_often())

    assert 1 < len(count.read_text().splitlines()) <= 5


def test_what_is_not_known_any_more_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = tmp_path / "flag"
    monkeypatch.setenv("PATH", _smi(tmp_path, f'test -e "{flag}" && exit 9; touch "{flag}"; echo "0, 1, 2, 3"'))

    async def sizes() -> list[int]:
        usage, seen = GpuUsage(every_s=0.0), [0]
        deadline = time.monotonic() + 10
        while seen != [0, 1, 0] and time.monotonic() < deadline:
            size = len(usage.latest())
            seen += [size] if size != seen[-1] else []
            await asyncio.sleep(0.001)
        await usage.stop()
        return seen

    assert asyncio.run(sizes()) == [0, 1, 0]


@pytest.mark.parametrize(
    ("text", "loads"),
    [
        ("", {}),
        ("No devices were found\n", {}),
        ("0, 1, 2\n", {}),
        ("WARNING: infoROM is corrupted at gpu 0000:00\n3, 1, 2, 100\n", {"3": GpuLoad(2**20, 2 * 2**20, 1.0)}),
        ("0, [N/A], [Not Supported], [Unknown Error]\n", {"0": GpuLoad(None, None, None)}),
        ("0, nan, inf, -5\n", {"0": GpuLoad(None, None, None)}),
    ],
)
def test_only_numbers_of_nvidia_smi_count(text: str, loads: dict[str, GpuLoad]) -> None:
    assert read_loads(text) == loads


def _smi(folder: Path, script: str) -> str:
    """A PATH with a program that stands in for nvidia-smi."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"
