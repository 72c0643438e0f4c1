"""Files on their way to a model's server and back, over real HTTP."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cog_cli.errors import CogError
from cog_cli.prediction.client import ModelClient
from cog_cli.prediction.uploads import MAX_EMBEDDED_BYTES, Upload, find_upload
from tests.conftest import Cog
from tests.fakes.model_server import Answer, ModelServer, Received

DONE = {"status": "succeeded", "output": "done"}
MIB = 1024**2

# One prediction in a process of its own: the server's address and the file are its words.
SEND = r"""
import re, sys
from pathlib import Path
from cog_cli.prediction.client import ModelClient
from cog_cli.prediction.uploads import find_upload

class Model:
    url = sys.argv[1]
    def exit_code(self): return None
    def wait(self): return 0

upload = find_upload("image", Path(sys.argv[2]), "file0")
with ModelClient(Model()) as client:
    client.predict({"image": upload.reference}, uploads=(upload,))
# Not getrusage: after a fork its peak is that of the parent.
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def send(server: ModelServer, *uploads: Upload, given: dict[str, Any] | None = None) -> dict[str, Any]:
    with ModelClient(server) as client:
        return client.predict(given or {"files": [upload.reference for upload in uploads]}, uploads=uploads)


def upload(path: Path, content: bytes | int, part: str = "file0") -> Upload:
    """An upload of a file with this content, or of so many bytes that take no room on the disk."""
    path.write_bytes(b"" if isinstance(content, int) else content)
    if isinstance(content, int):
        os.truncate(path, content)
    return find_upload("image", path, part)


def json_only(received: Received) -> Answer:
    is_json = received.headers["content-type"] == "application/json"
    return Answer(DONE) if is_json else Answer({"detail": "JSON only"}, 415)


def test_files_are_sent_as_they_are_after_the_input(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1024
    first = upload(tmp_path / "a b.jpg", content, "file0")
    second = upload(tmp_path / "b", b"\r\n--", "file1")

    with ModelServer(lambda received: Answer(DONE)) as server:
        document = send(server, first, second)

    assert document == DONE
    (received,) = server.received
    assert int(received.headers["content-length"]) == received.size_bytes < len(content) + 1000
    envelope, one, two = received.parts()
    assert (envelope.name, envelope.filename, envelope.media_type) == ("request", None, "application/json")
    assert json.loads(envelope.content) == {"input": {"files": ["upload:file0", "upload:file1"]}}
    assert (one.name, one.filename, one.media_type) == ("file0", "a b.jpg", "image/jpeg")
    assert one.content == content
    assert (two.name, two.filename, two.media_type, two.content) == (
        "file1",
        "b",
        "application/octet-stream",
        b"\r\n--",
    )


def test_the_name_of_a_file_breaks_no_header(tmp_path: Path) -> None:
    odd = upload(tmp_path / 'a"; name="request"\r\nX: y', b"x")

    with ModelServer(lambda received: Answer(DONE)) as server:
        send(server, odd)

    assert [part.name for part in server.received[0].parts()] == ["request", "file0"]


@pytest.mark.parametrize(
    "refusal",
    [
        Answer({"error": "JSON only"}, 415),
        Answer(b"Expected request with `Content-Type: application/json`", 415),
        Answer({"detail": [{"loc": ["body"], "msg": "value is not a valid dict"}]}, 422),
        Answer(b"bad request", 400),
        Answer({"error": "JSON only"}, 415, is_early=True),
    ],
    ids=["problem", "text", "422", "400", "early"],
)
def test_a_server_without_multipart_gets_data_urls(tmp_path: Path, refusal: Answer) -> None:
    picture = upload(tmp_path / "a.png", bytes(MIB))

    def answer(received: Received) -> Answer:
        return Answer(DONE) if received.headers["content-type"] == "application/json" else refusal

    with ModelServer(answer) as server:
        document = send(server, picture, given={"image": "upload:file0", "deep": [{"a": "upload:file0"}], "s": "x"})

    assert document == DONE
    _, second = server.received
    assert second.body.startswith(b'{"input": {"image": "data:image/png;base64,AAAA')
    assert second.size_bytes > 2 * MIB * 4 // 3


def test_only_a_server_without_multipart_limits_a_file_to_70_mib(tmp_path: Path) -> None:
    large = upload(tmp_path / "large.bin", MAX_EMBEDDED_BYTES + 1)

    with ModelServer(lambda received: Answer(DONE)) as server:
        assert send(server, large) == DONE
    with ModelServer(json_only) as server, pytest.raises(CogError, match=r"large\.bin is larger than 70 MiB"):
        send(server, large)


def test_an_input_that_is_refused_is_not_sent_again(tmp_path: Path) -> None:
    refusal = Answer({"detail": [{"loc": ["body", "input", "image"], "msg": "no picture"}]}, 422)

    with ModelServer(lambda received: refusal) as server, pytest.raises(CogError, match="- image: no picture"):
        send(server, upload(tmp_path / "a.png", b"x"))

    assert len(server.received) == 1


@pytest.mark.parametrize("is_early", [False, True])
def test_what_the_server_says_of_a_file_that_is_too_large_is_shown(tmp_path: Path, is_early: bool) -> None:
    refusal = Answer({"error": "file0: more than 10 bytes"}, 413, is_early=is_early)

    with ModelServer(lambda received: refusal) as server, pytest.raises(CogError) as error:
        send(server, upload(tmp_path / "a.png", 50 * MIB))

    assert str(error.value) == f"the model answered 413: the input image: {tmp_path}/a.png: more than 10 bytes"


def test_a_file_that_changes_while_it_is_sent_is_an_error(tmp_path: Path) -> None:
    growing = upload(tmp_path / "log", bytes(MIB))
    pieces = growing.pieces(growing.size_bytes())
    next(pieces)
    with growing.path.open("ab") as file:
        file.write(b"more")

    with pytest.raises(CogError, match="log changed while it was sent"):
        list(pieces)


@pytest.mark.slow
def test_a_large_file_takes_no_memory(tmp_path: Path) -> None:
    upload(tmp_path / "large.bin", 300 * MIB)

    with ModelServer(lambda received: Answer(DONE)) as server:
        answer = subprocess.run(
            [sys.executable, "-c", SEND, server.url, str(tmp_path / "large.bin")],
            capture_output=True,
            text=True,
            check=False,
        )

    assert answer.returncode == 0, answer.stderr
    assert server.received[0].size_bytes > 300 * MIB
    assert int(answer.stdout) < 100 * 1024


SLOW = Answer({**DONE, "output": "x" * 8 * MIB}, reading_pause_s=0.015, pause_s=0.05)
# More than the kernel takes at once, however slow the server reads.
SLOW_BYTES = 40 * MIB


@pytest.mark.slow
def test_what_takes_longer_than_a_second_has_a_bar_on_a_terminal(tmp_path: Path) -> None:
    upload(tmp_path / "picture.bin", SLOW_BYTES)

    with ModelServer(lambda received: SLOW) as server:
        shown = run_on_terminal([sys.executable, "-c", SEND, server.url, str(tmp_path / "picture.bin")])

    assert "sending picture.bin" in shown
    assert "receiving the output" in shown
    assert "MiB" in shown


def test_what_is_quick_has_none(tmp_path: Path) -> None:
    upload(tmp_path / "picture.bin", 8 * MIB)

    with ModelServer(lambda received: Answer(DONE)) as server:
        shown = run_on_terminal([sys.executable, "-c", SEND, server.url, str(tmp_path / "picture.bin")])

    assert shown == ""


@pytest.mark.slow
def test_without_a_terminal_there_is_no_bar(tmp_path: Path) -> None:
    upload(tmp_path / "picture.bin", SLOW_BYTES)

    with ModelServer(lambda received: SLOW) as server:
        command = [sys.executable, "-c", SEND, server.url, str(tmp_path / "picture.bin")]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)

    assert answer.stderr == ""


COPIER = """
import shutil
from typing import List
from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, images: List[Path]) -> List[Path]:
        copies = []
        for number, image in enumerate(images):
            folder = Path(str(number))
            folder.mkdir()
            copies.append(Path(shutil.copy(image, folder / "copy.png")))
        return copies
"""
LOCAL = ("--engine", "local", "--python", sys.executable)


@pytest.mark.slow
def test_files_reach_the_model_and_come_back_by_their_names(project: Callable[..., Path], cog: Cog) -> None:
    folder = project({"predict.py": COPIER})
    for name in ("b.png", "a.png"):
        (folder / name).write_bytes(name.encode() * 100_000)

    answer = cog("predict", *LOCAL, "-i", "images=@b.png", "-i", "images=@a.png", "-o", "out/", folder=folder)

    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == ""
    assert (folder / "out" / "copy.png").read_bytes() == b"b.png" * 100_000
    assert (folder / "out" / "copy-1.png").read_bytes() == b"a.png" * 100_000


@pytest.mark.slow
def test_what_is_said_of_files_is_shown_to_who_asks(project: Callable[..., Path], cog: Cog) -> None:
    folder = project({"predict.py": COPIER})
    words = ("predict", *LOCAL, "--json", '{"images": []}')

    usual = json.loads(cog(*words, folder=folder).stdout)
    asked = json.loads(cog(*words, "-e", "COG_OUTPUT_INFO=1", folder=folder).stdout)

    assert "output_info" not in usual
    assert asked["output_info"] == []


@pytest.mark.slow
def test_a_served_model_puts_its_files_where_upload_url_says(project: Callable[..., Path]) -> None:
    folder = project({"predict.py": COPIER})
    with ModelServer(lambda received: Answer("")) as store:
        command = [sys.executable, "-m", "cog_cli", "serve", *LOCAL, "-p", "0", "--upload-url", f"{store.url}/files/"]
        serving = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        try:
            assert serving.stderr is not None
            url = next(line.split()[2] for line in serving.stderr if line.startswith("Serving at"))
            given = {"input": {"images": ["data:image/png;base64,AAAA"]}}
            document = httpx.post(f"{url}/predictions", json=given, timeout=30).json()
        finally:
            serving.send_signal(signal.SIGINT)
            serving.communicate(timeout=30)

    assert document["output"] == [f"{store.url}/files/copy.png"]
    assert [(each.path, each.body) for each in store.received] == [("/files/copy.png", bytes(3))]


def run_on_terminal(command: list[str]) -> str:
    """What a command writes to stderr where that is a terminal."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env={**environment, "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(10) == 0, shown
    return shown.decode("utf-8", "replace")
