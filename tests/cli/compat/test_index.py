"""The live index: what a package index serves beyond the tables, against real servers on the loopback."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cog_cli.compat.index import index_settings, live_tables
from cog_cli.compat.solver import resolve_stack
from cog_cli.compat.stack import Stack
from cog_cli.compat.tables import Tables, load_tables
from cog_cli.config import Build
from cog_cli.errors import StackError
from cog_cli.requirements.packages import read_requirements

NEWEST = str(load_tables().torch[-1].version)
TORCH_3 = "torch-3.0.0-cp312-cp312-manylinux_2_28_x86_64.whl"
METADATA_3 = (
    "Metadata-Version: 2.4\nName: torch\nVersion: 3.0.0\n"
    'Requires-Dist: cuda-toolkit[cublas,cudart]==13.4.1; platform_system == "Linux"\n'
    'Requires-Dist: nvidia-cudnn-cu13==9.30.0.7; platform_system == "Linux"\n'
    'Requires-Dist: triton==4.0.0; platform_system == "Linux"\n\nTensors.\n'
)


class Server(ThreadingHTTPServer):
    """Serves `pages` (path to body) and notes what was asked; `before` may break the answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.before: Callable[[Handler], bool] = lambda handler: False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"

    def list_files(self, package: str, *names: str, **fields: Any) -> None:
        files = [{"filename": name, "url": f"../../files/{name}", **fields} for name in names]
        self.pages[f"/simple/{package}/"] = json.dumps({"meta": {"api-version": "1.1"}, "files": files}).encode()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.before(self):
            return
        body = self.server.pages.get(self.path)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if body is None:
            self.send_error(404)
        elif span:
            send(self, body[int(span[1]) : int(span[2]) + 1], 206)
        else:
            send(self, body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def index() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def future(index: Server) -> Server:
    """An index with a torch that no table has."""
    index.list_files("torch", f"torch-{NEWEST}-cp312-cp312-manylinux_2_28_x86_64.whl", TORCH_3)
    index.pages[f"/files/{TORCH_3}.metadata"] = METADATA_3.encode()
    return index


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def ask(folder: Path, url: str, *packages: str, environ: dict[str, str] | None = None, **keys: Any) -> Stack:
    build = Build(python_packages=packages, **{"gpu": True, "python_version": "3.12", **keys})
    requirements = read_requirements(build, folder)
    variables = {"UV_INDEX_URL": url, "XDG_CACHE_HOME": str(folder / "cache"), **(environ or {})}
    tables = live_tables(build, requirements, platform="linux/amd64", tables=load_tables(), environ=variables)
    return resolve_stack(build, requirements, tables=tables)


# --- what is new ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["torch", "torch>=2.1", "torch==3.0.0", "torch~=3.0"])
def test_torch_released_tomorrow_works(line: str, future: Server, tmp_path: Path) -> None:
    stack = ask(tmp_path, future.url, line)

    assert stack.torch is not None
    assert (stack.torch.version, stack.torch.index_url) == ("3.0.0", None)
    assert (stack.cuda, stack.cudnn) == ("13.4", "9.30.0.7")
    assert stack.base_image.startswith("python:3.12-slim")
    assert not stack.warnings
    assert any("127.0.0.1" in reason and "metadata" in reason for reason in stack.reasons)


def test_mirror_without_metadata_files_is_read_by_ranges(future: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("torch/lib/libtorch_cuda.so", bytes(8 << 20))
        wheel.writestr("torch-3.0.0.dist-info/METADATA", METADATA_3)
    del future.pages[f"/files/{TORCH_3}.metadata"]
    future.pages[f"/files/{TORCH_3}"] = buffer.getvalue()
    future.list_files("torch", TORCH_3, size=len(buffer.getvalue()))

    stack = ask(tmp_path, future.url, "torch")

    assert stack.cuda == "13.4"


def test_html_index_is_read(future: Server, tmp_path: Path) -> None:
    link = f'<a href="../../files/{TORCH_3}#sha256=00" data-requires-python="&gt;=3.12">{TORCH_3}</a>'
    future.pages["/simple/torch/"] = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()

    stack = ask(tmp_path, future.url, "torch")

    assert stack.torch is not None
    assert stack.torch.version == "3.0.0"


def test_release_without_readable_metadata_is_taken_like_the_last(future: Server, tmp_path: Path) -> None:
    future.pages[f"/files/{TORCH_3}.metadata"] = b"\0garbage"

    stack = ask(tmp_path, future.url, "torch")

    assert stack.torch is not None
    assert stack.torch.version == "3.0.0"
    assert any("metadata cannot be read" in warning for warning in stack.warnings)


def test_companion_is_chosen_by_the_pin_in_its_metadata(future: Server, tmp_path: Path) -> None:
    name = "torchvision-0.40.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    future.list_files("torchvision", name)
    future.pages[f"/files/{name}.metadata"] = (
        b"Metadata-Version: 2.4\nName: torchvision\nRequires-Dist: torch==3.0.0\n\n"
    )

    stack = ask(tmp_path, future.url, "torch", "torchvision")

    assert stack.torch is not None
    assert stack.torch.version == "3.0.0"


def test_yanked_and_unfinished_releases_are_not_the_newest(future: Server, tmp_path: Path) -> None:
    candidate = TORCH_3.replace("3.0.0", "3.0.0rc1")
    files = [
        {"filename": TORCH_3, "url": "x", "yanked": "broken"},
        {"filename": candidate, "url": "y"},
    ]
    future.pages["/simple/torch/"] = json.dumps({"files": files}).encode()

    stack = ask(tmp_path, future.url, "torch")

    assert stack.torch is not None
    assert stack.torch.version == NEWEST


def test_onnxruntime_of_tomorrow_gets_the_image_that_its_extras_name(index: Server, tmp_path: Path) -> None:
    name = "onnxruntime_gpu-9.0.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    index.list_files("onnxruntime-gpu", name)
    index.pages[f"/files/{name}.metadata"] = (
        b"Metadata-Version: 2.4\nName: onnxruntime-gpu\nProvides-Extra: cuda\nProvides-Extra: cudnn\n"
        b'Requires-Dist: nvidia-cuda-runtime-cu12~=12.8; extra == "cuda"\n'
        b'Requires-Dist: nvidia-cudnn-cu12~=9.0; extra == "cudnn"\n\n'
    )

    stack = ask(tmp_path, index.url, "onnxruntime-gpu==9.0.0")

    assert re.match(r"nvidia/cuda:12\.8\.\d-cudnn-runtime", stack.base_image)


# --- when nothing is asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "packages", [(f"torch=={NEWEST}",), ("torch<2.5",), ("torch==2.4.*",), ("numpy",), ("flash-attn",)]
)
def test_nothing_is_asked_about_what_is_known(packages: tuple[str, ...], future: Server, tmp_path: Path) -> None:
    known = packages if packages != ("flash-attn",) else ("flash-attn", f"torch=={NEWEST}")
    ask(tmp_path, future.url, *known)

    assert future.asked == []


def test_nothing_is_asked_offline(future: Server, tmp_path: Path) -> None:
    stack = ask(tmp_path, future.url, "torch", environ={"COG_OFFLINE": "1"})

    assert future.asked == []
    assert any("Cog's table of" in reason for reason in stack.reasons)


def test_the_answer_is_remembered(future: Server, tmp_path: Path) -> None:
    ask(tmp_path, future.url, "torch")
    before = len(future.asked)

    stack = ask(tmp_path, future.url, "torch")

    assert len(future.asked) == before
    assert stack.cuda == "13.4"


def test_broken_cache_is_ignored(future: Server, tmp_path: Path) -> None:
    ask(tmp_path, future.url, "torch")
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_file():
            file.write_bytes(b"\xff{]")

    stack = ask(tmp_path, future.url, "torch")

    assert stack.cuda == "13.4"


def test_cache_that_cannot_be_written_is_done_without(future: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")

    stack = ask(tmp_path, future.url, "torch")

    assert stack.cuda == "13.4"


# --- when the index fails ---------------------------------------------------------------------------------------------


def refuse_500(handler: Handler) -> bool:
    handler.send_error(500)
    return True


def answer_garbage(handler: Handler) -> bool:
    send(handler, b'{"files": [17, null]}')
    return True


def answer_login_page(handler: Handler) -> bool:
    send(handler, b'<html><body><a href="/login">Sign in</a></body></html>')
    return True


def break_off(handler: Handler) -> bool:
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


@pytest.mark.parametrize("fault", [refuse_500, answer_garbage, answer_login_page, break_off])
def test_index_that_fails_leaves_the_table_and_says_so(
    fault: Callable[[Handler], bool], future: Server, tmp_path: Path
) -> None:
    future.before = fault

    stack = ask(tmp_path, future.url, "torch")

    assert stack.torch is not None
    assert stack.torch.version == NEWEST
    assert any(f"table of {load_tables().generated}; 127.0.0.1 did not answer" in reason for reason in stack.reasons)


@pytest.mark.slow
@pytest.mark.parametrize("dribbles", [False, True])
def test_index_that_hangs_costs_three_seconds_at_most(dribbles: bool, future: Server, tmp_path: Path) -> None:
    def hang(handler: Handler) -> bool:
        if dribbles:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
        for _ in range(100):
            if dribbles:
                handler.wfile.write(b" ")
            time.sleep(0.1)
        return True

    future.before = hang
    started = time.monotonic()

    stack = ask(tmp_path, future.url, "torch", "torchvision", "onnxruntime-gpu")

    assert time.monotonic() - started < 3.8
    assert any("did not answer" in reason for reason in stack.reasons)


def test_closed_port_is_found_out_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/simple"
    started = time.monotonic()

    stack = ask(tmp_path, url, "torch")

    assert time.monotonic() - started < 1.5
    assert any("did not answer" in reason for reason in stack.reasons)


def test_answer_that_never_ends_is_cut_off(future: Server, tmp_path: Path) -> None:
    def flood(handler: Handler) -> bool:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(bytes(1 << 20))
        except OSError:
            return True

    future.before = flood

    stack = ask(tmp_path, future.url, "torch")

    assert any("did not answer" in reason for reason in stack.reasons)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SSL_CERT_FILE", "/nonexistent.pem"), ("ALL_PROXY", "socks9://nowhere"), ("HTTP_PROXY", "http://[x")],
)
def test_environment_that_cannot_be_used_is_an_index_that_does_not_answer(
    variable: str, value: str, future: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    stack = ask(tmp_path, future.url, "torch")

    assert stack.torch is not None
    assert stack.torch.version in (NEWEST, "3.0.0")  # a certificate file matters to https only


@pytest.mark.parametrize("body", [b"PK\x03\x04 but no more", bytes(4096), b"<html>"])
def test_wheel_that_is_none_is_taken_like_the_last(body: bytes, future: Server, tmp_path: Path) -> None:
    del future.pages[f"/files/{TORCH_3}.metadata"]
    future.pages[f"/files/{TORCH_3}"] = body
    future.list_files("torch", TORCH_3, size=len(body))

    stack = ask(tmp_path, future.url, "torch")

    assert any("metadata cannot be read" in warning for warning in stack.warnings)


def test_version_that_the_index_does_not_have_is_refused(future: Server, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"there is no 2\.99\.0"):
        ask(tmp_path, future.url, "torch==2.99.0")


# --- which index ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "https://pypi.org/simple"),
        ({"PIP_INDEX_URL": "https://pip.example/simple"}, "https://pip.example/simple"),
        ({"PIP_INDEX_URL": "https://pip.example/", "UV_INDEX_URL": "https://uv.example/"}, "https://uv.example/"),
        ({"UV_DEFAULT_INDEX": "own=https://me:pw@uv.example/simple"}, "https://me:pw@uv.example/simple"),
        ({"COG_OFFLINE": "1"}, None),
        ({"COG_OFFLINE": "0"}, "https://pypi.org/simple"),
        ({"PIP_INDEX_URL": "file:///srv/wheels"}, None),
        ({"PIP_INDEX_URL": "http://[bad"}, None),
        ({"PIP_INDEX_URL": "https:///simple"}, None),
    ],
)
def test_index_is_the_one_the_installers_use(environ: dict[str, str], url: str | None) -> None:
    settings = index_settings(environ)

    assert (settings.url if settings else None) == url


def test_index_of_the_requirements_comes_first(future: Server, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"--index-url {future.url}\ntorch\n")
    build = Build(gpu=True, python_version="3.12", python_requirements="requirements.txt")

    tables = live_tables(
        build,
        read_requirements(build, tmp_path),
        platform="linux/amd64",
        tables=load_tables(),
        environ={"UV_INDEX_URL": "http://127.0.0.1:9/simple"},
    )

    assert isinstance(tables, Tables)
    assert str(tables.torch[-1].version) == "3.0.0"
