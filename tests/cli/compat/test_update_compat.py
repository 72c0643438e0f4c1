"""The tool that refreshes the tables, against an index of its own."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cog_cli.compat.tables import load_tables
from tests.conftest import REPOSITORY


class Index(BaseHTTPRequestHandler):
    """PyPI's JSON and wheels, with range requests; `files` maps paths to bytes."""

    files: dict[str, bytes] = {}
    bytes_sent = 0

    def do_GET(self) -> None:
        body = self.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if span:
            body = body[int(span[1]) : int(span[2]) + 1]
        type(self).bytes_sent += len(body)
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def wheel(members: dict[str, str], padding_bytes: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("torch/lib/libtorch_cuda.so", b"\0" * padding_bytes)
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture
def index() -> Iterator[str]:
    name = "torch-2.99.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    members = {
        "torch/version.py": "__version__ = '2.99.0+cu134'\ncuda: Optional[str] = '13.4'\n",
        "torch-2.99.0.dist-info/METADATA": "Name: torch\nRequires-Dist: nvidia-cudnn-cu13==9.30.0.1; sys_platform == 'linux'\n",
    }
    data = wheel(members, 8 << 20)
    file = {
        "filename": name,
        "url": f"../../files/{name}",
        "size": len(data),
        "upload_time": "2027-01-02T03:04:05",
        "requires_python": ">=3.12",
        "yanked": False,
    }
    releases = {"2.99.0": [file], "2.99.1rc1": [file], "0.1.0": [file]}
    Index.files = {"/pypi/torch/json": json.dumps({"releases": releases}).encode(), f"/files/{name}": data}
    Index.bytes_sent = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/pypi"
    server.shutdown()


def run(index: str, data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(REPOSITORY / "tools" / "update_compat.py"),
        "--index",
        index,
        "--data",
        str(data),
        "torch",
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("torch.json", "packages.json", "images.json", "drivers.json"):
        shutil.copy(REPOSITORY / "cog_cli" / "compat" / name, tmp_path / name)
    return tmp_path


def test_new_release_is_found_and_read_from_a_few_blocks_of_its_wheel(index: str, data: Path) -> None:
    before = json.loads((data / "torch.json").read_text())

    result = run(index, data)

    after = json.loads((data / "torch.json").read_text())
    assert (result.returncode, result.stdout) == (0, "torch 2.99.0: new release\n")
    assert after["releases"][:-1] == before["releases"]
    added = after["releases"][-1]
    assert (added["version"], added["cuda"], added["pythons"]) == ("2.99.0", "13.4", ["3.12"])
    newest = load_tables(data).torch[-1]
    build = newest.build_for("13.4")
    assert build is not None and (build.tag, build.cudnn, newest.glibc) == ("cu134", "9.30.0.1", "2.28")
    assert Index.bytes_sent < 2 << 20


def test_check_reports_and_writes_nothing(index: str, data: Path) -> None:
    before = (data / "torch.json").read_bytes()

    result = run(index, data, "--check")

    assert (result.returncode, result.stdout) == (1, "torch 2.99.0: new release\n")
    assert (data / "torch.json").read_bytes() == before


def test_data_in_the_package_is_in_the_form_that_the_tool_writes(index: str, data: Path) -> None:
    Index.files["/pypi/torch/json"] = b'{"releases": {}}'

    result = run(index, data)

    assert result.stdout == "nothing changed\n"
    for name in ("torch.json", "packages.json"):
        assert (data / name).read_bytes() == (REPOSITORY / "cog_cli" / "compat" / name).read_bytes()
