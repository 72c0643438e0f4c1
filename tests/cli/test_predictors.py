"""Every predictor of tests/predictors through `cog predict` on the local engine, as a person calls it.

Each runs on one of the Pythons, by turns; some on both. The processes of the next tests run while this one is checked.
"""

from __future__ import annotations

import base64
import json
import mimetypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cog_cli.errors import CogError
from cog_cli.main import cli
from tests.environments import ENVIRONMENTS, PYTHONS, Environment, Interpreters
from tests.predictor_cases import PREDICTORS, PredictorFile, is_like, load_predictors

Pair = tuple[PredictorFile, Environment]
LOADED = load_predictors()
ON_BOTH = {"containers", "enums", "nested_models", "scalars"}
CONCATENATED = {"concatenate", "bare_concatenate"}
AHEAD = 2


def choose_pairs() -> Iterator[Pair]:
    """Each predictor on the Python whose turn it is, or on one that has what it needs."""
    for number, predictor in enumerate(LOADED):
        able = [each for each in ENVIRONMENTS if predictor.runs_with(each.version, each.packages)]
        first_of = {python: next((each for each in able if each.python == python), None) for python in PYTHONS}
        wanted = PYTHONS if predictor.name in ON_BOTH else [PYTHONS[number % 2]]
        yield from ((predictor, found) for python in wanted if (found := first_of[python] or able[0]))


PAIRS = list(choose_pairs())


class Runs:
    """Runs of the command, each in a folder of its own, started before they are asked for."""

    def __init__(self, order: list[Pair], interpreters: Interpreters, folder: Path) -> None:
        self._order = order
        self._interpreters = interpreters
        self._folder = folder
        self._pool = ThreadPoolExecutor(AHEAD)
        self._runs: dict[Pair, Future[subprocess.CompletedProcess[str]]] = {}

    def result(self, pair: Pair) -> subprocess.CompletedProcess[str]:
        position = self._order.index(pair)
        for each in self._order[position : position + 1 + AHEAD]:
            if each not in self._runs:
                python = self._interpreters.python(each[1])
                self._runs[each] = self._pool.submit(self._run, each, python)
        return self._runs[pair].result(60)

    def folder(self, pair: Pair) -> Path:
        """The working folder of a run, where its output files are."""
        return self._folder / f"{pair[1]}-{pair[0].name}"

    def close(self) -> None:
        self._pool.shutdown()

    def _run(self, pair: Pair, python: Path) -> subprocess.CompletedProcess[str]:
        predictor = pair[0]
        project = make_project(self._folder / "projects" / f"{pair[1]}-{predictor.name}", predictor)
        folder = self.folder(pair)
        (folder / "inputs").mkdir(parents=True)
        words = [predictor.mode, "-f", str(project / "cog.yaml"), "--engine", "local", "--python", str(python)]
        return subprocess.run(
            [sys.executable, "-m", "cog_cli", *words, *as_words(predictor.cases[0].given, folder / "inputs")],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def make_project(folder: Path, predictor: PredictorFile) -> Path:
    """A project of its own: the predictors, and a cog.yaml that names one."""
    shutil.copytree(PREDICTORS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    keys = {"predict": predictor.reference} if predictor.mode == "predict" else {"train": predictor.reference}
    config = {"build": {"python_version": "3.11"}, "predict": "function.py:predict", **keys}
    (folder / "cog.yaml").write_text(json.dumps(config))
    return folder


def as_words(given: dict[str, Any], folder: Path) -> list[str]:
    """`-i name=value` for every value: files as @file, lists by repeating the name, what is nested as JSON."""
    words = []
    for name, value in given.items():
        is_flat = isinstance(value, list) and value and all(isinstance(item, str | int | float) for item in value)
        for number, item in enumerate(value if is_flat else [value]):
            words += ["-i", f"{name}={as_text(item, folder / f'{name}{number}')}"]
    return words


def as_text(value: Any, path: Path) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if not value.startswith("data:") or ";base64," not in value:
        return value
    media_type, content = decode(value)
    file = path.with_suffix(mimetypes.guess_extension(media_type) or ".bin")
    file.write_bytes(content)
    return f"@{file}"


def decode(url: str) -> tuple[str, bytes]:
    """Media type and content of a data URL; what stands before `...` of the beginning of one."""
    head, _, text = url.removesuffix("...").partition(",")
    return head.removeprefix("data:").removesuffix(";base64"), base64.b64decode(text[: len(text) // 4 * 4])


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, interpreters: Interpreters, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    order: list[Any] = [item.callspec.params["pair"] for item in items if item.function is test_it_answers]
    runs = Runs(order, interpreters, tmp_path_factory.mktemp("runs"))
    yield runs
    runs.close()


# On the server they all answer in `make test-fast` too.
@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[1]}-{pair[0].name}")
def test_it_answers(pair: Pair, runs: Runs, interpreters: Interpreters) -> None:
    predictor, environment = pair
    if interpreters.version(environment) < predictor.python:
        pytest.skip(f"there is no Python {environment.python} here, and none can be fetched")
    expected = predictor.cases[0].output
    if predictor.name in CONCATENATED:
        expected = "".join(expected)
    files: dict[str, str] = {}
    if predictor.mode == "train":
        # The weights' file has a name of its own.
        files["weights"] = expected["weights"]
        shown: Any = "weights"
    else:
        shown = name_files(expected, "output", files)

    answer = runs.result(pair)

    assert answer.returncode == 0, answer.stderr
    written = {path.name: path.read_bytes() for path in runs.folder(pair).iterdir() if path.is_file()}
    assert written.keys() == files.keys()
    for name, url in files.items():
        content = decode(url)[1]
        assert written[name].startswith(content) if url.endswith("...") else written[name] == content
    is_file = isinstance(shown, str) and shown in files
    is_list_of_files = isinstance(shown, list) and 0 < len(files) == len(shown)
    if shown is None or is_file or is_list_of_files:
        assert answer.stdout == ""
    elif isinstance(shown, str):
        assert answer.stdout == shown + "\n"
    else:
        assert is_like(shown, json.loads(answer.stdout))


def name_files(value: Any, name: str, files: dict[str, str]) -> Any:
    """`value` with names in place of its files, which are collected in `files`."""
    if isinstance(value, list):
        return [name_files(item, f"{name}.{index}", files) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: name_files(item, f"{name}.{key.replace('.', '_')}", files) for key, item in value.items()}
    if not isinstance(value, str) or not value.startswith("data:"):
        return value
    extensions = {"text/plain": ".txt", "image/png": ".png", "application/octet-stream": ".bin"}
    file = name + extensions[decode(value)[0]]
    files[file] = value
    return file


@pytest.mark.parametrize("predictor", LOADED, ids=lambda predictor: predictor.name)
def test_it_refuses_bad_inputs(
    predictor: PredictorFile, interpreters: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = [each for each in ENVIRONMENTS if predictor.runs_with(each.version, each.packages)]
    if interpreters.version(able[-1]) < predictor.python:
        pytest.skip(f"there is no Python {able[-1].python} here, and none can be fetched")
    monkeypatch.chdir(make_project(tmp_path / "project", predictor))
    words = [predictor.mode, "--engine", "local", "--python", str(interpreters.python(able[-1]))]

    for given, place in predictor.bad_inputs:
        answer = CliRunner().invoke(cli, [*words, "--json", json.dumps(given)])

        assert isinstance(answer.exception, CogError), answer.exception
        assert answer.exception.exit_code == 1
        assert answer.exception.message.splitlines()[1].startswith(f"- {place}: "), answer.exception.message
