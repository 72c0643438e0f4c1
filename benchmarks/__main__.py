"""`make bench`: the figures that README states, with the commands that made them."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENLARGE = REPOSITORY / "examples" / "enlarge"
NAME = "cog-bench-enlarge"
RUNS = 9


@dataclass(frozen=True)
class Figure:
    """One row of the table. `target` is "" where there is none."""

    what: str
    value: str
    target: str
    command: str


def main() -> None:
    figures = [*_startup()]
    if _docker_answers():
        with tempfile.TemporaryDirectory() as folder:
            figures += _builds(Path(folder) / "enlarge")
    else:
        print("no Docker engine answers: builds are not measured", file=sys.stderr)
    _print(figures)


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


def _print(figures: list[Figure]) -> None:
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    rows = [("what", "measured", "target", "command"), *((f.what, f.value, f.target, f.command) for f in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
