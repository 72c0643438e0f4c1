"""Webhooks of a real server: what a receiver gets that answers, fails, hangs, goes away or must not be asked."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cog.webhooks import verify
from cog_server.network.addresses import AddressPolicy
from cog_server.predictions.prediction import Prediction, Status
from cog_server.predictions.store.memory import MemoryStore
from cog_server.settings import Settings, SettingsError, read_settings
from cog_server.webhooks.calls import MAX_CALLS
from cog_server.webhooks.hook import Hook
from cog_server.webhooks.sender import WebhookSender
from tests.conftest import REPOSITORY
from tests.fakes.webhook_receiver import OK, Call, Manner, Reply, WebhookReceiver, at_random, receiving
from tests.server.conftest import Serve, Server, serving, wait_until
from tests.server.network.test_outgoing import certificate  # noqa: F401 - a fixture
from tests.shared import free_port

MODEL = """
    import asyncio
    class Predictor(BasePredictor):
        @concurrent(max=16)
        async def predict(self, items: int = 1, pause: float = 0.0, lines: int = 0) -> AsyncIterator[str]:
            for number in range(items):
                print("item", number)
                yield str(number)
                await asyncio.sleep(pause)
            for number in range(lines):
                print(number)
                if number % 10 == 9:
                    await asyncio.sleep(0.001)
"""
SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "the next one")
OPEN = {"COG_ALLOW_PRIVATE_URLS": "127.0.0.0/8", "COG_DRAIN_TIMEOUT": "2"}
QUICK = {**OPEN, "COG_THROTTLE_RESPONSE_INTERVAL": "0.05", "COG_WEBHOOK_TIMEOUT": "1"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that need no other settings."""
    environment = {**OPEN, "COG_WEBHOOK_SECRET": ",".join(SECRETS), "WEBHOOK_AUTH_TOKEN": "t0ken"}
    with serving(tmp_path_factory.mktemp("webhooks")) as start:
        yield start(MODEL, environment=environment)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with receiving() as running:
        yield running


def begin(server: Server, url: str, *, events: Any = None, headers: dict[str, str] | None = None, **given: Any) -> str:
    """Ask for a prediction whose events go to `url`; give its id."""
    answer = server.http.post(
        "/predictions",
        json={"input": given, "webhook": url, "webhook_events_filter": events},
        headers={"prefer": "respond-async", **(headers or {})},
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def statuses(calls: list[Call]) -> list[str]:
    return [call.document["status"] for call in calls]


def always(*replies: Reply) -> Any:
    """Answer with these, then with the last of them for ever."""
    left = list(replies)
    return lambda path, headers: left.pop(0) if len(left) > 1 else left[0]


def test_a_receiver_gets_the_story_in_order_signed_and_with_what_the_request_brought(
    server: Server, receiver: WebhookReceiver
) -> None:
    identifier = begin(server, receiver.url("/h?a=b"), headers={"traceparent": TRACE}, items=3, pause=0.3)
    receiver.wait_for(lambda: receiver.has_end_of(identifier))

    calls = receiver.of(identifier)
    assert statuses(calls) == ["processing"] * (len(calls) - 1) + ["succeeded"]
    outputs = [call.document["output"] or [] for call in calls]
    assert outputs[0] == [] and outputs[-1] == ["0", "1", "2"]
    assert all(earlier == later[: len(earlier)] for earlier, later in itertools.pairwise(outputs))
    assert len(calls) >= 3
    assert calls[-1].document == server.http.get(f"/predictions/{identifier}").json()
    assert len({call.message_id for call in calls}) == len(calls)
    for call in calls:
        assert call.path == "/h?a=b"
        assert call.headers["content-type"] == "application/json"
        assert call.headers["user-agent"].startswith("cog/")
        assert call.headers["authorization"] == "Bearer t0ken"
        assert call.headers["traceparent"] == TRACE
        for secrets in (SECRETS, *SECRETS):
            assert verify(secrets, call.headers, call.body) == call.message_id


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (["start"], ["processing"]),
        (["completed"], ["succeeded"]),
        (["start", "completed"], ["processing", "succeeded"]),
        ([], []),
    ],
    ids=str,
)
def test_the_filter_chooses(server: Server, receiver: WebhookReceiver, events: list[str], expected: list[str]) -> None:
    filtered = begin(server, receiver.url(), events=events)
    later = begin(server, receiver.url(), events=["completed"])
    receiver.wait_for(lambda: receiver.has_end_of(later) and len(receiver.of(filtered)) >= len(expected))

    assert statuses(receiver.of(filtered)) == expected


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"webhook": "http://hook.test/\r\nX: 1"}, ["body", "webhook"]),
        ({"webhook": "http://hook.test/\x00"}, ["body", "webhook"]),
        ({"webhook": " http://hook.test/"}, ["body", "webhook"]),
        ({"webhook": "http://a.test\\@b.test/"}, ["body", "webhook"]),
        ({"webhook": "http://user:pw@hook.test/"}, ["body", "webhook"]),
        ({"webhook": "ftp://hook.test/"}, ["body", "webhook"]),
        ({"webhook": "file:///etc/passwd"}, ["body", "webhook"]),
        ({"webhook": "javascript:alert(1)"}, ["body", "webhook"]),
        ({"webhook": "hook.test"}, ["body", "webhook"]),
        ({"webhook": "http://"}, ["body", "webhook"]),
        ({"webhook": "http://x:0/"}, ["body", "webhook"]),
        ({"webhook": "http://x:99999/"}, ["body", "webhook"]),
        ({"webhook": "http://0177.0.0.1/"}, ["body", "webhook"]),
        ({"webhook": ""}, ["body", "webhook"]),
        ({"webhook": 5}, ["body", "webhook"]),
        ({"webhook": "http://x/" + "a" * 9000}, ["body", "webhook"]),
        ({"webhook": "http://x/", "webhook_events_filter": "completed"}, ["body", "webhook_events_filter"]),
        ({"webhook": "http://x/", "webhook_events_filter": ["start", "x"]}, ["body", "webhook_events_filter", 1]),
        ({"webhook_events_filter": [{}]}, ["body", "webhook_events_filter", 0]),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_webhook_that_cannot_be_called_is_a_422(server: Server, given: dict[str, Any], place: list[Any]) -> None:
    answer = server.http.post("/predictions", json={"input": {}, **given})

    assert answer.status_code == 422, answer.text
    assert [item["loc"] for item in answer.json()["detail"]] == [place]
    assert "pw" not in answer.text


def test_null_is_no_webhook(server: Server) -> None:
    answer = server.http.post("/predictions", json={"input": {}, "webhook": None, "webhook_events_filter": None})

    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


def test_an_endpoint_that_is_down_changes_nothing_for_predictions(server: Server, receiver: WebhookReceiver) -> None:
    receiver.down()
    started = time.monotonic()
    for _ in range(10):
        document = server.http.post("/predictions", json={"input": {}, "webhook": receiver.url()}).json()
        assert document["status"] == "succeeded"
    assert time.monotonic() - started < 20, "they wait for deliveries, which take minutes"
    canceled = begin(server, receiver.url(), items=1000, pause=0.1)
    assert server.health()["status"] == "READY"

    assert server.http.post(f"/predictions/{canceled}/cancel").status_code == 200
    wait_until(lambda: server.http.get(f"/predictions/{canceled}").json()["status"] == "canceled", "it does not stop")
    assert server.health()["status"] == "READY"


@pytest.mark.slow
def test_endpoints_that_come_back_get_every_end_once(serve: Serve, receiver: WebhookReceiver) -> None:
    server = serve(MODEL, environment=QUICK)
    identifiers = [begin(server, receiver.url(), items=3, pause=0.1) for _ in range(10)]
    receiver.down()
    identifiers += [begin(server, receiver.url(), items=3, pause=0.1) for _ in range(10)]
    time.sleep(1.5)
    receiver.up()
    receiver.wait_for(lambda: all(map(receiver.has_end_of, identifiers)))

    findings = receiver.examine(identifiers)
    assert not findings.faults
    ends = [call.document["id"] for call in receiver.calls if call.is_end]
    assert sorted(ends) == sorted(identifiers)


@pytest.mark.slow
def test_random_faults_lose_nothing_and_keep_the_order(serve: Serve) -> None:
    server = serve(MODEL, environment=QUICK)
    with receiving(at_random(seed=5)) as receiver:
        identifiers = [begin(server, receiver.url(), items=3, pause=0.08) for _ in range(40)]
        receiver.wait_for(lambda: all(map(receiver.has_end_of, identifiers)), timeout_s=60)

        findings = receiver.examine(identifiers)
        assert not findings.faults
        assert findings.duplicates > 0, "the receiver did not fail"


@pytest.mark.parametrize("status", [400, 401, 404, 410, 301, 307])
def test_a_refusal_is_not_tried_again_and_said_once_without_secrets(server: Server, status: int) -> None:
    with receiving(always(Reply(status, {"Location": "/elsewhere"}))) as receiver:
        identifier = begin(server, receiver.url(f"/{status}?key=s3cret"), events=["completed"])
        wait_until(lambda: f"/{status}: {status}" in server.log.read_text(), "it is not said")
        marker = begin(server, receiver.url("/marker"), events=["completed"])
        receiver.wait_for(lambda: bool(receiver.of(marker)))

        assert len(receiver.of(identifier)) == 1
        said = [line for line in server.log.read_text().splitlines() if f"/{status}: " in line]
        assert len(said) == 1
        assert "s3cret" not in server.log.read_text()


def test_gone_ends_the_calls_for_this_prediction_only(server: Server) -> None:
    def choose(path: str, headers: dict[str, str]) -> Reply:
        return Reply(410) if path == "/gone" else OK

    with receiving(choose) as receiver:
        gone = begin(server, receiver.url("/gone"), items=3, pause=0.3)
        other = begin(server, receiver.url("/other"), items=3, pause=0.4)
        receiver.wait_for(lambda: receiver.has_end_of(other))

        assert len(receiver.of(gone)) == 1


def test_a_second_try_has_the_same_id_and_a_signature_of_its_own_time(server: Server) -> None:
    with receiving(always(Reply(503), Reply(429, {"Retry-After": "2"}), OK)) as receiver:
        identifier = begin(server, receiver.url(), events=["completed"])
        receiver.wait_for(lambda: receiver.has_end_of(identifier))

        first, second, third = receiver.of(identifier)
        assert first.message_id == second.message_id == third.message_id
        assert first.body == second.body == third.body
        assert 2 <= third.at - second.at < 3.5
        assert first.headers["webhook-timestamp"] != third.headers["webhook-timestamp"]
        assert verify(SECRETS[0], third.headers, third.body) == third.message_id


def test_ten_thousand_log_lines_are_two_calls_a_second(server: Server, receiver: WebhookReceiver) -> None:
    started = time.monotonic()
    identifier = begin(server, receiver.url(), lines=10_000)
    receiver.wait_for(lambda: receiver.has_end_of(identifier))
    took_s = time.monotonic() - started

    calls = receiver.of(identifier)
    assert len(calls) <= 2 * took_s + 4
    between = calls[1:-1]
    assert between, "the model was too fast to say anything in between"
    assert all(later.at - earlier.at > 0.45 for earlier, later in itertools.pairwise(between))
    assert calls[-1].document["logs"].count("\n") == 10_001


def test_a_target_inside_gets_no_connection(serve: Serve, receiver: WebhookReceiver) -> None:
    server = serve(MODEL)
    targets = [f"http://{host}:{receiver.port}/" for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1")]
    for target in targets:
        assert server.http.post("/predictions", json={"input": {}, "webhook": target}).json()["status"] == "succeeded"
    wait_until(lambda: server.log.read_text().count("COG_ALLOW_PRIVATE_URLS") == len(targets), "it is not said")

    assert receiver.connections == 0


@pytest.mark.slow
def test_a_certificate_of_another_name_is_not_trusted(serve: Serve, certificate: Path) -> None:  # noqa: F811
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = serve(MODEL, environment={**OPEN, "SSL_CERT_FILE": str(certificate)})
    with receiving(tls=context) as receiver:
        begin(server, receiver.url())
        wait_until(lambda: "the certificate is refused" in server.log.read_text(), "it is not said")

        assert receiver.calls == []


@pytest.mark.slow
def test_what_is_owed_at_shutdown_is_sent_by_the_next_server(
    serve: Serve, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    spool = tmp_path / "spool" / "webhooks.sqlite"
    environment = {**QUICK, "COG_WEBHOOK_SPOOL": str(spool), "COG_DRAIN_TIMEOUT": "1"}
    server = serve(MODEL, environment=environment)
    receiver.down()
    identifiers = [begin(server, receiver.url()) for _ in range(5)]
    identifiers.append(begin(server, receiver.url(), items=1000, pause=0.1))
    _stop(server, exit_code=1)  # as always when a prediction had to be canceled
    assert "6 webhook calls are owed" in server.log.read_text()
    assert spool.stat().st_mode & 0o077 == 0

    receiver.up()
    serve(MODEL, environment=environment)
    receiver.wait_for(lambda: all(map(receiver.has_end_of, identifiers)))
    wait_until(lambda: not spool.exists(), "the spool stays")

    assert sorted(call.document["id"] for call in receiver.calls) == sorted(identifiers)
    assert receiver.of(identifiers[-1])[-1].document["status"] == "canceled"


def test_what_cannot_be_spooled_is_counted(serve: Serve, receiver: WebhookReceiver) -> None:
    server = serve(MODEL, environment={**QUICK, "COG_WEBHOOK_SPOOL": "/proc/no/spool", "COG_DRAIN_TIMEOUT": "0.1"})
    receiver.down()
    begin(server, receiver.url())
    begin(server, receiver.url())
    _stop(server)

    assert re.search(r"ERROR: webhook calls .* cannot be kept: /proc/no", server.log.read_text())
    assert "ERROR: 2 webhook calls are lost" in server.log.read_text()


def test_a_shutdown_waits_for_calls_that_go_through(serve: Serve) -> None:
    server = serve(MODEL, environment=QUICK)
    with receiving(always(Reply(503), Reply(503), OK)) as receiver:
        identifier = begin(server, receiver.url(), events=["completed"])
        receiver.wait_for(lambda: receiver.requests > 0)
        _stop(server)

        assert receiver.has_end_of(identifier)
    assert not (server.log.parent / ".cog" / "webhooks.sqlite").exists()


@pytest.mark.slow
def test_a_killed_server_owes_its_ends_to_the_next(serve: Serve, receiver: WebhookReceiver, tmp_path: Path) -> None:
    environment = {**QUICK, "COG_STORE": f"sqlite:///{tmp_path}/predictions.sqlite"}
    server = serve(MODEL, environment=environment)
    delivered = begin(server, receiver.url())
    receiver.wait_for(lambda: receiver.has_end_of(delivered))
    receiver.down()
    ended = [begin(server, receiver.url(), headers={"traceparent": TRACE}) for _ in range(3)]
    wait_until(lambda: all(_has_ended(server, each) for each in ended), "they do not end")
    running = begin(server, receiver.url(), items=1000, pause=0.1)
    silent = begin(server, receiver.url(), events=["start"], items=1000, pause=0.1)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(10)

    receiver.up()
    again = serve(MODEL, environment=environment)
    receiver.wait_for(lambda: all(map(receiver.has_end_of, [*ended, running])))

    assert statuses(receiver.of(running)) == ["failed"]
    assert receiver.of(running)[0].document == again.http.get(f"/predictions/{running}").json()
    assert [statuses(receiver.of(each)) for each in ended] == [["succeeded"]] * 3
    # Delivered, though perhaps not yet noted so when the server was killed: then it comes again, as the same message.
    assert len({call.message_id for call in receiver.of(delivered) if call.is_end}) == 1, receiver.of(delivered)
    assert receiver.of(silent) == []
    _stop(again)
    count = len(receiver.calls)
    serve(MODEL, environment=environment)
    time.sleep(0.5)
    assert len(receiver.calls) == count, "what was delivered is not owed"


def _has_ended(server: Server, identifier: str) -> bool:
    return server.http.get(f"/predictions/{identifier}").json()["completed_at"] is not None


def _stop(server: Server, *, exit_code: int = 0) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == exit_code


async def _tell_of_many(sender: WebhookSender, urls: list[str], count: int) -> None:
    """Let predictions begin and end."""
    for number in range(count):
        prediction = Prediction(f"p{number}", {})
        feed = sender.follow(prediction, Hook(urls[number % len(urls)]))
        prediction.start()
        prediction.append_output(b"1")
        prediction.finish(Status.SUCCEEDED)
        feed.last_message()
        prediction.announce()
        if number % 10 == 9:
            await asyncio.sleep(0)


def _settings(tmp_path: Path, **given: Any) -> Settings:
    return Settings("x", folder=tmp_path, allow_private_urls=AddressPolicy.read("*"), **given)


def test_hosts_that_hang_hold_a_bounded_number_of_connections(tmp_path: Path) -> None:
    async def play(receiver: WebhookReceiver) -> None:
        sender = WebhookSender(_settings(tmp_path, webhook_timeout_s=0.3), MemoryStore(10))
        await sender.open()
        urls = [receiver.url().replace("127.0.0.1", f"127.0.0.{number}") for number in range(1, 101)]
        await _tell_of_many(sender, urls, 1000)
        await asyncio.sleep(1)
        await sender.close(0)

    with receiving(always(Reply(manner=Manner.HANG)), host="0.0.0.0") as receiver:
        receiver.url = lambda path="/": f"http://127.0.0.1:{receiver.port}/"  # type: ignore[method-assign]  # not 0.0.0.0
        asyncio.run(play(receiver))

        # The receiver hears of an end a little later than the sender, which has begun the next one by then.
        assert MAX_CALLS // 2 < receiver.most_open <= MAX_CALLS * 5 // 4


def test_what_has_no_room_in_memory_waits_in_the_spool(tmp_path: Path) -> None:
    waiting: list[int] = []

    async def play(receiver: WebhookReceiver) -> None:
        sender = WebhookSender(_settings(tmp_path), MemoryStore(10), max_waiting=10)
        await sender.open()
        await _tell_of_many(sender, [receiver.url()], 50)
        waiting.append(len([task for task in asyncio.all_tasks() if task.get_name().startswith("webhook-p")]))
        await asyncio.sleep(0.3)
        waiting.append(len([task for task in asyncio.all_tasks() if task.get_name().startswith("webhook-p")]))
        receiver.choose = always(OK)
        for _ in range(500):
            await asyncio.sleep(0.02)
            if len({call.document["id"] for call in receiver.calls if call.is_end and call.reply == OK}) == 50:
                break
        await sender.close(1)

    with receiving(always(Reply(503))) as receiver:
        asyncio.run(play(receiver))

        findings = receiver.examine([f"p{number}" for number in range(50)])
    assert waiting[1] <= 10
    assert (findings.lost, findings.out_of_order, findings.ends_of_two_ids) == (0, 0, 0)
    assert not (tmp_path / ".cog" / "webhooks.sqlite").exists()


def test_the_receiver_in_the_documentation_takes_what_is_signed(server: Server, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "webhooks.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    port = free_port()
    (tmp_path / "receiver.py").write_text(example.replace("8000", str(port)))
    environment = {
        **os.environ,
        "COG_WEBHOOK_SECRET": SECRETS[0],
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "receiver.py"], cwd=tmp_path, env=environment, stdout=output, stderr=output
        )
    try:
        identifier = begin(server, f"http://127.0.0.1:{port}/")
        wait_until(lambda: f"{identifier} succeeded" in log.read_text(), "it does not arrive")
        forged = httpx.post(f"http://127.0.0.1:{port}/", json={"id": "forged", "status": "succeeded"})

        assert forged.status_code == 403
        assert "forged" not in log.read_text()
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("COG_WEBHOOK_SECRET", "whsec_***", "base64"),
        ("COG_WEBHOOK_SECRET", " , ", "holds no secret"),
        ("WEBHOOK_AUTH_TOKEN", "a\nb", "no HTTP header can carry"),
        ("COG_ALLOW_PRIVATE_URLS", "http://x", "neither a host"),
        ("COG_THROTTLE_RESPONSE_INTERVAL", "fast", "number of seconds"),
    ],
)
def test_a_setting_that_means_nothing_is_said_at_start(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*{words}"):
        read_settings({"COG_PREDICT": "predict.py:Predictor", name: value})


def test_settings_do_not_show_their_secrets() -> None:
    environment = {"COG_PREDICT": "p.py:P", "COG_WEBHOOK_SECRET": "s3cret,other", "WEBHOOK_AUTH_TOKEN": "t0ken"}
    settings = read_settings(environment)

    assert settings.webhook_secrets == ("s3cret", "other")
    assert "s3cret" not in repr(settings)
    assert "t0ken" not in repr(settings)
