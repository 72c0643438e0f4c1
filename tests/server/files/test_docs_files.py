"""Every example of docs/files.md works, against the counterparts that it names."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.fakes.clouds import Cloud, running_azure, running_gcs, running_s3
from tests.fakes.file_server import FileServer, serving_files
from tests.server.conftest import Server, serving

_TEXT = (REPOSITORY / "docs" / "files.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sh\n(.*?)\n```", _TEXT, re.S)
SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, image: Path) -> Path:
            out = Path("made.png")
            out.write_bytes(image.read_bytes())
            return out
"""
CONTENT = b"a picture"


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cloud]]:
    with contextlib.ExitStack() as stack:
        found = {
            "s3": stack.enter_context(running_s3()),
            "gs": stack.enter_context(running_gcs(tmp_path_factory.mktemp("gcs"))),
            "az": stack.enter_context(running_azure()),
        }
        for cloud in found.values():
            cloud.write("picture.png", CONTENT)
        yield found


@pytest.fixture(scope="module")
def web() -> Iterator[FileServer]:
    with serving_files() as server:
        server.files["/picture.png"] = CONTENT
        server.files["/owner/model/resolve/main/picture.png"] = CONTENT
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, clouds: dict[str, Cloud], web: FileServer) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("docs")
    for name in ("in", "out"):
        (folder / "mnt" / name).mkdir(parents=True)
    (folder / "mnt" / "in" / "picture.png").write_bytes(CONTENT)
    environment = {
        "COG_ALLOW_PRIVATE_URLS": "127.0.0.0/8",
        "COG_FILE_ROOTS": f"{folder}/mnt/in:{folder}/mnt/out",
        "HF_ENDPOINT": web.url("/").rstrip("/"),
    }
    for cloud in clouds.values():
        environment.update(cloud.environment)
    with serving(folder, kept_fds=60) as start:
        yield start(SOURCE, environment=environment)


@pytest.mark.azurite
@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.findall(r"\w+:/+\w+\S*|-F \S+|data:[^\"]*", text)[-1])
def test_an_example_works(
    example: str, server: Server, clouds: dict[str, Cloud], web: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "picture.png").write_bytes(CONTENT)
    command = example.replace("localhost:5000", server.url).replace("https://example.com", web.url("").rstrip("/"))
    command = command.replace("file:///mnt/", f"file://{server.log.parent.parent}/mnt/")
    for scheme, cloud in clouds.items():
        command = command.replace(f"{scheme}://pictures/", cloud.url(""))

    answer = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert answer.returncode == 0, (command, answer.stdout, answer.stderr)
    document = json.loads(answer.stdout)
    assert document["status"] == "succeeded", document["error"]
    assert isinstance(document["output"], str)


def test_there_is_an_example_for_every_scheme() -> None:
    for scheme in ("data:", "https://", "s3://", "gs://", "az://", "hf://", "file://", "-F image=@"):
        assert any(scheme in example for example in EXAMPLES), scheme
