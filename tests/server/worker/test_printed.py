"""What a model prints: all of it, once, in order, in time, and whose it is; also when the process dies."""

from __future__ import annotations

import concurrent.futures
import os
import re
import signal
import time

import pytest

from tests.server.conftest import Serve, Server, wait_until
from tests.server.http.test_streams import streaming

DYING = """
    import ctypes, signal, threading
    class Predictor(BasePredictor):
        def predict(self, how: str = "", count: int = 300) -> str:
            if how == "thread":
                threading.Thread(target=self.say, args=(count,)).start()
                time.sleep(0.5)
            self.say(count)
            if how == "exit":
                os._exit(7)
            if how == "segfault":
                ctypes.string_at(0)
            os.kill(os.getpid(), signal.SIGKILL)

        def say(self, count):
            for number in range(count):
                print("line", number)
            print("last words", file=sys.stderr)
"""
FLOOD = """
    class Predictor(BasePredictor):
        def predict(self) -> str:
            number = 0
            try:
                while True:
                    print("line", number)
                    number += 1
            except CancelationException:
                print("canceled at", number)
                raise
"""
BACKGROUND = {"prefer": "respond-async"}


def numbered(count: int) -> str:
    return "".join(f"line {number}\n" for number in range(count))


def end_of(server: Server, identifier: str) -> str:
    """Wait for the end of a prediction; give its logs."""
    path = f"/predictions/{identifier}"
    wait_until(lambda: server.http.get(path).json()["completed_at"] is not None, f"{identifier} does not end")
    logs: str = server.http.get(path).json()["logs"]
    return logs


@pytest.mark.parametrize("how", ["exit", "segfault", "kill"])
@pytest.mark.parametrize("count", [0, 300, 5000])
def test_all_that_was_printed_before_a_crash_is_in_the_logs_once(serve: Serve, how: str, count: int) -> None:
    server = serve(DYING)

    document = server.predict(how=how, count=count)

    said, words, of_c = document["logs"].partition("last words\n")
    assert document["status"] == "failed"
    assert (said, words) == (numbered(count), "last words\n")
    assert ("Segmentation fault" in of_c) is (how == "segfault")


def test_a_crash_loses_no_text_that_had_no_line_break_yet(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                print("working", end=" ", flush=True)
                time.sleep(0.05)
                print("on it", end="", flush=True)
                os._exit(1)
        """
    )

    assert server.predict()["logs"] == "working on it"


def test_text_of_concurrent_predictions_that_die_together_is_each_ones_own(serve: Serve) -> None:
    server = serve(
        """
        import asyncio
        class Predictor(BasePredictor):
            running = done = 0
            @concurrent(max=3)
            async def predict(self, token: str) -> str:
                self.running += 1
                while self.running < 3:
                    await asyncio.sleep(0)
                for number in range(20):
                    print(token, number)
                    await asyncio.sleep(0)
                self.done += 1
                while self.done < 3:
                    await asyncio.sleep(0)
                os._exit(1)
        """
    )
    tokens = ["a", "b", "c"]

    with concurrent.futures.ThreadPoolExecutor() as pool:
        documents = list(pool.map(lambda token: server.predict(token=token), tokens))

    for token, document in zip(tokens, documents, strict=True):
        assert document["logs"] == "".join(f"{token} {number}\n" for number in range(20))


def test_lines_outputs_and_metrics_come_in_the_order_in_which_the_model_made_them(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> Iterator[str]:
                for number in range(50):
                    print("line", number)
                    print("error", number, file=sys.stderr)
                    yield str(number)
                    record_metric("number", number)
                print("end")
        """
    )

    with streaming(server, "POST", "/predictions", json={}) as events:
        found = [event for event in events if event.name in ("log", "output", "metric")]

    said = [event.data.get("data") or event.data.get("chunk") or f"={event.data['value']}=" for event in found]
    assert "".join(said) == "".join(f"line {n}\nerror {n}\n{n}={n}=" for n in range(50)) + "end\n"


@pytest.mark.parametrize(
    "work", ["time.sleep(1)", "end = time.monotonic() + 1\n                while time.monotonic() < end: pass"]
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_line_comes_while_predict_runs(serve: Serve, kind: str, work: str) -> None:
    server = serve(
        f"""
        class Predictor(BasePredictor):
            {kind} predict(self) -> str:
                time.sleep(0.2)
                for number in range(3):
                    print(time.monotonic(), number)
                {work}
                return "done"
        """
    )

    with streaming(server, "POST", "/predictions", json={}) as events:
        delays = [time.monotonic() - float(event.data["data"].split()[0]) for event in events if event.name == "log"]

    assert delays
    assert max(delays) < 0.1


def test_lines_printed_together_are_one_event(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                for number in range(100):
                    print("line", number)
                return "done"
        """
    )

    with streaming(server, "POST", "/predictions", json={}) as events:
        said = [event.data["data"] for event in events if event.name == "log"]

    assert "".join(said) == numbered(100)
    # Two, if the machine was so slow that the first of them had to go.
    assert len(said) <= 2


def test_what_threads_print_is_all_there(serve: Serve) -> None:
    server = serve(
        """
        import threading
        class Predictor(BasePredictor):
            def predict(self) -> str:
                def say(name):
                    for number in range(2000):
                        sys.stdout.write(f"{name} {number}\\n")
                threads = [threading.Thread(target=say, args=(name,)) for name in "abcd"]
                for each in threads:
                    each.start()
                say("main")
                for each in threads:
                    each.join()
                return "done"
        """
    )

    lines = server.predict()["logs"].splitlines()

    for name in ("a", "b", "c", "d", "main"):
        assert [line for line in lines if line.startswith(f"{name} ")] == [f"{name} {number}" for number in range(2000)]
    assert len(lines) == 10_000


def test_a_forked_child_prints_once_and_in_its_place(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                print("before")
                if os.fork() == 0:
                    for number in range(1000):
                        print("child", number)
                    os._exit(0)
                os.wait()
                time.sleep(0.05)
                print("after")
                return "done"
        """
    )

    for _ in range(3):
        lines = server.predict()["logs"].splitlines()
        assert lines == ["before", *(f"child {number}" for number in range(1000)), "after"]


def test_text_of_a_program_comes_behind_the_line_that_announced_it(serve: Serve) -> None:
    server = serve(
        """
        import subprocess
        class Predictor(BasePredictor):
            def predict(self) -> str:
                for _ in range(5):
                    print("running")
                    subprocess.run(["sh", "-c", "echo started; sleep 0.1"])
                    print("ran")
                return "done"
        """
    )

    assert server.predict()["logs"] == "running\nstarted\nran\n" * 5


@pytest.mark.slow
def test_a_cancel_in_a_flood_of_lines_loses_and_repeats_none(serve: Serve) -> None:
    server = serve(FLOOD)
    workers = server.worker_pids()
    for turn in range(60):
        identifier = f"p{turn}"
        server.http.post("/predictions", json={"id": identifier}, headers=BACKGROUND)
        time.sleep(0.002 * (turn % 10))
        server.http.post(f"/predictions/{identifier}/cancel")

        said = end_of(server, identifier)

        assert server.http.get(f"/predictions/{identifier}").json()["status"] == "canceled"
        if said:  # It had begun.
            lines, _, number = said.rpartition("canceled at ")
            assert lines.startswith(numbered(int(number)))
            # And of the line that it was canceled in, as much as print() had written.
            assert numbered(int(number) + 1).startswith(lines)
    assert server.worker_pids() == workers


@pytest.mark.slow
def test_a_kill_in_a_flood_of_lines_repeats_none(serve: Serve) -> None:
    server = serve(FLOOD, environment={"COG_MAX_RESTART_DELAY": "0", "COG_POISON_LIMIT": "0"})
    for turn in range(30):
        server.wait_for("READY")
        server.http.post("/predictions", json={"id": f"p{turn}"}, headers=BACKGROUND)
        time.sleep(0.02 + 0.001 * turn)
        os.kill(server.worker_pids()[0], signal.SIGKILL)

        said = end_of(server, f"p{turn}")

        assert numbered(said.count("\n") + 1).startswith(said)


def test_concurrent_predictions_keep_their_own_text_also_in_pieces(serve: Serve) -> None:
    server = serve(
        """
        import asyncio
        class Predictor(BasePredictor):
            @concurrent(max=4)
            async def predict(self, token: str) -> str:
                for number in range(50):
                    print(token, end=" ")
                    await asyncio.sleep(0)
                    print(number)
                    await asyncio.to_thread(print, token, "thread")
                print(token, "end", end="")
                return token
        """,
        environment={"LOG_FORMAT": "console"},
    )
    tokens = [f"token{number}" for number in range(4)]

    with concurrent.futures.ThreadPoolExecutor() as pool:
        documents = list(pool.map(lambda token: server.predict(token=token), tokens))

    for token, document in zip(tokens, documents, strict=True):
        assert document["logs"] == "".join(f"{token} {n}\n{token} thread\n" for n in range(50)) + f"{token} end"
    # On a console the lines of all stand whole.
    assert set(re.findall(r"^token\d \w+", server.log.read_text(), re.MULTILINE)) >= {"token0 7", "token3 thread"}


def test_lines_of_any_length_and_text_that_is_none_arrive(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                for length in (10, 8191, 8192, 32767, 65535, 65536, 65537, 3_000_000):
                    print("é" * length)
                    print("x" * length)
                for _ in range(100_000):
                    sys.stdout.write("yz")
                sys.stdout.buffer.write(b"\\nraw \\xc3\\xa9 \\xff \\n")
                sys.stdout.writelines(["one\\n", "two\\n"])
                print("\\ud800 \\x00 \\r", end="")
                return "done"
        """
    )

    logs = server.predict()["logs"]

    long = "".join(f"{'é' * n}\n{'x' * n}\n" for n in (10, 8191, 8192, 32767, 65535, 65536, 65537, 3_000_000))
    assert logs == long + "yz" * 100_000 + "\nraw é \ufffd \none\ntwo\n? \x00 \r"


def test_stdout_is_a_text_file_as_elsewhere(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> Any:
                try:
                    sys.stdout.write(b"bytes")
                except TypeError as error:
                    print(error)
                size = sys.stdout.write("four")
                sys.stdout.flush()
                print(sys.stdout.buffer.write(memoryview(b"xyz\\n")), file=sys.stderr)
                return [size, sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.fileno(), sys.stderr.fileno(),
                        sys.stdout.writable(), sys.stdout.readable(), sys.stdout.closed]
        """
    )

    document = server.predict()

    assert document["output"] == [4, "utf-8", False, 1, 2, True, False, False]
    assert document["logs"] == "write() argument must be str, not bytes\nfourxyz\n4\n"


def test_what_setup_prints_is_in_its_log_only(serve: Serve) -> None:
    server = serve(
        """
        print("imported")
        class Predictor(BasePredictor):
            def setup(self) -> None:
                for number in range(1000):
                    print("line", number)
                print("no end", end="")
            def predict(self) -> str:
                print("mine")
                return "done"
        """
    )

    assert server.health()["setup"]["logs"] == f"imported\n{numbered(1000)}no end"
    assert server.predict()["logs"] == "mine\n"


def test_a_line_of_two_streams_is_cut_by_neither(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                print("loading", end=" ")
                print("a warning", file=sys.stderr)
                print("done")
                return "done"
        """
    )

    assert server.predict()["logs"] == "a warning\nloading done\n"
