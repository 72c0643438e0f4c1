"""`make bench`: the figures that README states, with the commands that made them."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, print_figures
from benchmarks.large_files import GIB, measure
from benchmarks.peers.environments import InstallError
from benchmarks.serving import measure_serving

REPOSITORY = Path(__file__).resolve().parent.parent
ENLARGE = REPOSITORY / "examples" / "enlarge"
NAME = "cog-bench-enlarge"
RUNS = 9

# What each kind of base image takes on disk, in GB: a class, not a measurement. Sources: vllm-project/vllm#28643
# (devel), IBM/text-generation-inference#50 (the libraries of runtime), docker/model-runner#75 (cuDNN).
SIZE_CLASS_GB = {
    "slim": 0.15,
    "base": 0.3,
    "runtime": 2.5,
    "cudnn-runtime": 3.0,
    "devel": 7.0,
    "cudnn-devel": 7.5,
}
# What replicate/cog takes for the same cog.yaml: the highest CUDA that torch has a build for, always with cuDNN, always
# devel (its compatibility tables of May 2026; it refuses torch from 2.12 on).
OF_REPLICATE_COG = {
    "2.1.2": "nvidia/cuda:12.1.1-cudnn8-devel-ubuntu22.04",
    "2.6.0": "nvidia/cuda:12.6.3-cudnn-devel-ubuntu24.04",
    "2.11.0": "nvidia/cuda:13.0.3-cudnn-devel-ubuntu24.04",
    "2.15.0": "refused",
}


def main() -> None:
    figures = [*_startup(), *_stacks()]
    try:
        figures += measure_serving()
    except InstallError as error:
        print(f"the server's environment cannot be made, so it is not measured: {error}", file=sys.stderr)
    figures += _files()
    if _docker_answers():
        with tempfile.TemporaryDirectory() as folder:
            figures += _builds(Path(folder) / "enlarge")
    else:
        print("no Docker engine answers: builds are not measured", file=sys.stderr)
    print_figures(figures)


def _startup() -> list[Figure]:
    """`cog --help` against `python -c pass`, run in turn; medians of the difference, in ms."""
    cog, nothing = [sys.executable, "-m", "cog_cli", "--help"], [sys.executable, "-c", "pass"]
    pairs = [(_seconds(cog), _seconds(nothing)) for _ in range(RUNS + 1)][1:]
    over = statistics.median(a - b for a, b in pairs) * 1000
    explain = statistics.median(_seconds([sys.executable, "-m", "cog_cli", "explain"], ENLARGE) for _ in range(RUNS))
    return [
        Figure("cog --help over python -c pass", f"{over:.0f} ms", "< 150 ms", "cog --help"),
        Figure("cog explain", f"{explain * 1000:.0f} ms", "< 500 ms", "cog explain"),
    ]


def _stacks() -> list[Figure]:
    """The base image of a GPU model with torch, against the one that replicate/cog takes for the same cog.yaml."""
    figures = []
    for version, other in OF_REPLICATE_COG.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            packages = f'["torch=={version}", "pillow"]'
            (folder / "cog.yaml").write_text(
                f'build:\n  gpu: true\n  python_version: "3.11"\n  python_packages: {packages}\n'
                'predict: "predict.py:Predictor"\n'
            )
            command = _cog("explain", "--json")
            stack = json.loads(_output(command, folder))
            seconds = statistics.median(_seconds(command, folder) for _ in range(RUNS))
        size = SIZE_CLASS_GB[stack["flavour"]]
        theirs = other if other == "refused" else f"{other}, {SIZE_CLASS_GB['cudnn-devel']:g} GB"
        command_line = f"cog explain, torch=={version}"
        figures += [
            Figure(f"base of torch {version} on a GPU", f"{stack['base_image']}, {size:g} GB", "", command_line),
            Figure("  that replicate/cog takes", theirs, "", "its tables"),
            Figure("  time to resolve, offline", f"{seconds * 1000:.0f} ms", "< 500 ms", command_line),
        ]
    return figures


def _files() -> list[Figure]:
    return [
        Figure("10 GiB through an input and an output", measure(10 * GIB), "peak < 200 MiB", "benchmarks.large_files")
    ]


def _builds(folder: Path) -> list[Figure]:
    shutil.copytree(ENLARGE, folder, ignore=shutil.ignore_patterns("output*", ".cog"))
    cold = _seconds(_cog("build", "-t", NAME, "--no-cache"), folder)
    same = statistics.median(_seconds(_cog("build", "-t", NAME), folder) for _ in range(3))
    before = _layers(NAME)
    times, new_layers = [], set()
    for number in range(5):
        with (folder / "predict.py").open("a") as file:
            file.write(f"# edit {number}\n")
        times.append(_seconds(_cog("build", "-t", NAME), folder))
        after = _layers(NAME)
        new_layers.add(len([layer for layer in after if layer not in before]))
        before = after
    base = json.loads(_output(["docker", "image", "inspect", NAME]))[0]
    base_name = json.loads(_output(_cog("explain", "--json"), folder))["base_image"]
    over = base["Size"] - json.loads(_output(["docker", "image", "inspect", base_name]))[0]["Size"]
    shares = _output(["docker", "history", "--format", "{{.Size}}\t{{.CreatedBy}}", NAME]).splitlines()
    server = next((line.split("\t")[0] for line in shares if "COPY /layer / " in line), "?")
    _output(["docker", "rmi", "-f", NAME])
    return [
        Figure("cold build of examples/enlarge", f"{cold:.1f} s", "", "cog build --no-cache"),
        Figure("build with nothing changed", f"{same:.2f} s", "", "cog build"),
        Figure("warm build after an edit of predict.py", f"{statistics.median(times):.2f} s", "< 2 s", "cog build"),
        Figure("new layers after an edit of predict.py", "/".join(map(str, sorted(new_layers))), "1", "docker inspect"),
        Figure("image size over its base", f"{over / 1e6:.0f} MB", "", "docker image inspect"),
        Figure("of it the server's own environment", server, "", "docker history"),
    ]


def _cog(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cog_cli", *arguments]


def _seconds(command: list[str], folder: Path = REPOSITORY) -> float:
    started = time.perf_counter()
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=_environment(), check=False)
    seconds = time.perf_counter() - started
    if answer.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{answer.stderr}")
    return seconds


def _output(command: list[str], folder: Path = REPOSITORY) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=_environment(), check=True).stdout


def _environment() -> dict[str, str]:
    """Ours; byte code is kept, as in any installation, and on a network that signs TLS anew builds trust what we do."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["COG_OFFLINE"] = "1"
    bundle = environment.get("SSL_CERT_FILE")
    if bundle:
        environment.setdefault("COG_CA_CERT", bundle)
    return environment


def _layers(image: str) -> list[str]:
    layers = json.loads(_output(["docker", "image", "inspect", image]))[0]["RootFS"]["Layers"]
    assert isinstance(layers, list)
    return layers


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
