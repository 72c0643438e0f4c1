"""B: outputs and logs of every size and shape."""

from __future__ import annotations

import time

from tests.faults.lab import Lab, end_of, fault, rss_mib, submit, time_to, wait_started
from tests.server.http.test_streams import streaming

_EDGES = (4 << 10, 64 << 10, 6 << 20, 8 << 20, 16 << 20)


@fault("B1", "outputs of every size, up to 2^n bytes and around every buffer", size=27)
def sizes(lab: Lab, size: int) -> str:
    source = """
        class Predictor(BasePredictor):
            def predict(self, size: int = 0) -> str:
                return "0123456789abcdef" * (size // 16) + "x" * (size % 16)
        """
    wanted = {2**exponent for exponent in range(size + 1)}
    wanted |= {edge + offset for edge in _EDGES for offset in (-1, 0, 1) if edge <= 2**size}
    with lab.server(source) as server:
        for each in sorted(wanted):
            expected = "0123456789abcdef" * (each // 16) + "x" * (each % 16)
            assert server.predict(size=each)["output"] == expected, each
            with streaming(server, "POST", "/predictions", json={"input": {"size": each}}) as events:
                chunks = [event.data["chunk"] for event in events if event.name == "output"]
            assert chunks == [expected], each
    return f"{len(wanted)} sizes, as JSON and as a stream: 0 differences"


@fault("B2", "an output over the cap fails its prediction only", size=300)
def over_the_cap(lab: Lab, size: int) -> str:
    """`size` is the output in MiB; the cap is a third of it."""
    source = """
        class Predictor(BasePredictor):
            def predict(self, size: int = 0) -> str:
                return "x" * size
        """
    cap = max(1, size // 3) << 20
    with lab.server(source, COG_MAX_OUTPUT_BYTES=str(cap)) as server:
        before, workers = rss_mib(server.process.pid), server.worker_pids()
        document = server.predict(size=size << 20)
        assert document["status"] == "failed", document["status"]
        assert "COG_MAX_OUTPUT_BYTES" in document["error"]
        assert server.predict(size=3)["output"] == "xxx"
        assert server.worker_pids() == workers
        growth = rss_mib(server.process.pid) - before
    return f"{size} MiB against {cap >> 20} MiB: failed with the reason, worker kept, server {growth:+.0f} MiB"


@fault("B3", "a generator that never ends: cut at the time limit, memory bounded", size=20)
def endless_generator(lab: Lab, size: int) -> str:
    """`size` is the time limit in seconds."""
    source = """
        class Predictor(BasePredictor):
            def predict(self, endless: bool = False) -> Iterator[str]:
                while endless:
                    yield "x" * 1000
                    time.sleep(0.001)
        """
    with lab.server(source, COG_PREDICT_TIMEOUT=str(size)) as server:
        before = rss_mib(server.process.pid)
        document = server.predict(endless=True)
        assert document["status"] == "failed", document["status"]
        assert "took longer" in document["error"]
        items = len(document["output"])
        growth = rss_mib(server.process.pid) - before
        assert growth < 64 + items * 0.01, growth
    return f"{items} items in {size} s kept, then failed; server {growth:+.0f} MiB"


@fault("B4", "a generator that raises, or is canceled inside try/finally", size=20)
def broken_generators(lab: Lab, size: int) -> str:
    source = """
        class Predictor(BasePredictor):
            def predict(self, how: str = "") -> Iterator[int]:
                try:
                    for position in range(3):
                        yield position
                    if how == "raise":
                        raise ValueError("three is enough")
                    if how == "wait":
                        time.sleep(600)
                finally:
                    print("cleaned up")
        """
    with lab.server(source) as server:
        for _ in range(size):
            document = server.predict(how="raise")
            assert (document["status"], document["output"]) == ("failed", [0, 1, 2]), document
            assert "cleaned up" in document["logs"]
            identifier = submit(server.http, input={"how": "wait"})
            wait_started(server.http, identifier)
            while len(server.http.get(f"/predictions/{identifier}").json()["output"] or ()) < 3:
                time.sleep(0.005)
            server.http.post(f"/predictions/{identifier}/cancel")
            document = end_of(server.http, identifier)
            assert (document["status"], document["output"]) == ("canceled", [0, 1, 2]), document
            assert "cleaned up" in document["logs"], document
    return f"{2 * size} generators: partial output kept, finally ran"


@fault("B5", "a flood of text, one endless line, bytes that are no text", size=1024)
def floods(lab: Lab, size: int) -> str:
    """`size` is the flood in MiB."""
    source = """
        class Predictor(BasePredictor):
            def predict(self, how: str = "", size: int = 0) -> str:
                if how == "print":
                    for _ in range(size):
                        print("y" * ((1 << 20) - 1))
                if how == "line":
                    for _ in range(size):
                        print("z" * (1 << 20), end="")
                if how == "c":
                    for _ in range(size):
                        os.write(1, b"w" * (1 << 20))
                if how == "raw":
                    os.write(1, b"\\xff\\xfe\\x00 \\xc3\\x28 \\x1b[31mred\\r50%\\r")
                return how
        """
    rates = []
    with lab.server(source) as server:
        before = rss_mib(server.process.pid)
        server.http.timeout = 300  # type: ignore[assignment]  # httpx takes seconds
        for how in ("print", "line", "c"):
            started = time.monotonic()
            document = server.predict(how=how, size=size)
            rates.append(f"{how} {size / (time.monotonic() - started):.0f} MB/s")
            assert document["status"] == "succeeded", document["error"]
            assert len(document["logs"]) <= 17 * 1024 * 1024
            if size > 16:
                assert document["logs"].startswith("[the beginning of the log was cut]"), document["logs"][:50]
        document = server.predict(how="raw")
        assert "\ufffd" in document["logs"], document["logs"]
        assert "\x1b[31mred\r50%\r" in document["logs"]
        growth = rss_mib(server.process.pid) - before
        assert growth < 400, growth
        server.log.write_text("")
    return f"{size} MiB each: {', '.join(rates)}; 0 decode errors; server {growth:+.0f} MiB"


@fault("B6", "lines that come after the end belong to nobody", size=200)
def late_lines(lab: Lab, size: int) -> str:
    """The next prediction begins when they have come: whose they are while it runs, nothing tells."""
    source = """
        import subprocess, threading
        class Predictor(BasePredictor):
            def predict(self, token: str = "") -> str:
                print("own", token)
                subprocess.Popen(["sh", "-c", f"sleep 0.02; echo late {token}"])
                threading.Timer(0.02, print, ["later", token]).start()
                return token
        """
    misplaced = 0
    with lab.server(source) as server:
        for number in range(size):
            document = server.predict(token=f"t{number}")
            lines = document["logs"].splitlines()
            assert f"own t{number}" in lines, document
            misplaced += sum(not line.endswith(f" t{number}") for line in lines)
            token = f"t{number}\n"
            time_to(lambda token=token: server.log.read_text().count(token) == 3, "lost")  # type: ignore[misc]
    assert misplaced == 0, misplaced
    return f"{size} predictions with a late child and thread: 0 misplaced lines"


@fault("B8", "outputs that are no JSON fail with a reason")
def no_json(lab: Lab, size: int) -> str:
    kinds = {
        "nan": "float('nan')",
        "infinity": "[1.0, float('-inf')]",
        "surrogate": "'\\ud800'",
        "object": "object()",
        "cycle": "cycle",
        "deep": "deep",
        "set of objects": "{object()}",
        "keys": "{(1, 2): 3}",
        "missing file": "Path('/nowhere/file')",
        "folder": "Path('/tmp')",
        "big int": "10 ** 5000",
    }
    source = f"""
        cycle = []
        cycle.append(cycle)
        deep = []
        for _ in range(100_000):
            deep = [deep]
        class Predictor(BasePredictor):
            def predict(self, number: int = -1) -> Any:
                return [{", ".join(f"lambda: {kind}" for kind in kinds.values())}, lambda: "fine"][number]()
        """
    with lab.server(source) as server:
        workers = server.worker_pids()
        ends = {}
        for number, name in enumerate(kinds):
            document = server.predict(number=number)
            ends[name] = document["status"]
            assert document["status"] == "succeeded" or document["error"], document
        assert server.worker_pids() == workers
        wrong = [
            name for name, status in ends.items() if status == "succeeded" and name not in ("surrogate", "big int")
        ]
        assert not wrong, wrong
    failed = sum(status == "failed" for status in ends.values())
    return f"{failed} of {len(kinds)} failed with their reason, the others have a JSON form; 0 restarts"
