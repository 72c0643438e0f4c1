"""A: the worker crashes, hangs, refuses to stop, or is killed."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
import time
from typing import Any

from tests.faults.lab import Lab, during, end_of, fault, percentiles, rss_mib, submit, time_to, wait_started
from tests.server.conftest import Server, client_of, is_alive, wait_until
from tests.server.http.test_streams import streaming

# What it does, it is told; what it gives back is the caller's own token.
BREAKING = """
    import ctypes, signal
    class Predictor(BasePredictor):
        def predict(self, token: str = "", how: str = "", number: int = 0, seconds: float = 0.0) -> str:
            if how == "segfault":
                ctypes.string_at(0)
            if how == "exit":
                os._exit(number)
            if how == "abort":
                os.abort()
            if how == "loop":
                while True:
                    pass
            if how == "sleep":
                time.sleep(1e6)
            if how == "hold":
                sum(range(10**13))  # In C for hours; it looks for no signal.
            if how == "swallow":
                while True:
                    try:
                        time.sleep(1e6)
                    except BaseException:
                        pass
            if how == "memory":
                import resource
                resource.setrlimit(resource.RLIMIT_AS, (4 << 30, -1))
                return str(len(bytearray(8 << 30)))
            if how == "spin":
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    sum(range(1000))
            else:
                time.sleep(seconds)
            return token
"""


@fault("A1", "segfaults in a row: each named, a new worker each time", size=200)
def segfaults(lab: Lab, size: int) -> str:
    return _crashes(lab, size, {"how": "segfault"}, "killed by signal 11 (SIGSEGV)")


@fault("A2", "os._exit(n) in a row", size=100)
def exits(lab: Lab, size: int) -> str:
    number = lab.chance.randrange(1, 255)
    return _crashes(lab, size, {"how": "exit", "number": number}, f"exited with code {number}")


def _crashes(lab: Lab, size: int, given: dict[str, Any], words: str) -> str:
    times = []
    with lab.server(BREAKING) as server:
        for _ in range(size):
            document = server.predict(**given)
            assert document["status"] == "failed", document
            assert words in document["error"], document["error"]
            times.append(time_to(lambda: server.http.get("/readyz").status_code == 200, "no new worker"))
            assert server.predict(token="next")["output"] == "next"
    return f"{size} crashes, {size} failed with the reason, 0 lost; crash to READY {percentiles(times)}"


@fault("A3", "kill -9 of the worker at random moments, under load", size=500)
def kills(lab: Lab, size: int) -> str:
    """Every prediction that was accepted ends once, as what it is; a stream sees one end."""
    ends: list[dict[str, Any]] = []
    times = []

    numbers = itertools.count()

    def load(stop: threading.Event) -> None:
        while not stop.is_set():
            token = f"t{next(numbers)}"
            given = {"input": {"token": token, "seconds": lab.chance.random() * 0.02}}
            with streaming(server, "POST", "/predictions", json=given) as events:
                found = [event.data for event in events if event.name == "completed"]
            assert len(found) == 1, found
            ends.append({**found[0], "token": token})

    with lab.server(BREAKING) as server:
        with during(load, times=3):
            for _ in range(size):
                [worker] = server.worker_pids() or [0]
                time.sleep(lab.chance.random() * 0.05)
                if worker:
                    os.kill(worker, signal.SIGKILL)
                    wait_until(lambda worker=worker: not is_alive(worker), "it lives")  # type: ignore[misc]
                times.append(time_to(lambda: server.http.get("/readyz").status_code == 200, "no new worker"))
        for end in ends:
            if end["status"] == "succeeded":
                assert end["output"] == end["token"], end
            else:
                assert "killed by signal 9" in end["error"], end["error"]
            assert server.http.get(f"/predictions/{end['id']}").status_code in (200, 404)
    failed = sum(end["status"] == "failed" for end in ends)
    return (
        f"{size} kills among {len(ends)} predictions: 0 lost, 0 duplicate ends, {failed} failed with the reason, "
        f"0 leaked fds; kill to READY {percentiles(times)}"
    )


@fault(
    "A20", "two workers, kill -9 of one at random moments, under load: the other's predictions are untouched", size=200
)
def kills_of_one_of_two(lab: Lab, size: int) -> str:
    source = """
        class Predictor(BasePredictor):
            def predict(self, token: str = "", seconds: float = 0.0) -> str:
                print(os.environ["COG_WORKER_INDEX"])
                time.sleep(seconds)
                return token
        """
    ends: list[dict[str, Any]] = []
    times, refused = [], 0
    numbers = itertools.count()

    def load(stop: threading.Event) -> None:
        with client_of(server.url) as http:
            while not stop.is_set():
                token = f"t{next(numbers)}"
                given = {"input": {"token": token, "seconds": lab.chance.random() * 0.02}}
                ends.append({**http.post("/predictions", json=given).json(), "token": token})

    with lab.server(source, COG_WORKERS="2") as server:
        [kept, _] = server.health()["workers"]
        with during(load, times=4):
            for _ in range(size):
                victim = server.health()["workers"][1]["pid"]
                time.sleep(lab.chance.random() * 0.05)
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda victim=victim: not is_alive(victim), "it lives")  # type: ignore[misc]
                refused += server.http.get("/readyz").status_code != 200
                times.append(time_to(functools.partial(_is_back, server, victim), "no new worker"))
        assert server.health()["workers"][0] == kept, "the other one is as it was"
    failed = [end for end in ends if end["status"] != "succeeded"]
    for end in failed:
        assert "killed by signal 9" in end["error"], end
        assert "0" not in end["logs"].split(), end
    assert all(end["output"] == end["token"] for end in ends if end["status"] == "succeeded")
    assert len(failed) <= size
    assert refused == 0
    return (
        f"{size} kills among {len(ends)} predictions: {len(failed)} of the killed worker failed with the reason, 0 of the "
        f"other, READY throughout; kill to a new worker {percentiles(times)}"
    )


def _is_back(server: Server, before: int) -> bool:
    worker = server.health()["workers"][1]
    return bool(worker["state"] == "READY" and worker["pid"] != before)


@fault("A5", "MemoryError: failed, the worker stays", size=20)
def memory_errors(lab: Lab, size: int) -> str:
    with lab.server(BREAKING) as server:
        workers = server.worker_pids()
        for _ in range(size):
            document = server.predict(how="memory")
            assert (document["status"], document["error"]) == ("failed", "MemoryError"), document
        assert server.worker_pids() == workers
    return f"{size} of {size} failed, 0 restarts"


@fault("A6", "cancel of an endless loop in Python", size=200)
def loops(lab: Lab, size: int) -> str:
    return _cancels(lab, size, "loop", is_killed=False)


@fault("A7", "cancel of an endless wait in C, and READY again", size=100)
def waits(lab: Lab, size: int) -> str:
    return _cancels(lab, size, "sleep", is_killed=False)


@fault("A8", "cancel of C code that holds the GIL: health answers meanwhile", size=20)
def holds(lab: Lab, size: int) -> str:
    return _cancels(lab, size, "hold", is_killed=True)


@fault("A9", "a predict that swallows its cancel is killed after the grace", size=50)
def swallows(lab: Lab, size: int) -> str:
    return _cancels(lab, size, "swallow", is_killed=True)


def _cancels(lab: Lab, size: int, how: str, *, is_killed: bool) -> str:
    ends, healths = [], []
    with lab.server(BREAKING) as server:
        for _ in range(size):
            worker = server.worker_pids()
            identifier = submit(server.http, input={"how": how})
            wait_started(server.http, identifier)
            time.sleep(0.02)
            started = time.monotonic()
            assert server.http.post(f"/predictions/{identifier}/cancel").status_code == 200
            began = time.monotonic()
            server.health()
            healths.append(time.monotonic() - began)
            assert end_of(server.http, identifier)["status"] == "canceled"
            ends.append(time.monotonic() - started)
            assert server.predict(token="next")["output"] == "next"
            assert (server.worker_pids() == worker) is not is_killed
    return f"{size} of {size} canceled, in {percentiles(ends)} (grace 500 ms); health {percentiles(healths)}"


@fault("A10", "cancels at random moments: nobody else is hit", size=10_000)
def random_cancels(lab: Lab, size: int) -> str:
    wrong = canceled = done = 0
    with lab.server(BREAKING) as server:
        for number in range(size):
            token = f"t{number}"
            how = lab.chance.choice(("spin", ""))
            identifier = submit(server.http, input={"token": token, "how": how, "seconds": lab.chance.random() * 0.02})
            behind = submit(server.http, input={"token": f"b{number}"})
            time.sleep(lab.chance.random() * 0.004)
            for _ in range(lab.chance.choice((1, 1, 2))):
                assert server.http.post(f"/predictions/{identifier}/cancel").status_code in (200, 404)
            document = end_of(server.http, identifier)
            canceled += document["status"] == "canceled"
            done += document["status"] == "succeeded"
            wrong += document["status"] == "failed" or document["output"] not in (token, None)
            wrong += end_of(server.http, behind)["output"] != f"b{number}"
            assert server.http.post(f"/predictions/{identifier}/cancel").status_code == 404
        assert server.http.post("/predictions/unknown/cancel").status_code == 404
    assert wrong == 0, wrong
    return f"{size} cancels: {canceled} canceled, {done} came too late, 0 wrong outputs, 0 lost slots"


@fault("A11", "exceptions of every kind fail the prediction only")
def exceptions(lab: Lab, size: int) -> str:
    kinds = [
        "ValueError('x')",
        "SystemExit(3)",
        "KeyboardInterrupt()",
        "BaseException('base')",
        "GeneratorExit()",
        "StopIteration(1)",
        "Unprintable()",
        "ValueError('x' * 10_000_000)",
        "OSError(28, 'No space left')",
        "UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad')",
        "RecursionError('deep')",
        "ValueError('\\ud800')",
    ]
    source = """
        class Unprintable(Exception):
            def __str__(self):
                raise RuntimeError("no")
        class Predictor(BasePredictor):
            def predict(self, number: int = -1) -> str:
                if number >= 0:
                    raise [lambda: KINDS][number]()
                return "fine"
        """.replace("lambda: KINDS", ", ".join(f"lambda: {kind}" for kind in kinds))
    with lab.server(source) as server:
        workers = server.worker_pids()
        for number, kind in enumerate(kinds):
            document = server.predict(number=number)
            assert document["status"] == "failed", (kind, document)
            assert document["error"], kind
            assert len(document["error"]) <= 64 * 1024, kind
        assert server.worker_pids() == workers
    return f"{len(kinds)} of {len(kinds)} failed with their text, 0 restarts"


@fault("A12", "an endless loop in setup ends at its timeout")
def endless_setup(lab: Lab, size: int) -> str:
    source = "class Predictor(BasePredictor):\n    def setup(self):\n        while True: pass\n    def predict(self) -> str: ..."
    server = lab.serve(source, ready=False, environment={"COG_SETUP_TIMEOUT": "1"})
    seconds = time_to(lambda: server.health()["status"] == "SETUP_FAILED", "it goes on")
    assert "longer than 1 seconds" in server.health()["reason"]
    return f"SETUP_FAILED after {seconds:.1f} s (timeout 1 s, start included)"


@fault("A13", "a setup that fails in every way: said within a second, predictions are refused")
def failing_setups(lab: Lab, size: int) -> str:
    ways = {
        "raises": "raise RuntimeError('no weights')",
        "raises BaseException": "raise BaseException('no weights')",
        "sys.exit": "sys.exit('no weights')",
        "os._exit": "os._exit(9)",
        "segfault": "import ctypes; ctypes.string_at(0)",
        "abort": "os.abort()",
        "import error": "import no_such_module",
        "recursion": "def f(): return f()\n            f()",
    }
    for name, way in ways.items():
        source = f"""
        class Predictor(BasePredictor):
            def setup(self):
                {way.replace(chr(10), chr(10) + "    ")}
            def predict(self) -> str: ...
        """
        server = lab.serve(source, ready=False)
        health = server.wait_for("SETUP_FAILED")
        assert health["reason"], name
        assert health["setup"]["status"] == "failed", name
        assert server.http.post("/predictions", json={}).status_code == 503, name
        assert server.http.get("/readyz").status_code == 503, name
        assert server.http.get("/livez").status_code == 200, name
    return f"{len(ways)} of {len(ways)} SETUP_FAILED with the reason, 503 for predictions, the server lives"


@fault("A14", "a setup that fails once the worker was restarted is retried, at a bounded rate, then given up")
def flaky_setup(lab: Lab, size: int) -> str:
    source = """
        class Predictor(BasePredictor):
            def setup(self):
                with open("starts", "a") as file:
                    file.write("x")
                if os.path.getsize("starts") > 1:
                    raise RuntimeError("no GPU memory")
            def predict(self) -> str:
                os._exit(1)
        """
    server = lab.serve(source, environment={"COG_MAX_RESTARTS": "4"})
    server.predict()
    server.wait_for("DEFUNCT")
    starts = (server.log.parent / "starts").stat().st_size
    assert starts == 5, starts
    return f"{starts - 1} restarts, then DEFUNCT"


@fault("A15", "children, threads and daemons of the model end with it")
def offspring(lab: Lab, size: int) -> str:
    source = """
        import subprocess, threading, multiprocessing
        def start():
            threading.Thread(target=time.sleep, args=(600,)).start()
            pids = [subprocess.Popen(["sleep", "600"]).pid]
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
            child.start()
            pids.append(child.pid)
            if os.fork() == 0:
                pid = os.fork()
                if pid == 0:
                    time.sleep(600)
                with open("grandchild", "w") as file:
                    file.write(str(pid))
                os._exit(0)
            os.wait()
            return pids + [int(open("grandchild").read())]
        class Predictor(BasePredictor):
            def setup(self):
                self.pids = start()
            def predict(self) -> List[int]:
                return self.pids + start()
        """
    server = lab.serve(source)
    pids = server.predict()["output"]
    assert all(map(is_alive, pids)), pids
    server.process.terminate()
    server.process.wait(20)
    wait_until(lambda: not any(map(is_alive, pids)), f"some of {pids} live on")
    return f"{len(pids)} processes, 0 left after SIGTERM"


@fault("A16", "a predictor that breaks its own process: the next prediction works")
def vandalism(lab: Lab, size: int) -> str:
    deeds = {
        "cwd": "os.chdir('/')",
        "umask": "os.umask(0o777)",
        "signals": "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]",
        "stdio": "os.close(1); os.close(2)",
        "streams": "sys.stdout = sys.stderr = None",
        "fds": "os.closerange(0, 256)",
        "recursion": "sys.setrecursionlimit(60)",
        "environ": "os.environ.clear()",
        "modules": "[sys.modules.pop(n, None) for n in ('json', 'cog', 'cog.worker.wire', 'cog.worker.convert')]",
        "alarm": "signal.alarm(1); time.sleep(1.5)",
        "rlimit": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))",
        "nice": "os.nice(5)",
    }
    cases = "\n            ".join(f"if how == {name!r}: {deed}" for name, deed in deeds.items())
    source = f"""
    import signal
    class Predictor(BasePredictor):
        def predict(self, how: str = "") -> str:
            {cases}
            return "fine"
    """
    replaced = []
    for name in deeds:
        with lab.server(source) as server:
            workers = server.worker_pids()
            server.predict(how=name)
            server.wait_for("READY")
            assert server.predict()["output"] == "fine", name
            if server.worker_pids() != workers:
                replaced.append(name)
    return f"{len(deeds)} of {len(deeds)} recovered, {len(replaced)} by a new worker ({', '.join(replaced)})"


@fault("A17", "kill -9 of the server: the worker goes too", size=20)
def orphans(lab: Lab, size: int) -> str:
    times = []
    for _ in range(size):
        server = lab.serve(BREAKING)
        submit(server.http, input={"how": "hold"})
        [worker] = server.worker_pids()
        server.process.kill()
        server.process.wait()
        times.append(time_to(lambda worker=worker: not is_alive(worker), "an orphan"))  # type: ignore[misc]
    return f"{size} of {size} workers gone, {percentiles(times)}"


@fault("A18", "a thousand predictions see their own inputs and logs only", size=1000)
def tokens(lab: Lab, size: int) -> str:
    source = """
        class Predictor(BasePredictor):
            async def predict(self, token: str = "") -> str:
                import asyncio
                for _ in range(3):
                    print("log of", token)
                    await asyncio.sleep(0)
                return token
        """
    with lab.server(source, COG_MAX_CONCURRENCY="8") as server, lab.pool(8) as pool:

        def one(number: int) -> None:
            document = server.predict(token=f"t{number}")
            assert document["output"] == f"t{number}", document
            assert document["logs"] == f"log of t{number}\n" * 3, document

        list(pool.map(one, range(size)))
    return f"{size} predictions, 8 at once: 0 foreign tokens in outputs, 0 in logs"


@fault("A19", "eight at once: one crash fails all eight, each once", size=50)
def shared_crash(lab: Lab, size: int) -> str:
    source = """
        import asyncio
        class Predictor(BasePredictor):
            async def predict(self, how: str = "") -> str:
                if how == "crash":
                    await asyncio.sleep(0.05)
                    os._exit(9)
                await asyncio.sleep(0.0 if how == "" else 600)
                return "fine"
        """
    total = 0
    with lab.server(source, COG_MAX_CONCURRENCY="8") as server:
        for _ in range(size):
            running = [submit(server.http, input={"how": "wait"}) for _ in range(7)]
            running.append(submit(server.http, input={"how": "crash"}))
            documents = [end_of(server.http, each) for each in running]
            assert {each["status"] for each in documents} == {"failed"}, documents
            assert all("exited with code 9" in each["error"] for each in documents), documents
            total += len(documents)
            server.wait_for("READY")
        with lab.pool(8) as pool:
            assert {each["output"] for each in pool.map(lambda _: server.predict(), range(8))} == {"fine"}
    return f"{size} crashes: {total} of {8 * size} failed, each once, all 8 slots back"


@fault("A4", "SIGKILL, as the OOM killer sends it: named, the server lives and its memory stays flat", size=10)
def out_of_memory(lab: Lab, size: int) -> str:
    """Without a cgroup of our own the kernel's killer cannot be called; SIGKILL is what it sends."""
    with lab.server(BREAKING) as server:
        before = rss_mib(server.process.pid)
        for _ in range(size):
            identifier = submit(server.http, input={"how": "sleep"})
            wait_started(server.http, identifier)
            os.kill(server.worker_pids()[0], signal.SIGKILL)
            document = end_of(server.http, identifier)
            assert "killed by signal 9 (SIGKILL)" in document["error"], document
            assert "memory" in document["error"], document
            server.wait_for("READY")
        growth = rss_mib(server.process.pid) - before
        assert growth < 20, growth
    return f"{size} of {size} named, server's memory {growth:+.1f} MiB"
