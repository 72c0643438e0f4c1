"""Images of every kind the solver may choose, really built: slim, CUDA, two stages, locked; and built again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cog
from tests.integration.names import docker, image_name

pytestmark = [pytest.mark.docker, pytest.mark.slow]

Project = Callable[..., Path]

# What the model sees of its image: nvcc, the system, the variables of the GPU runtime, one package.
LOOKS_AROUND = """
import json, os, shutil, sys
from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self) -> str:
        try:
            import six
        except ImportError:
            six = None
        return json.dumps({
            "python": ".".join(map(str, sys.version_info[:2])),
            "nvcc": shutil.which("nvcc") is not None,
            "cuda": os.environ.get("CUDA_VERSION"),
            "visible": os.environ.get("NVIDIA_VISIBLE_DEVICES"),
            "capabilities": os.environ.get("NVIDIA_DRIVER_CAPABILITIES"),
            "needs": os.environ.get("COG_GPU_NEEDS"),
            "six": six and six.__version__,
        })
"""


@pytest.fixture
def environment() -> dict[str, str]:
    """Where the lab serves CPython builds for uv; elsewhere uv downloads them from where it always does."""
    is_lab = "cog-lab=true" in docker("info", "--format", "{{.Labels}}")
    return {"UV_PYTHON_DOWNLOADS_JSON_URL": "http://172.17.0.1:8484/downloads.json"} if is_lab else {}


def layers(image: str) -> list[str]:
    return json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))  # type: ignore[no-any-return]  # JSON


def identifier(image: str) -> str:
    return docker("image", "inspect", "--format", "{{.Id}}", image)


def size_bytes(image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def build(cog: Cog, folder: Path, name: str, *flags: str, environment: dict[str, str]) -> str:
    image = image_name(name)
    answer = cog("build", "-t", image, *flags, folder=folder, environment=environment)
    assert answer.returncode == 0, answer.stderr
    return image


def seen(cog: Cog, image: str, folder: Path) -> dict[str, object]:
    answer = cog("predict", image, folder=folder)
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert isinstance(document, dict)
    return document


def config(*lines: str) -> str:
    return "build:\n" + "".join(f"  {line}\n" for line in lines) + 'predict: "predict.py:Predictor"\n'


def test_without_a_gpu_the_image_is_slim_and_says_nothing_of_one(
    project: Project, cog: Cog, environment: dict[str, str]
) -> None:
    text = config('python_version: "3.11"', "python_packages: [six==1.16.0]")
    folder = project({"cog.yaml": text, "predict.py": LOOKS_AROUND})

    image = build(cog, folder, "cpu", environment=environment)

    found = seen(cog, image, folder)
    assert (found["python"], found["six"]) == ("3.11", "1.16.0")
    assert (found["cuda"], found["visible"], found["needs"]) == (None, None, None)
    assert layers(image)[: len(layers("python:3.11-slim-bookworm"))] == layers("python:3.11-slim-bookworm")


def test_a_gpu_model_whose_packages_bring_cuda_is_slim_and_tells_the_runtime_what_it_needs(
    project: Project, cog: Cog, environment: dict[str, str]
) -> None:
    text = config("gpu: true", 'python_version: "3.11"', "python_requirements: requirements.txt")
    folder = project(
        {"cog.yaml": text, "predict.py": LOOKS_AROUND, "requirements.txt": "./torch-2.5.1-py3-none-any.whl"}
    )
    write_torch(folder)

    image = build(cog, folder, "slim", environment=environment)

    found = seen(cog, image, folder)
    assert found["cuda"] is None
    assert (found["visible"], found["capabilities"]) == ("all", "compute,utility")
    assert json.loads(str(found["needs"]))["driver"] == "525.60.13"
    assert layers(image)[: len(layers("python:3.11-slim-bookworm"))] == layers("python:3.11-slim-bookworm")


@pytest.mark.lab
def test_a_model_that_needs_cudnn_in_the_image_gets_it(project: Project, cog: Cog, environment: dict[str, str]) -> None:
    text = config("gpu: true", 'cuda: "12.4"', 'cudnn: "9"', 'python_version: "3.11"', "python_packages: [six==1.16.0]")
    folder = project({"cog.yaml": text, "predict.py": LOOKS_AROUND})

    image = build(cog, folder, "cudnn", environment=environment)

    base = "nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04"
    found = seen(cog, image, folder)
    assert (found["cuda"], found["nvcc"], found["six"]) == ("12.4.1", False, "1.16.0")
    assert layers(image)[: len(layers(base))] == layers(base)


@pytest.fixture
def two_stages(project: Project) -> Path:
    """A project whose flash-attn is an sdist that calls nvcc and imports torch; both are tiny and lie in the project."""
    lines = "./torch-2.5.1-py3-none-any.whl\n./flash_attn-2.7.4.post1.tar.gz\n"
    text = config(
        *("gpu: true", 'python_version: "3.11"', "python_requirements: requirements.txt"),
        'run: ["echo ran > /etc/marker"]',
    )
    source = LOOKS_AROUND.replace(
        "try:\n", "import flash_attn, torch\n        return flash_attn.TEXT\n        try:\n", 1
    )
    folder = project({"cog.yaml": text, "predict.py": source, "requirements.txt": lines})
    write_torch(folder)
    setup = """
import os, subprocess
import torch
from setuptools import setup
said = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
os.makedirs("flash_attn", exist_ok=True)
with open("flash_attn/__init__.py", "w") as file:
    print("TEXT =", repr(f"{said.split('release ')[1][:4]} for {os.environ['TORCH_CUDA_ARCH_LIST']}"), file=file)
setup(name="flash-attn", version="2.7.4.post1", packages=["flash_attn"])
"""
    members = {"setup.py": setup, "PKG-INFO": "Metadata-Version: 2.1\nName: flash-attn\nVersion: 2.7.4.post1\n"}
    with tarfile.open(folder / "flash_attn-2.7.4.post1.tar.gz", "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"flash_attn-2.7.4.post1/{name}")
            member.size = len(content.encode())
            archive.addfile(member, io.BytesIO(content.encode()))
    return folder


def write_torch(folder: Path) -> None:
    """A wheel called torch 2.5.1, whose code is one line."""
    info = "torch-2.5.1.dist-info"
    files = {
        "torch/__init__.py": "__version__ = '2.5.1'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.5.1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / "torch-2.5.1-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")))


@pytest.mark.lab
def test_what_nvcc_compiles_runs_in_an_image_without_nvcc(
    two_stages: Path, cog: Cog, environment: dict[str, str]
) -> None:
    image = build(cog, two_stages, "two", environment=environment)

    answer = cog("predict", image, folder=two_stages)
    assert (answer.returncode, answer.stdout) == (0, "12.4 for 7.0 7.5 8.0 8.6 9.0\n"), answer.stderr
    base = "nvidia/cuda:12.4.1-base-ubuntu22.04"
    assert layers(image)[: len(layers(base))] == layers(base)
    run = ("run", "--rm", "--entrypoint", "sh", image, "-c")
    assert docker(*run, "cat /etc/marker; command -v nvcc || echo none") == "ran\nnone"
    assert docker(*run, "python -c 'import sys; print(sys.prefix)'; head -1 $(command -v pip)").startswith(
        "/opt/python/"
    )
    assert "flash-attn" in docker(
        "image", "inspect", "--format", '{{index .Config.Labels "run.cog.pip_freeze"}}', image
    )


def test_a_locked_build_is_the_same_image_twice_and_on_another_name(
    project: Project, cog: Cog, environment: dict[str, str]
) -> None:
    text = config('python_version: "3.11"', "python_packages: [six, ./own]")
    own = '[project]\nname = "own"\nversion = "1"\n[tool.setuptools]\npy-modules = []\n'
    folder = project({"cog.yaml": text, "predict.py": LOOKS_AROUND, "own/pyproject.toml": own})
    environment |= {"SOURCE_DATE_EPOCH": "1700000000"}
    environment |= {"SSL_CERT_FILE": os.environ["SSL_CERT_FILE"]} if "SSL_CERT_FILE" in os.environ else {}
    answer = cog("lock", folder=folder, environment=environment)
    assert answer.returncode == 0, answer.stderr

    one = build(cog, folder, "locked-one", "--locked", environment=environment)
    two = build(cog, folder, "locked-two", "--locked", environment=environment)

    assert identifier(one) == identifier(two)
    lock = json.loads((folder / "cog.lock").read_text())
    [line] = [package["line"] for package in lock["packages"]]
    assert f"six=={seen(cog, one, folder)['six']}" == line
    assert "own @" in docker("image", "inspect", "--format", '{{index .Config.Labels "run.cog.pip_freeze"}}', one)


def test_a_package_that_is_not_the_locked_one_is_refused(
    project: Project, cog: Cog, environment: dict[str, str]
) -> None:
    folder = project({"cog.yaml": config('python_version: "3.11"', "python_packages: [six==1.16.0]")})
    answer = cog("lock", folder=folder, environment=environment)
    assert answer.returncode == 0, answer.stderr
    lock = json.loads((folder / "cog.lock").read_text())
    lock["packages"][0]["hashes"] = ["sha256:" + "0" * 64]
    (folder / "cog.lock").write_text(json.dumps(lock))

    answer = cog("build", "-t", image_name("forged"), "--locked", folder=folder, environment=environment)

    assert answer.returncode == 1
    assert "six" in answer.stderr
    assert "hash" in answer.stderr.lower()
    assert docker("images", "-q", image_name("forged")) == ""


def test_without_the_cache_the_image_itself_is_made_anew(
    project: Project, cog: Cog, environment: dict[str, str]
) -> None:
    text = config('python_version: "3.11"', "python_packages: [six==1.16.0]", 'run: ["date +%s%N > /etc/built-at"]')
    folder = project({"cog.yaml": text, "predict.py": LOOKS_AROUND})
    old = build(cog, folder, "old", environment=environment)

    new = build(cog, folder, "new", "--no-cache", environment=environment)

    moments = [docker("run", "--rm", "--entrypoint", "cat", image, "/etc/built-at") for image in (old, new)]
    assert int(moments[0]) < int(moments[1])


def test_two_builds_without_the_cache_have_the_same_files_but_for_their_times(
    project: Project, cog: Cog, environment: dict[str, str]
) -> None:
    text = config('python_version: "3.11"', "python_packages: [six==1.16.0, click==8.1.7]")
    folder = project({"cog.yaml": text, "predict.py": LOOKS_AROUND})
    environment |= {"SOURCE_DATE_EPOCH": "1700000000"}

    one, two = (build(cog, folder, name, "--no-cache", environment=environment) for name in ("anew-one", "anew-two"))

    assert files(one) == files(two)
    created = docker("image", "inspect", "--format", "{{.Created}}", one, two).split()
    assert created == ["2023-11-14T22:13:20Z"] * 2


def files(image: str) -> dict[str, tuple[int, str, str]]:
    """Mode, target and digest of every file in an image."""
    container = docker("create", image)
    try:
        content = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
    finally:
        docker("rm", container)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            digest = hashlib.sha256(file.read()).hexdigest() if file else ""
            found[member.name] = (member.mode, member.linkname, digest)
    return found
