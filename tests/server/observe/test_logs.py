"""The server's log: whose line it is, and that a line stays one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from cog_server.observe.logs import PREDICTION, TRACE, ModelLog
from tests.conftest import REPOSITORY
from tests.server.conftest import Serve, Server, wait_until

SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, sleep_s: float = 0.0) -> str:
            print("one")
            print("no end", end="")
            time.sleep(sleep_s)
            return "x"
"""
WRITE = """
import logging, sys
from cog_server.observe.logs import PREDICTION, TRACE, configure_logging
configure_logging(log_format=sys.argv[1], level="info")
log = logging.getLogger("cog.server")
log.info("before")
PREDICTION.set("abc")
TRACE.set("0af7651916cd43dd8448eb211c80319c")
log.warning("odd \\x1b[31m \\x00 \\x7f \\x85 \\u2028 é\\r\\nERROR: forged")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it broke")
log.info("of another", extra={"prediction_id": "other"})
"""

WRITE_TEXT = """
import asyncio, logging, sys, threading
from cog_server.observe.logs import ModelLog, configure_logging
configure_logging(log_format=sys.argv[1], level="info")
model, log = ModelLog(sys.argv[1]), logging.getLogger("cog.server")

async def main():
    model.write("1\\n", "a")
    model.write("2\\n", "b")
    log.info("3")
    model.write("4\\n", "a")
    thread = threading.Thread(target=log.info, args=("5",))
    thread.start()
    thread.join()
    model.write("6\\n", "a")
    print("an answer", file=sys.stderr)
    await asyncio.sleep(0)
    print("the next turn", file=sys.stderr)
    model.write("x" * 300_000 + "\\n", "a")
    model.write("7\\n", "a")
    print("so much does not wait", file=sys.stderr)
    model.write("8\\n", "a")
    asyncio.get_running_loop().stop()

try:
    asyncio.run(main())
except RuntimeError:
    pass
"""


def written(log_format: str, source: str = WRITE) -> str:
    command = [sys.executable, "-c", source, log_format]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, encoding="utf-8", check=True, timeout=30
    ).stderr


def lines_of(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def test_json_lines_carry_the_prediction_and_the_trace() -> None:
    before, odd, broke, other = (json.loads(line) for line in written("json").splitlines())

    assert (before["level"], before["logger"], before["message"]) == ("INFO", "cog.server", "before")
    assert datetime.fromisoformat(before["time"]).tzinfo is not None
    assert "prediction_id" not in before
    assert odd["message"] == "odd \x1b[31m \x00 \x7f \x85 \u2028 é\r\nERROR: forged"
    assert (odd["prediction_id"], odd["trace_id"]) == ("abc", "0af7651916cd43dd8448eb211c80319c")
    assert broke["message"] == "it broke"
    assert "ZeroDivisionError" in broke["exception"]
    assert other["prediction_id"] == "other"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_control_character_is_written_as_it_is(log_format: str) -> None:
    text = written(log_format)

    assert not [
        char for char in text if char != "\n" and (ord(char) < 32 or 127 <= ord(char) < 160 or char == "\u2028")
    ]


def test_console_lines_name_the_prediction_and_cannot_be_forged() -> None:
    lines = written("console").splitlines()

    assert lines[0] == "INFO: before"
    assert lines[2] == "    ERROR: forged [prediction abc, trace 0af7651916cd43dd8448eb211c80319c]"
    assert [line for line in lines if not line.startswith("    ")][1:3] == [
        "WARNING: odd \\x1b[31m \\x00 \\x7f \\x85 \\x2028 é\\x0d",
        "ERROR: it broke [prediction abc, trace 0af7651916cd43dd8448eb211c80319c]",
    ]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_text_of_the_model_comes_behind_the_answer_and_before_what_is_written_later(log_format: str) -> None:
    lines = written(log_format, WRITE_TEXT).splitlines()

    records = [json.loads(line)["message"] if line[0] == "{" else line.removeprefix("INFO: ") for line in lines]
    said = [text for text in records if len(text) < 100]
    assert said == [*"12345", "an answer", "6", "the next turn", "7", "so much does not wait", "8"]


def test_text_of_the_model_carries_its_prediction_also_without_a_line_break(serve: Serve) -> None:
    server = serve(SOURCE, environment={"LOG_FORMAT": "json"})
    identifier = server.predict()["id"]

    wait_until(lambda: any(line["message"] == "no end" for line in lines_of(server)), "the rest is not written")
    mine = [line["message"] for line in lines_of(server) if line.get("prediction_id") == identifier]
    assert mine == ["one", "no end"]


def test_a_line_of_the_server_about_a_prediction_carries_it(serve: Serve, tmp_path: Path) -> None:
    server = serve(SOURCE, environment={"LOG_FORMAT": "json", "COG_STORE": f"sqlite:///{tmp_path}/p.sqlite"})
    body = {"input": {}, "webhook": "http://127.0.0.1:9/refused"}

    answer = server.http.put("/predictions/mine", json=body)

    assert answer.status_code == 200
    wait_until(lambda: any("webhook" in line["message"] for line in lines_of(server)), "nothing is said")
    said = [line for line in lines_of(server) if "webhook" in line["message"]]
    assert {line.get("prediction_id") for line in said} == {"mine"}


def test_a_line_without_end_is_held_to_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    log = ModelLog("json")
    log.trace_of = {"p": "t"}.get
    for _ in range(70):
        log.write("x" * 1024, "p")
    log.write("rest\n", "p")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 2
    assert sum(len(line["message"]) for line in lines) == 70 * 1024 + 4
    assert {line["trace_id"] for line in lines} == {"t"}


def test_lines_of_several_workers_are_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    log = ModelLog("json")

    for text, worker in (("loading ", 0), ("reading ", 1), ("weights\n", 0), ("tokens\n", 1)):
        log.write(text, None, worker)

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["message"], line["worker"]) for line in lines] == [("loading weights", 0), ("reading tokens", 1)]


def test_each_line_of_a_text_is_a_record_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ['"message": ""', "", "\x1b[31m \x00 \x7f \x85 \u2028 é \\ \U0001f600", "\ud800", "last\r"]

    log = ModelLog("json")
    log.trace_of = {"p": "t"}.get
    log.write("\n".join(lines) + "\n", "p")

    written = capsys.readouterr().err
    records = [json.loads(line) for line in written.splitlines()]
    assert [record.pop("message") for record in records] == lines
    assert [datetime.fromisoformat(record.pop("time")).tzinfo for record in records] == [timezone.utc] * 5
    rest = {"level": "INFO", "logger": "model", "prediction_id": "p", "trace_id": "t"}
    assert records == [rest] * 5
    assert written.isascii()
    assert "\x7f" not in written


def test_what_one_task_works_for_is_not_what_another_does() -> None:
    PREDICTION.set("here")
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(PREDICTION.get(None)))
    thread.start()
    thread.join()

    assert found == [None]
    assert TRACE.get(None) is None
