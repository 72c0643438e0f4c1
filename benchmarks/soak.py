"""`make soak`: half an hour of mixed load on one server; its memory, descriptors and threads must stay level.

Clients ask, stream, wait, poll, leave, cancel and fail, and once a minute the worker is killed. What is printed is the
slope of each resource over the second half, by least squares, as a part of its level per hour.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.faults.lab import SHORT, rss_mib
from tests.server.conftest import Server, serving

SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, count: int = 3, size: int = 10, seconds: float = 0.0, fail: bool = False) -> Iterator[str]:
            for position in range(count):
                print("item", position)
                record_metric("items", position)
                time.sleep(seconds)
                yield "x" * size
            if fail:
                raise ValueError("asked to fail")
"""
MOST_PERCENT_PER_HOUR = 5.0
_EVERY_S = 5.0


class Load:
    """Clients of one server, each on a thread of its own, until told to stop."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stop = threading.Event()
        self.counts: Counter[str] = Counter()

    def run(self, kind: Callable[[httpx.Client, random.Random], str], seed: int, pause_s: float) -> None:
        chance = random.Random(seed)
        with httpx.Client(base_url=self.server.url, timeout=60, trust_env=False) as client:
            while not self.stop.is_set():
                self.counts[kind(client, chance)] += 1
                self.stop.wait(chance.random() * 2 * pause_s)

    def ask(self, client: httpx.Client, chance: random.Random) -> str:
        given = {"size": chance.choice((10, 1000, 100_000)), "fail": chance.random() < 0.1}
        answer = client.post("/predictions", json={"input": given})
        assert answer.status_code == 200, answer.text
        return f"asked: {answer.json()['status']}"

    def stream(self, client: httpx.Client, chance: random.Random) -> str:
        with client.stream(
            "POST", "/predictions", json={"input": {"count": 20}}, headers={"accept": "text/event-stream"}
        ) as answer:
            if chance.random() < 0.3:
                next(answer.iter_lines())
                return "streams left"
            return "streams read" if "event: completed" in list(answer.iter_lines()) else "streams cut"

    def poll(self, client: httpx.Client, chance: random.Random) -> str:
        answer = client.post("/predictions", json={"input": {"seconds": 0.01}}, headers={"prefer": "respond-async"})
        identifier = answer.json()["id"]
        if chance.random() < 0.5:
            client.post(f"/predictions/{identifier}/cancel")
        while (document := client.get(f"/predictions/{identifier}").json())["status"] in ("starting", "processing"):
            time.sleep(0.01)
        client.get("/predictions?limit=5")
        return f"polled: {document['status']}"

    def leave(self, client: httpx.Client, chance: random.Random) -> str:
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as connection:
            body = b'{"input":{"seconds":0.05}}'
            head = b"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            connection.sendall((head + body)[: chance.randrange(1, len(head) + len(body) + 1)])
        return "requests left"

    def kill(self, client: httpx.Client, chance: random.Random) -> str:
        for worker in self.server.worker_pids():
            os.kill(worker, signal.SIGKILL)
        return "workers killed"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="cog-soak-") as folder, serving(Path(folder)) as start:
        server = start(SOURCE, environment={**SHORT, "COG_LOG_LEVEL": "error", "COG_KEEP_PREDICTIONS": "200"})
        load = Load(server)
        kinds = ((load.ask, 0.05), (load.stream, 0.1), (load.poll, 0.1), (load.leave, 0.1), (load.kill, 60.0))
        threads = [
            threading.Thread(target=load.run, args=(kind, seed, pause)) for seed, (kind, pause) in enumerate(kinds)
        ]
        for thread in threads:
            thread.start()
        samples = _sample(server, minutes)
        load.stop.set()
        for thread in threads:
            thread.join()
        server.log.write_text("")
    print(f"\n{minutes:g} minutes: " + ", ".join(f"{count} {name}" for name, count in sorted(load.counts.items())))
    return _report(samples)


def _sample(server: Server, minutes: float) -> dict[str, list[tuple[float, float]]]:
    samples: dict[str, list[tuple[float, float]]] = {"RSS, MiB": [], "descriptors": [], "threads": [], "folders": []}
    began = time.monotonic()
    pid = server.process.pid
    while (now := time.monotonic() - began) < minutes * 60:
        samples["RSS, MiB"].append((now, rss_mib(pid)))
        samples["descriptors"].append((now, len(os.listdir(f"/proc/{pid}/fd"))))
        samples["threads"].append((now, len(os.listdir(f"/proc/{pid}/task"))))
        samples["folders"].append((now, len(list(server.log.parent.glob("cog-server-*/*")))))
        time.sleep(_EVERY_S)
    return samples


def _report(samples: dict[str, list[tuple[float, float]]]) -> int:
    is_level = True
    print("| resource | first | middle | last | slope, % of the level per hour (second half) | target |")
    print("|---|---|---|---|---|---|")
    for name, found in samples.items():
        half = found[len(found) // 2 :]
        slope, _ = statistics.linear_regression(*zip(*half, strict=True))
        level = statistics.fmean(value for _, value in half)
        percent = slope * 3600 / level * 100 if level else 0.0
        is_level = is_level and (abs(percent) < MOST_PERCENT_PER_HOUR or name == "folders")
        values = " | ".join(f"{value:.1f}" for value in (found[0][1], half[0][1], found[-1][1]))
        print(f"| {name} | {values} | {percent:+.1f} | < {MOST_PERCENT_PER_HOUR:g} |")
    return 0 if is_level else 1


if __name__ == "__main__":
    sys.exit(main())
