"""E: receivers of webhooks that fail, hang, go away or must not be asked."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.fakes.webhook_receiver import Manner, Reply, WebhookReceiver, at_random, receiving
from tests.faults.lab import SHORT, Lab, during, end_of, fault, submit
from tests.server.conftest import Server, wait_until

_MODEL = """
    import asyncio
    class Predictor(BasePredictor):
        @concurrent(max=32)
        async def predict(self, items: int = 3, pause: float = 0.08, lines: int = 0) -> AsyncIterator[str]:
            for number in range(items):
                yield str(number)
                await asyncio.sleep(pause)
            for number in range(lines):
                print(number)
                await asyncio.sleep(0)
"""
_OPEN = {"COG_ALLOW_PRIVATE_URLS": "127.0.0.0/8", "COG_THROTTLE_RESPONSE_INTERVAL": "0.05"}


@fault("E1", "an endpoint that is down: predictions, cancel and health do not notice", size=200)
def down(lab: Lab, size: int) -> str:
    with lab.server(_MODEL, **_OPEN) as server, receiving() as receiver:
        receiver.down()
        without, with_hook = (_time_of(server, size, each) for each in ({}, {"webhook": receiver.url()}))
        running = submit(server.http, webhook=receiver.url(), input={"items": 1000, "pause": 0.1})
        assert server.health()["status"] == "READY"
        assert server.http.post(f"/predictions/{running}/cancel").status_code == 200
        assert end_of(server.http, running)["status"] == "canceled"
    each_ms = (with_hook - without) / size * 1000
    return f"{size} predictions, one after the other: {each_ms:+.1f} ms each for the tries; canceled, READY"


@fault("E2", "an endpoint that is down for 10 s: every end comes once", size=200)
def away(lab: Lab, size: int) -> str:
    with lab.server(_MODEL, **_OPEN) as server, receiving() as receiver:
        identifiers = [_begin(server, receiver) for _ in range(size // 2)]
        receiver.down()
        identifiers += [_begin(server, receiver) for _ in range(size - len(identifiers))]
        time.sleep(10 * size / 200)
        receiver.up()
        _wait_for_ends(receiver, identifiers)
        findings = receiver.examine(identifiers)
        assert not findings.faults, findings
        ends = [call.document["id"] for call in receiver.calls if call.is_end]
        assert sorted(ends) == sorted(identifiers), "an end came twice although its answer arrived"
    return f"{size} of {size} ends once, 0 out of order"


@fault("E3", "30 % of the calls hang, are reset, refused with 500, 503, 429, or answered without end", size=1000)
def at_random_faults(lab: Lab, size: int) -> str:
    with lab.server(_MODEL, COG_WEBHOOK_TIMEOUT="2", **_OPEN) as server, receiving(at_random(3)) as receiver:
        identifiers = [_begin(server, receiver) for _ in range(size)]
        _wait_for_ends(receiver, identifiers)
        findings = receiver.examine(identifiers)
        assert not findings.faults, findings
        tries, messages = len(receiver.calls), len({call.message_id for call in receiver.calls})
    return f"{size} predictions, {messages} messages in {tries} tries: 0 lost, 0 out of order, equal ids on duplicates"


@fault("E5", "a flood of log lines: two calls a second", size=10_000)
def flood(lab: Lab, size: int) -> str:
    environment = {**_OPEN, "COG_THROTTLE_RESPONSE_INTERVAL": "0.5"}
    with lab.server(_MODEL, **environment) as server, receiving() as receiver:
        started = time.monotonic()
        identifier = _begin(server, receiver, items=0, lines=size)
        _wait_for_ends(receiver, [identifier])
        seconds = time.monotonic() - started
        calls = receiver.of(identifier)
        assert len(calls) <= 2 * seconds + 3, len(calls)
        assert calls[-1].document["logs"].count("\n") == size
    return f"{size} lines in {seconds:.1f} s: {len(calls)} calls, the last with all of them"


@fault("E7", "SIGTERM while an endpoint is down: the next server sends what is owed", size=100)
def spooled(lab: Lab, size: int) -> str:
    with receiving() as receiver:
        first = lab.serve(_MODEL, environment={**SHORT, **_OPEN, "COG_DRAIN_TIMEOUT": "2"})
        environment = {**SHORT, **_OPEN, "COG_WEBHOOK_SPOOL": str(first.log.parent / ".cog" / "webhooks.sqlite")}
        receiver.down()
        identifiers = [_begin(first, receiver, items=1, pause=0.0) for _ in range(size)]
        for identifier in identifiers:
            end_of(first.http, identifier)
        first.process.terminate()
        assert first.process.wait(20) == 0
        assert f"{size} webhook calls are owed" in first.log.read_text()
        receiver.up()
        lab.serve(_MODEL, environment=environment)
        _wait_for_ends(receiver, identifiers)
        wait_until(lambda: not Path(environment["COG_WEBHOOK_SPOOL"]).exists(), "the spool stays")
        assert len(receiver.calls) == size
    return f"{size} owed, {size} sent once by the next server, spool removed"


@fault("E9", "a hundred hosts that hang: connections and memory have a bound", size=1000)
def hanging(lab: Lab, size: int) -> str:
    reply = Reply(manner=Manner.HANG)
    with lab.server(_MODEL, COG_WEBHOOK_TIMEOUT="2", **_OPEN) as server:
        with receiving(lambda path, headers: reply, host="0.0.0.0") as receiver:
            slowest: list[float] = []

            def watch(stop: threading.Event) -> None:
                while not stop.is_set():
                    started = time.monotonic()
                    server.health()
                    slowest.append(time.monotonic() - started)
                    time.sleep(0.05)

            with during(watch):
                hosts = [f"http://127.0.0.{number}:{receiver.port}/" for number in range(1, 101)]
                identifiers = [
                    submit(server.http, webhook=hosts[number % 100], input={"items": 1}) for number in range(size)
                ]
                for identifier in identifiers:
                    end_of(server.http, identifier)
            assert receiver.most_open <= 80, receiver.most_open  # It hears of an end later than the sender.
    return (
        f"{size} predictions: at most {receiver.most_open} connections, health answers in {max(slowest) * 1000:.0f} ms"
    )


@fault("E10", "a target inside: no connection", size=1)
def inside(lab: Lab, size: int) -> str:
    hosts = ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0")
    with lab.server(_MODEL) as server, receiving() as receiver:
        for host in hosts:
            end_of(server.http, submit(server.http, webhook=f"http://{host}:{receiver.port}/"))
        wait_until(lambda: server.log.read_text().count("COG_ALLOW_PRIVATE_URLS") == len(hosts), "it is not said")
        assert receiver.connections == 0
    return f"{len(hosts)} spellings of this machine: 0 connections"


def _begin(server: Server, receiver: WebhookReceiver, **given: float) -> str:
    return submit(server.http, webhook=receiver.url(), input=given)


def _wait_for_ends(receiver: WebhookReceiver, identifiers: list[str]) -> None:
    wanted = set(identifiers)
    wait_until(lambda: wanted <= _ended(receiver), "ends are missing", timeout_s=400)


def _ended(receiver: WebhookReceiver) -> set[str]:
    return {call.document["id"] for call in list(receiver.calls) if call.reply.is_acknowledgement and call.is_end}


def _time_of(server: Server, count: int, extra: dict[str, str]) -> float:
    started = time.monotonic()
    for _ in range(count):
        assert server.http.post("/predictions", json={"input": {"items": 1, "pause": 0}, **extra}).status_code == 200
    return time.monotonic() - started
