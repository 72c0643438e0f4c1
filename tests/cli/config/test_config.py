"""cog.yaml: what is refused and in which words, what older files become, and what comes out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cog_cli.config import (
    Build,
    Concurrency,
    Config,
    LoadedConfig,
    RunItem,
    SecretMount,
    find_config,
    grammar,
    load_config,
)
from cog_cli.config.schema import cog_yaml_schema, schema_text
from cog_cli.errors import CogError, ConfigError
from cog_server.settings import MAX_WORKERS
from tests.conftest import REPOSITORY

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = json.loads((HERE / "config_cases.json").read_text())["cases"]
MODELS = sorted((REPOSITORY / "tests" / "cli" / "models").glob("*.yaml"))

# Decided after the file is loaded: by the versions (`resolve_stack`) or inside the requirements file.
DECIDED_LATER = {"cog-yaml-034", "cog-yaml-039", "cog-yaml-054"}

GOOD = 'predict: "predict.py:Predictor"\n'


@pytest.fixture
def project() -> Iterator[Path]:
    """An empty folder whose parents hold no cog.yaml and which every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="project-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def expand(value: Any) -> bytes:
    """The bytes a generator of the corpus stands for."""
    if isinstance(value, str):
        return value.encode()
    if "$hex" in value:
        return bytes.fromhex(value["$hex"])
    if "$utf16" in value:
        text: str = value["$utf16"]
        return text.encode("utf-16")
    if "$repeat" in value:
        text, count = value["$repeat"]
        return expand(value.get("$pre", "")) + expand(text) * int(count) + expand(value.get("$post", ""))
    raise ValueError(f"unknown generator: {value}")


def place(path: Path, value: Any) -> None:
    """Put what the corpus describes at the path: a file, a folder, a FIFO, a link, or nothing."""
    if isinstance(value, dict) and "$missing" in value:
        return
    if isinstance(value, dict) and "$dir" in value:
        path.mkdir()
    elif isinstance(value, dict) and "$fifo" in value:
        os.mkfifo(path)
    elif isinstance(value, dict) and "$symlink" in value:
        path.symlink_to(value["$symlink"])
    elif isinstance(value, dict) and "yaml" in value:
        place(path, value["yaml"])
        for name, content in value.get("files", {}).items():
            (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
            place(path.parent / name, content)
        if "mode" in value:
            path.chmod(int(value["mode"], 8))
    else:
        path.write_bytes(expand(value))


def load(project: Path, text: str) -> LoadedConfig:
    (project / "cog.yaml").write_text(text)
    return load_config(project / "cog.yaml")


def refusal(project: Path, text: str | bytes) -> ConfigError:
    (project / "cog.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(project / "cog.yaml")
    return caught.value


LOAD_AS_PROCESS = """
import os, sys
from pathlib import Path
from cog_cli.config import find_config, load_config
from cog_cli.errors import CogError
if sys.argv[2] == "non-root" and os.getuid() == 0:
    os.setuid(65534)
try:
    print(load_config(find_config(Path(sys.argv[1]))).config)
except CogError as error:
    sys.exit(f"{error.message}")
"""


def load_as_process(project: Path, user: str = "") -> subprocess.CompletedProcess[str]:
    """Load the project's file in a process of its own, killed after 10 s."""
    command = [sys.executable, "-c", LOAD_AS_PROCESS, str(project), user]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment, check=False)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["id"] not in DECIDED_LATER], ids=lambda case: case["id"]
)
def test_bad_file_is_refused_naming_the_key_and_the_reason(case: dict[str, Any], project: Path) -> None:
    place(project / "cog.yaml", case["input"])
    user = case["input"].get("as", "") if isinstance(case["input"], dict) else ""

    if user:
        done = load_as_process(project, user)
        assert (done.returncode, done.stdout) == (1, "")
        message = done.stderr
    else:
        started = time.process_time()
        with pytest.raises(CogError) as caught:
            load_config(find_config(project))
        assert time.process_time() - started < 1
        message = caught.value.message

    assert case["names"] in message
    assert re.search(case["says"], message)
    assert "Traceback" not in message


# (text, key that is named, pattern that is found)
REFUSED: list[tuple[str | bytes, str, str]] = [
    # --- what is not YAML text
    ("# only a comment\n", "", "is empty"),
    ("---\n...\n", "", "is empty"),
    ("\n \n", "", "is empty"),
    (b"\xef\xbb\xbf", "", "is empty"),
    ("null\n", "(root)", "got nothing"),
    ("- predict\n", "(root)", "expected a mapping.*got a list"),
    ("42\n", "(root)", r"got a number \(42\)"),
    (GOOD.encode("utf-16-be"), "", "UTF-16"),
    (GOOD.encode("utf-32"), "", "UTF-32"),
    (b"\xef\xbb\xbfpredict: \xff\n", "", r"byte offset 12 \(line 1\)"),
    (b"predict: 'caf\xe9.py:P'\n", "", "not valid UTF-8"),
    (b"predict: a\x00b\n", "", "NUL character"),
    (b"\x7fELF\x02\x01\x01", "", "control character"),
    ("predict: a\x1b[31m\n", "", r"U\+001B"),
    ("build:\n\tgpu: true\n" + GOOD, "", "tab in the indentation"),
    ("build:\n  gpu: true\n\tcuda: '12.1'\n", "", "tab in the indentation"),
    ("build: {gpu: true\n" + GOOD, "", "never closed|not closed"),
    ('predict: "predict.py:P\n', "", "never closed"),
    ("build:\n  gpu: true\n cuda: x\n", "", "indentation"),
    ("predict: predict.py: Predictor\n", "", "quotes"),
    ("predict: @x\n", "", "cannot begin with '@'"),
    ("%YAML 9.9\n---\n" + GOOD, "", "not valid YAML"),
    ('predict: "\\q"\n', "", "backslash"),
    ('"""\ncomment\n"""\n' + GOOD, "", "Python string"),
    # --- what YAML can do and cog.yaml cannot
    ("a: &a [*a]\n", "", "inside its own anchor"),
    ("a: &a {b: *a}\n", "", "inside its own anchor"),
    ("build: *nothing\n", "", "alias of nothing"),
    ("build: {run: [" + "x, " * 11_000 + "]}\n" + GOOD, "", "more than 10,000 values"),
    ("build: " + "[" * 60 + "]" * 60 + "\n", "", "deeper than 50"),
    ("[" * 500_000, "", "deeper than 50"),
    ("{a: " * 200_000, "", "deeper than 50"),
    ("- " * 300_000, "", "deeper than 50|not valid YAML"),
    ("a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 40 + "*a" + "]" * 40 + "\n", "", "deeper than 50"),
    ("? [a, b]\n: c\n" + GOOD, "(root)", "a key must be text, got a list"),
    ("1: x\n" + GOOD, "(root)", r"a key must be text, got a number \(1\)"),
    ("on: x\n" + GOOD, "(root)", "a key must be text, got true"),
    ("build: {~: 1}\n" + GOOD, "build", "a key must be text, got nothing"),
    ("predict: !!python/name:os.system ''\n", "predict", "unknown tag !!python/name"),
    ("predict: !custom x\n", "predict", "unknown tag !custom"),
    ("environment: !!set {a, b}\n" + GOOD, "environment", "unknown tag !!set"),
    ("build: {<<: 3}\n" + GOOD, "build.<<", "merges mappings"),
    ("build: {gpu: !!bool maybe}\n" + GOOD, "build.gpu", "is not a boolean"),
    ("concurrency: {max: !!int x}\n" + GOOD, "concurrency.max", "is not a number"),
    ("concurrency: {max: " + "9" * 5000 + "}\n" + GOOD, "concurrency.max", "is not a number"),
    ("concurrency: {max: 1" + ":00" * 100_000 + "}\n" + GOOD, "concurrency.max", "is not a number"),
    ('image: "\\ud800"\n' + GOOD, "", "half a character|not valid YAML"),
    ("build: {gpu: true, gpu: false}\n" + GOOD, "build.gpu", "duplicate key.*line 1"),
    ("build:\n  run:\n  - {command: x, command: y}\n" + GOOD, "build.run[0].command", "duplicate key"),
    # --- unknown and misplaced keys
    ("Build: {}\n" + GOOD, "Build", "Did you mean build"),
    ("build: {pythonversion: '3.12'}\n" + GOOD, "build.pythonversion", "Did you mean python_version"),
    ("python_version: '3.12'\n" + GOOD, "python_version", "belongs under `build`"),
    ("build:\n  predict: predict.py:P\n" + GOOD, "build.predict", "belongs at the top level"),
    ("zzz: 1\n" + GOOD, "zzz", "Known keys: build, image"),
    ("build: {run: [{command: x, cmd: y}]}\n" + GOOD, "build.run[0].cmd", "unknown key"),
    (
        "build: {run: [{command: x, mounts: [{type: secret, id: a, target: /a, mode: 1}]}]}\n" + GOOD,
        ".mode",
        "Known keys",
    ),
    ('"a\\nb": 1\n' + GOOD, "a\\nb", "unknown key"),
    ("concurrency: {max: 1, min: 1}\n" + GOOD, "concurrency.min", "Did you mean max|Known keys: max"),
    # --- nothing where something belongs
    ("build:\n" + GOOD, "build", "has no value"),
    ("build:\n  cuda:\n" + GOOD, "build.cuda", "has no value"),
    ("predict:\n", "predict", "has no value"),
    ("run:\n", "run", "has no value"),
    ("concurrency: {}\n" + GOOD, "concurrency.max", "required"),
    ("environment: [A=1, ]\nimage:\n" + GOOD, "image", "has no value"),
    ("build:\n  run:\n  -\n" + GOOD, "build.run[0]", "got nothing"),
    ("environment:\n-\n" + GOOD, "environment[0]", "expected KEY=VALUE, got nothing"),
    # --- wrong kinds
    ("build: gpu\n" + GOOD, "build", "expected a mapping"),
    ("build: gpu:true\n" + GOOD, "build", "space is needed after the colon"),
    ("build: [gpu]\n" + GOOD, "build", "expected a mapping.*got a list"),
    ("build: {gpu: 'yes'}\n" + GOOD, "build.gpu", "expected true or false, got a string"),
    ("build: {gpu: 0.0}\n" + GOOD, "build.gpu", "expected true or false"),
    ("build: {python_version: true}\n" + GOOD, "build.python_version", "expected a string, got true"),
    ("build: {python_version: ['3.12']}\n" + GOOD, "build.python_version", "got a list"),
    ("build: {python_packages: torch}\n" + GOOD, "build.python_packages", "expected a list.*(?s:.*)- torch"),
    ("build: {python_packages: {torch: 2}}\n" + GOOD, "build.python_packages", "expected a list"),
    ("build: {python_packages: [1.0]}\n" + GOOD, "build.python_packages[0]", "got a number"),
    ("build: {run: [[x]]}\n" + GOOD, "build.run[0]", "expected a command.*got a list"),
    ("build: {run: [{command: [x]}]}\n" + GOOD, "build.run[0].command", "expected a string, got a list"),
    ("run: [echo hi]\n", "run", "build.run"),
    ("run: 5\n", "run", "expected a string"),
    ("environment: [{A: b}]\n" + GOOD, "environment[0]", "Write - A=b"),
    ("environment: A=b\n" + GOOD, "environment", "expected a list of KEY=VALUE"),
    ("concurrency: 4\n" + GOOD, "concurrency", "expected a mapping"),
    ("concurrency: {max: true}\n" + GOOD, "concurrency.max", "expected a whole number"),
    ("concurrency: {max: '4'}\n" + GOOD, "concurrency.max", "expected a whole number"),
    ("concurrency: {max: 0}\n" + GOOD, "concurrency.max", "at least 1"),
    ("concurrency: {max: -3}\n" + GOOD, "concurrency.max", "at least 1"),
    ("concurrency: {max: 1.5}\n" + GOOD, "concurrency.max", "expected a whole number"),
    ("concurrency: {max: 99999999}\n" + GOOD, "concurrency.max", "at most 1,000,000"),
    *(
        (f"concurrency: {{workers: {value}}}\n" + GOOD, "concurrency.workers", "whole number from 1 to 64, or per_gpu")
        for value in ("0", "65", "-1", "1.5", "true", "'2'", "per-gpu", "[2]", "99999999999999999999")
    ),
    ("concurrency: {workers: }\n" + GOOD, "concurrency.workers", "has no value"),
    # --- versions
    (
        "build: {python_version: 3.10}\n" + GOOD,
        "build.python_version",
        'unquoted 3.10 is the number 3.1 .*write "3.10"',
    ),
    ("build: {python_version: 3}\n" + GOOD, "build.python_version", "must match"),
    ("build: {python_version: 2.7}\n" + GOOD, "build.python_version", "not supported"),
    ("build: {python_version: '3.6'}\n" + GOOD, "build.python_version", "not supported"),
    ("build: {python_version: '3.7.17'}\n" + GOOD, "build.python_version", "not supported(?s:.*)3.8"),
    ("build: {python_version: '3.15'}\n" + GOOD, "build.python_version", "3.14"),
    ("build: {python_version: '3.12t'}\n" + GOOD, "build.python_version", "free-threaded"),
    ("build: {python_version: '>=3.10'}\n" + GOOD, "build.python_version", "must match"),
    ("build: {python_version: ''}\n" + GOOD, "build.python_version", "must match"),
    ("build: {python_version: '3.012'}\n" + GOOD, "build.python_version", "must match"),
    ("build: {python_version: '3.1\u0662'}\n" + GOOD, "build.python_version", "must match"),
    ("build: {cuda: '12'}\n" + GOOD, "build.cuda", "major.minor"),
    ("build: {cuda: 12}\n" + GOOD, "build.cuda", "major.minor"),
    ("build: {cuda: latest}\n" + GOOD, "build.cuda", "not a CUDA version"),
    ("build: {cuda: '12.1 AS x'}\n" + GOOD, "build.cuda", "not a CUDA version"),
    ("build: {cudnn: '8.x'}\n" + GOOD, "build.cudnn", "not a cuDNN version"),
    # --- packages and files
    ("build: {system_packages: ['']}\n" + GOOD, "build.system_packages[0]", "empty package name"),
    ("build: {system_packages: [FFmpeg]}\n" + GOOD, "build.system_packages[0]", "lower case"),
    ("build: {system_packages: ['a b; id']}\n" + GOOD, "build.system_packages[0]", "not a Debian package name"),
    ("build: {system_packages: [vim-]}\n" + GOOD, "build.system_packages[0]", "not a Debian package name"),
    ('build: {system_packages: ["ffmpeg\\nRUN id"]}\n' + GOOD, "build.system_packages[0]", "newline"),
    ("build: {system_packages: ['./x.deb']}\n" + GOOD, "build.system_packages[0]", "not a Debian package name"),
    ("build: {python_packages: ['  ']}\n" + GOOD, "build.python_packages[0]", "empty package"),
    ('build: {python_packages: ["a\\0b"]}\n' + GOOD, "build.python_packages[0]", "NUL"),
    ("build: {python_requirements: ''}\n" + GOOD, "build.python_requirements", "empty path"),
    ("build: {python_requirements: requirments.txt}\n" + GOOD, "build.python_requirements", "does not exist"),
    ("build: {python_requirements: a/../../b}\n" + GOOD, "build.python_requirements", "inside the project"),
    ("build: {python_requirements: '~/r.txt'}\n" + GOOD, "build.python_requirements", "inside the project"),
    ("build: {python_requirements: 'C:\\r.txt'}\n" + GOOD, "build.python_requirements", "inside the project"),
    (
        "build: {python_requirements: r.txt, python_packages: [a]}\n" + GOOD,
        "build.python_packages",
        "exclude each other",
    ),
    # --- commands
    ("build: {run: ['  ']}\n" + GOOD, "build.run[0]", "empty command"),
    ('build: {run: ["echo a\\nUSER root"]}\n' + GOOD, "build.run[0]", "newline(?s:.*)block"),
    ('build: {run: ["echo \\r"]}\n' + GOOD, "build.run[0]", "carriage return"),
    ('build: {run: [{command: "a\\nb"}]}\n' + GOOD, "build.run[0].command", "newline"),
    ("build: {run: ['--network=host id']}\n" + GOOD, "build.run[0]", "Dockerfile option"),
    ("build: {run: ['--mount=type=bind,source=/,target=/x id']}\n" + GOOD, "build.run[0]", "Dockerfile option"),
    ("build: {pre_install: ['']}\n" + GOOD, "build.pre_install[0]", "empty command"),
    ("build: {run: [{command: x, mounts: [{id: a, target: /a}]}]}\n" + GOOD, "build.run[0].mounts[0].type", "required"),
    ("build: {run: [{command: x, mounts: [{type: secret, target: /a}]}]}\n" + GOOD, "mounts[0].id", "required"),
    ("build: {run: [{command: x, mounts: [{type: secret, id: a}]}]}\n" + GOOD, "mounts[0].target", "required"),
    ("build: {run: [{command: x, mounts: [{type: secret, id: a, target: b}]}]}\n" + GOOD, "target", "absolute"),
    ("build: {run: [{command: x, mounts: [{type: secret, id: a, target: '/a,uid=0'}]}]}\n" + GOOD, "target", "commas"),
    ("build: {run: [{command: x, mounts: [{type: secret, id: a, target: /a/../b}]}]}\n" + GOOD, "target", r"\.\."),
    ("build: {run: [{command: x, mounts: {type: secret}}]}\n" + GOOD, "build.run[0].mounts", "expected a list"),
    # --- environment
    ("environment: ['A=1', 'B=2', 'A=3']\n" + GOOD, "environment[2]", "A is set twice"),
    ("environment: ['1A=1']\n" + GOOD, "environment[0]", "invalid variable name"),
    ("environment: ['A-B=1']\n" + GOOD, "environment[0]", "invalid variable name"),
    ("environment: ['CUDA_HOME=/x']\n" + GOOD, "environment[0]", "reserved"),
    ("environment: ['R8_X=1', 'NV_X=1', 'LD_LIBRARY_PATH=']\n" + GOOD, "environment[2]", "LD_LIBRARY_PATH is reserved"),
    ('environment: ["A=1\\nRUN id"]\n' + GOOD, "environment[0]", "newline"),
    ('environment: ["A=\\0"]\n' + GOOD, "environment[0]", "NUL"),
    # --- image names
    ("image: ''\n" + GOOD, "image", "invalid reference"),
    ("image: https://r8.im/me/x\n" + GOOD, "image", "URL"),
    ("image: 'x:'\n" + GOOD, "image", "not a tag"),
    ("image: x:a:b\n" + GOOD, "image", "not a tag"),
    ("image: x@sha256:abc\n" + GOOD, "image", "digest"),
    ("image: x@sha256:" + "a" * 64 + "\n" + GOOD, "image", "digest cannot be given"),
    ("image: bad_host.com:5000/x\n" + GOOD, "image", "not a registry host"),
    ("image: a//b\n" + GOOD, "image", "invalid reference"),
    ("image: -x\n" + GOOD, "image", "invalid reference"),
    ("image: " + "a" * 600 + "\n" + GOOD, "image", "longer than 512"),
    ("build: {gpu: true, cuda_flavor: cudnn_runtime}\n" + GOOD, "build.cuda_flavor", "is not one of auto, slim"),
    ("build: {gpu: true, cuda_flavor: 12}\n" + GOOD, "build.cuda_flavor", ""),
    ("build: {base_image: 'ubuntu AS x'}\n" + GOOD, "build.base_image", "invalid reference"),
    ("build: {base_image: $BASE}\n" + GOOD, "build.base_image", "invalid reference"),
    ("build: {base_image: '--platform=x ubuntu'}\n" + GOOD, "build.base_image", "invalid reference"),
    # --- references to code
    ("run: a.py:A\npredict: a.py:A\n", "run", "two names of the same key"),
    ("predict: Predictor\n", "predict", "must be file.py:ClassName"),
    ("predict: ../x.py:P\n", "predict", "inside the project"),
    ("predict: 'predict.py:class'\n", "predict", "not a Python identifier"),
    ("predict: predict.txt/x:P\n", "predict", "neither a .py file nor a module"),
    ("predict: 'a;b.py:P'\n", "predict", "not a file name"),
    ("predict: '-c.py:P'\n", "predict", "not a file name"),
    ("train: 'train.py:'\n" + GOOD, "train", "name is empty"),
    ("run: 'x.py:'\n", "run", "class name is empty"),
    # --- weights
    ("weights: [{name: A B, target: /w, source: {uri: x}}]\n" + GOOD, "weights[0].name", "not a name"),
    ("weights: [{name: a, target: /, source: {uri: x}}]\n" + GOOD, "weights[0].target", "whole image"),
    ("weights: [{name: a, target: /w}]\n" + GOOD, "weights[0].source", "required"),
    ("weights: [{name: a, target: /w, source: {}}]\n" + GOOD, "weights[0].source.uri", "required"),
    ("weights: [{name: a, target: /w, source: []}]\n" + GOOD, "weights[0].source", "empty list"),
    (
        "weights: [{name: a, target: /w, source: {uri: 'ftp://x'}}]\n" + GOOD,
        "weights[0].source.uri",
        "not a known source",
    ),
    ("weights: [{name: a, target: /w, source: {uri: 'https://u:p@h/x'}}]\n" + GOOD, "source.uri", "password"),
    ("weights: [{name: a, target: /w, source: {uri: x, include: ['!y']}}]\n" + GOOD, "source.include[0]", "pattern"),
    (
        "weights:\n- {name: a, target: /w, source: {uri: x}}\n- {name: a, target: /w/b, source: {uri: x}}\n" + GOOD,
        "weights[1].target",
        "lies inside",
    ),
    (
        "weights:\n- {name: a, target: /w, source: {uri: x}}\n- {name: a, target: /v, source: {uri: x}}\n" + GOOD,
        "weights[1].name",
        "used twice",
    ),
    # --- the form of 2021
    ("model: infer.py:Model\n", "model", "2021(?s:.*)predict: "),
    ("build: {gpu: true}\nenvironment: {python_version: '3.8'}\n" + GOOD, "environment", "2021"),
    ("environment: {python_version: '3.6'}\n" + GOOD, "environment.python_version", "not supported"),
    ("model: Not/An Image\n" + GOOD, "model", "invalid reference"),
    ("model: [x]\n" + GOOD, "model", "unknown key"),
]


@pytest.mark.parametrize(("text", "key", "pattern"), REFUSED, ids=range(len(REFUSED)))
def test_refusal_says_where_which_key_and_why(text: str | bytes, key: str, pattern: str, project: Path) -> None:
    started = time.process_time()
    error = refusal(project, text)
    elapsed_s = time.process_time() - started

    matching = [problem for problem in error.problems if re.search(pattern, str(problem))]
    assert matching, error.message
    assert key in matching[0].key
    assert all(problem.where.startswith("cog.yaml") for problem in error.problems)
    assert elapsed_s < 1
    assert "[type=" not in error.message and "Input should" not in error.message


ACCEPTED: list[tuple[str, dict[str, Any], str]] = [
    ("\ufeff" + GOOD, {}, ""),
    (GOOD.replace("\n", "\r\n"), {}, ""),
    ("run: predict.py:Runner\n", {"predict": "predict.py:Runner"}, ""),
    ("predict: package.module:Name\n", {"predict": "package.module:Name"}, ""),
    ("predict: sub/predict-1.3b.py:run\n", {"predict": "sub/predict-1.3b.py:run"}, ""),
    ("build: {run: null, python_packages: , system_packages: ~}\nenvironment:\nweights:\n" + GOOD, {}, ""),
    ("build: {gpu: yes}\n" + GOOD, {"build": {"gpu": True}}, ""),
    ("build: {python_version: 3.8}\n" + GOOD, {"build": {"python_version": "3.8"}}, 'unquoted; write "3.8"'),
    ("build: {gpu: true, cuda: 12.1}\n" + GOOD, {"build": {"gpu": True, "cuda": "12.1"}}, 'unquoted; write "12.1"'),
    ("build: {gpu: true, cudnn: 8}\n" + GOOD, {"build": {"gpu": True, "cudnn": "8"}}, 'unquoted; write "8"'),
    ("build: {python_version: 3.13t}\n" + GOOD, {"build": {"python_version": "3.13t"}}, ""),
    ("build: {cuda: '11.8'}\n" + GOOD, {"build": {"cuda": "11.8"}}, "no effect without `gpu: true`"),
    (
        "build: {system_packages: ['a1 b2=1:2~3', g++:amd64]}\n" + GOOD,
        {"build": {"system_packages": ("a1", "b2=1:2~3", "g++:amd64")}},
        "several packages",
    ),
    (
        "build: {python_packages: ['--extra-index-url https://x.test/simple', 'a[b]>1; x']}\n" + GOOD,
        {"build": {"python_packages": ("--extra-index-url https://x.test/simple", "a[b]>1; x")}},
        "",
    ),
    ("build:\n  run:\n  - |\n    a\n    b\n" + GOOD, {"build": {"run": ({"command": "a\nb"},)}}, ""),
    ("build:\n  pre_install: [x]\n" + GOOD, {"build": {"pre_install": ({"command": "x"},)}}, "deprecated"),
    (
        "build: {run: ['--mount=type=cache,target=/c pip install x']}\n" + GOOD,
        {"build": {"run": ({"command": "pip install x"},)}},
        "left out",
    ),
    (
        "build: {run: ['--mount=type=secret,id=a,target=/b id']}\n" + GOOD,
        {"build": {"run": ({"command": "id", "mounts": ({"id": "a", "target": "/b"},)},)}},
        "entry of `mounts`",
    ),
    ("x: &x {gpu: true}\n".replace("x:", "build:") + GOOD, {"build": {"gpu": True}}, ""),
    (
        "build: {run: &c [id], pre_install: *c}\n" + GOOD,
        {"build": {"run": ({"command": "id"},), "pre_install": ({"command": "id"},)}},
        "deprecated",
    ),
    (
        "build:\n  run:\n  - &r {command: id, mounts: []}\n  - {<<: *r, command: ls}\n" + GOOD,
        {"build": {"run": ({"command": "id"}, {"command": "ls"})}},
        "",
    ),
    ("environment: ['A=', 'B=x=y $HOME \"q\" é']\n" + GOOD, {"environment": ("A=", 'B=x=y $HOME "q" é')}, ""),
    ("environment: ['HF_TOKEN=hf_1']\n" + GOOD, {"environment": ("HF_TOKEN=hf_1",)}, "looks like a secret"),
    ("image: localhost:5000/a__b/c-d.e:V1.2\n" + GOOD, {"image": "localhost:5000/a__b/c-d.e:V1.2"}, ""),
    ("image: '[::1]:5000/x'\n" + GOOD, {"image": "[::1]:5000/x"}, ""),
    (
        "build: {base_image: 'ubuntu@sha256:" + "a" * 64 + "'}\n" + GOOD,
        {"build": {"base_image": "ubuntu@sha256:" + "a" * 64}},
        "",
    ),
    ("concurrency: {max: 4, default_target: 2}\n" + GOOD, {"concurrency": {"max": 4}}, "ignored"),
    (
        "concurrency: {workers: per_gpu}\n" + GOOD,
        {"concurrency": {"workers": "per_gpu"}},
        "one worker without `gpu: true`",
    ),
    ("name: x\n" + GOOD, {}, "ignored"),
    ("examples: [{input: {}}]\n" + GOOD, {}, "ignored"),
    ("model: r8.im/me/x\n" + GOOD, {"image": "r8.im/me/x"}, "used as `image`"),
    ("model: r8.im/me/x\nimage: y\n" + GOOD, {"image": "y"}, "ignored"),
    ("model: infer.py:Model\n" + GOOD, {}, "ignored"),
    ("build: {fast: true, architectures: [cpu], env: {A: b}, sdk_version: 0.16.1}\n" + GOOD, {}, "ignored"),
    ("environment: {gpu: true, architectures: [gpu]}\n" + GOOD, {"build": {"gpu": True}}, "used as `build`"),
    (
        "build: {python_packages: [a], python_extra_index_urls: ['https://x.test', git+https://y.test], python_find_links: ['https://z.test/i.html']}\n"
        + GOOD,
        {"build": {"python_packages": ("a", "--extra-index-url https://x.test", "--find-links https://z.test/i.html")}},
        "used as `--extra-index-url URL`",
    ),
    (
        "weights:\n- {name: a, target: /w/a, source: {uri: 'hf://o/n'}}\n- {name: b, target: /w/b, source: [{uri: ./x, include: ['*.bin']}]}\n"
        + GOOD,
        {
            "weights": (
                {"name": "a", "target": "/w/a", "source": [{"uri": "hf://o/n"}]},
                {"name": "b", "target": "/w/b", "source": [{"uri": "./x", "include": ["*.bin"]}]},
            )
        },
        "",
    ),
]


@pytest.mark.parametrize(("text", "expected", "warning"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_accepted_file_becomes_this_config(text: str, expected: dict[str, Any], warning: str, project: Path) -> None:
    loaded = load(project, text)

    assert loaded.config == Config.model_validate({"predict": "predict.py:Predictor", **expected})
    assert any(warning in line for line in loaded.warnings) if warning else loaded.warnings == ()


def test_parser_without_libyaml_has_the_same_limits() -> None:
    """PyYAML may come without libyaml; every refusal of the table holds then too."""
    script = (
        "import json, sys, yaml\n"
        "if hasattr(yaml, 'CSafeLoader'): del yaml.CSafeLoader\n"
        "from cog_cli.config.nodes import parse_document\n"
        "from cog_cli.config.syntax import SyntaxFault\n"
        "for text in json.load(sys.stdin):\n"
        "    try: print(json.dumps([str(finding) for finding in parse_document(text).findings]))\n"
        "    except SyntaxFault as fault: print(json.dumps(f'{fault.message} {fault.hint}'))\n"
    )
    rules = [(text, pattern) for text, _, pattern in REFUSED[11:47] if isinstance(text, str)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([text for text, _ in rules]),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )

    assert done.stderr == ""
    for (text, pattern), answer in zip(rules, done.stdout.splitlines(), strict=True):
        assert re.search(pattern, answer.replace("\\\\", "\\")), (text[:60], answer)


def test_every_problem_is_reported_at_once_in_file_order(project: Path) -> None:
    error = refusal(
        project,
        "build:\n  gpu: 1\n  python_version: 3.10\n  cuda: x\n  run: ['', {mounts: [{type: bind, id: 'a b', target: c}]}]\n"
        "  fats: 1\nimage: A B\nimage: c\nenvironment: [PATH=1, PATH=2]\npredict: x\ntrain: y\n",
    )

    assert [(problem.where, problem.key) for problem in error.problems] == [
        ("cog.yaml:2:8", "build.gpu"),
        ("cog.yaml:3:19", "build.python_version"),
        ("cog.yaml:4:9", "build.cuda"),
        ("cog.yaml:5:9", "build.run[0]"),
        ("cog.yaml:5:13", "build.run[1].command"),
        ("cog.yaml:5:30", "build.run[1].mounts[0].type"),
        ("cog.yaml:5:40", "build.run[1].mounts[0].id"),
        ("cog.yaml:5:55", "build.run[1].mounts[0].target"),
        ("cog.yaml:6:3", "build.fats"),
        ("cog.yaml:7:8", "image"),
        ("cog.yaml:8:1", "image"),
        ("cog.yaml:9:15", "environment[0]"),
        ("cog.yaml:9:23", "environment[1]"),
        ("cog.yaml:9:23", "environment[1]"),
        ("cog.yaml:10:10", "predict"),
        ("cog.yaml:11:8", "train"),
    ]


def test_a_flood_of_problems_is_cut(project: Path) -> None:
    error = refusal(project, "".join(f"key{number}: 1\n" for number in range(2000)) + GOOD)

    assert len(error.problems) == 51
    assert error.problems[-1].message == "and 1950 more problems"


def test_locate_gives_the_value_or_the_nearest_parent(project: Path) -> None:
    locate = load(project, "build:\n  gpu: true\n  cuda: '12.4'\n  run:\n    - echo\nrun: a.py:A\n").locate

    assert locate("build.cuda") == "cog.yaml:3:9"
    assert locate("build") == "cog.yaml:1:1"
    assert locate("build.run[0]") == "cog.yaml:5:7"
    assert locate("build.run[0].command") == "cog.yaml:5:7"
    assert locate("build.python_version") == "cog.yaml:1:1"
    assert locate("predict") == "cog.yaml:6:6"
    assert locate("train") == "cog.yaml"
    assert locate("") == "cog.yaml"


def test_file_is_found_in_a_parent(project: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    (project / "cog.yaml").write_text(GOOD)

    assert find_config(below) == project / "cog.yaml"
    with pytest.raises(CogError) as caught:
        find_config(below, "other.yaml")
    assert caught.value.message == f"other.yaml not found in {below} (or in any parent directories)"
    assert "cog init" in (caught.value.hint or "")


def test_file_of_another_spelling_is_pointed_out(project: Path) -> None:
    (project / "cog.yml").write_text(GOOD)

    with pytest.raises(CogError) as caught:
        find_config(project)

    assert caught.value.hint == "There is a cog.yml here: rename it to cog.yaml."


@pytest.mark.parametrize(
    "text",
    [
        "weights: [" + ",".join(f"{{target: /w{number}}}" for number in range(3000)) + "]\n",
        "".join(f"buildd{number}: 1\n" for number in range(4500)),
        "environment: [" + ",".join(f"A{number % 7}=1" for number in range(9000)) + "]\n",
        "build: {run: ['" + "--mount=type=cache " * 50_000 + "']}\n",
        "build: {run: ['" + "--mount=type=cache " * 5_000 + "x']}\nconcurrency: {}\n",
        "image: " + "a-" * 400_000 + "\n",
        "predict: " + "a." * 400_000 + ":P\n",
        "weights: [{target: " + "/a" * 400_000 + "}]\n",
        "build: {system_packages: [" + "a." * 400_000 + "_]}\n",
    ],
    ids=range(9),
)
def test_large_wrong_file_is_refused_quickly(text: str, project: Path) -> None:
    # The processor's time, not the clock's: other tests run beside this one.
    started = time.process_time()
    error = refusal(project, text)

    assert time.process_time() - started < 2
    assert len(error.message) < 20_000


def test_special_files_beside_it_are_refused_without_hanging(project: Path) -> None:
    (project / "cog.yaml").write_text("build:\n  python_requirements: r.txt\n" + GOOD)
    os.mkfifo(project / "r.txt")
    assert "r.txt is not a regular file" in load_as_process(project).stderr

    (project / "r.txt").unlink()
    (project / "r.txt").symlink_to("r.txt")
    assert "symlink loop" in load_as_process(project).stderr

    (project / "cog.yaml").unlink()
    (project / "cog.yaml").symlink_to("/dev/zero")
    assert "is not a regular file" in load_as_process(project).stderr


def test_requirements_file_may_be_a_link_inside_the_project(project: Path) -> None:
    (project / "pins.txt").write_text("numpy\n")
    (project / "requirements.txt").symlink_to("pins.txt")

    loaded = load(project, "build:\n  python_requirements: requirements.txt\n" + GOOD)

    assert loaded.config.build.python_requirements == "requirements.txt"


def test_misspelt_requirements_file_is_suggested(project: Path) -> None:
    (project / "requirements.txt").write_text("numpy\n")

    error = refusal(project, "build:\n  python_requirements: requirments.txt\n" + GOOD)

    assert error.problems[0].hint == "Did you mean requirements.txt?"


def test_alias_bomb_needs_little_memory(project: Path) -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    (project / "cog.yaml").write_text("\n".join(lines))
    script = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n" + LOAD_AS_PROCESS
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    command = [sys.executable, "-c", script, str(project), ""]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment, check=False)

    assert "anchors and aliases expand to more than 10,000 values" in done.stderr


# --- public models

UNSUPPORTED_PYTHON = "Python 3.7 is not supported"
FORM_OF_2021 = "the form of 2021"
REFUSED_MODELS = {
    "andreasjansson__FastGAN-pytorch": FORM_OF_2021,
    "justinsalamon__musicseg_deepemb": UNSUPPORTED_PYTHON,
    "orpatashnik__StyleCLIP": UNSUPPORTED_PYTHON,
    "replicate__cog-examples--CLIP~2021-03": FORM_OF_2021,
    "replicate__cog-examples--blur~2021-06": FORM_OF_2021,
    "replicate__cog-examples--hello-world~2021-03": FORM_OF_2021,
    "replicate__cog-lightweight-openpose": UNSUPPORTED_PYTHON,
    "sczhou__CodeFormer": "begins like a Python string",
}
WARNED_MODELS = {
    "replicate__cog-examples--hello-context": "`build.fast`: ignored",
    "replicate__cog-examples--hello-replicate": "`build.fast`: ignored",
    "replicate__cog-vllm": "--mount=type=cache",
}


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_public_model_loads_warns_or_is_refused_with_one_reason(model: Path, project: Path) -> None:
    text = model.read_text()
    if named := re.search(r"^ +python_requirements: *\"?([^\s\"]+)", text, re.MULTILINE):
        (project / named[1]).parent.mkdir(exist_ok=True)
        (project / named[1]).write_text("numpy\n")

    if model.stem in REFUSED_MODELS:
        (problem,) = refusal(project, text).problems
        assert REFUSED_MODELS[model.stem] in problem.message
        return
    loaded = load(project, text)

    assert loaded.config.predict
    if model.stem in WARNED_MODELS:
        assert all(WARNED_MODELS[model.stem] in line for line in loaded.warnings) and loaded.warnings
    else:
        assert loaded.warnings == ()


# --- the example and the schema


def test_example_loads_without_warnings_and_explains_every_key() -> None:
    path = REPOSITORY / "cog.yaml.example"

    loaded = load_config(path)

    assert loaded.warnings == ()
    text = path.read_text()
    for fields in (Config.model_fields, Build.model_fields, SecretMount.model_fields, Concurrency.model_fields):
        for name in fields:
            assert re.search(rf"^[ #-]*{name}:", text, re.MULTILINE), name


def test_schema_file_is_current() -> None:
    kept = (REPOSITORY / "cog_cli" / "config" / "cog.schema.json").read_text()

    assert kept == schema_text(), "run: python -m cog_cli.config.schema > cog_cli/config/cog.schema.json"


@pytest.mark.parametrize(
    "path",
    [REPOSITORY / "cog.yaml.example", *(path for path in MODELS if path.stem not in REFUSED_MODELS)],
    ids=lambda path: path.stem,
)
def test_schema_accepts_what_loads_in_quotes(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(cog_yaml_schema())

    jsonschema.validate(yaml.safe_load(path.read_text()), cog_yaml_schema())


@pytest.mark.parametrize("wrong", ["bulid: {}", "build: {gpu: 'yes'}", "build: {python_version: 3.10}", "build:"])
def test_schema_refuses(wrong: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(GOOD + wrong), cog_yaml_schema())


# --- properties

TEXT = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="aA1.-_:/ =$\\\"'\n\r\t\0,;&|#`@{}[]*!%<>~\u2028\x85", max_size=14),
    st.sampled_from(
        ["3.12", "12.4", "9", "ffmpeg", "r8.im/a/b:1", "a.py:B", "m.n:B", "A=b", "echo 'x'", "torch==2.6.0"]
    ),
)
STRING_FIELDS: dict[str, Any] = {
    "python_version": ({"build": {"python_version": ...}}, lambda config: config.build.python_version),
    "cuda": ({"build": {"gpu": True, "cuda": ...}}, lambda config: config.build.cuda),
    "cudnn": ({"build": {"gpu": True, "cudnn": ...}}, lambda config: config.build.cudnn),
    "cuda_flavor": ({"build": {"gpu": True, "cuda_flavor": ...}}, lambda config: config.build.cuda_flavor),
    "python_package": ({"build": {"python_packages": [...]}}, lambda config: config.build.python_packages[0]),
    "system_package": ({"build": {"system_packages": [...]}}, lambda config: " ".join(config.build.system_packages)),
    "run": ({"build": {"run": [...]}}, lambda config: config.build.run[0].command),
    "command": ({"build": {"run": [{"command": ...}]}}, lambda config: config.build.run[0].command),
    "base_image": ({"build": {"base_image": ...}}, lambda config: config.build.base_image),
    "image": ({"image": ...}, lambda config: config.image),
    "predict": ({"predict": ...}, lambda config: config.predict),
    "train": ({"train": ...}, lambda config: config.train),
    "environment": ({"environment": [...]}, lambda config: config.environment[0]),
}


def fill(template: Any, value: str) -> Any:
    if template is ...:
        return value
    if isinstance(template, dict):
        return {key: fill(each, value) for key, each in template.items()}
    return [fill(each, value) for each in template] if isinstance(template, list) else template


@pytest.mark.parametrize("field", STRING_FIELDS)
@given(value=TEXT)
@settings(max_examples=150, deadline=None)
def test_any_text_is_refused_or_comes_back_unchanged(field: str, value: str) -> None:
    template, read = STRING_FIELDS[field]
    content = {"predict": "predict.py:Predictor", **fill(template, value)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cog.yaml")
        path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML; \u escapes reach the value
        try:
            config = load_config(path).config
        except ConfigError as error:
            assert error.problems
            return

    kept = read(config)
    assert kept == (" ".join(value.split()) if field == "system_package" else value)
    assert not re.search("[\n\r\0\x85\u2028]", kept)


@given(raw=st.one_of(st.binary(max_size=200), TEXT.map(lambda text: text.encode("utf-8", "replace"))))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_loaded_or_refused_in_words(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cog.yaml")
        path.write_bytes(raw)
        try:
            load_config(path)
        except ConfigError as error:
            assert error.message


COMMANDS = st.builds(
    RunItem,
    command=st.sampled_from(["echo 'x' \"y\" $z \\", "a\nb", "pip install x  ", "\ttab", "é"]),
    mounts=st.lists(
        st.builds(SecretMount, id=st.sampled_from(["a", "b.c"]), target=st.sampled_from(["/x", "/y/z"])),
        max_size=2,
        unique_by=lambda mount: mount.target,
    ).map(tuple),
)
CONFIGS = st.builds(
    Config,
    predict=st.sampled_from(["predict.py:Predictor", "a/b-c.py:run", "m.n:P"]),
    train=st.none() | st.just("train.py:train"),
    image=st.none() | st.sampled_from(["me/x", "localhost:5000/x:1"]),
    concurrency=st.none()
    | st.integers(1, 1000).map(lambda count: Concurrency(max=count))
    | st.sampled_from([1, 64, "per_gpu"]).map(lambda workers: Concurrency(workers=workers)),
    environment=st.lists(st.sampled_from(["A=1", "B= x ", "C=$x 'y' \"z\" #", "D="]), unique=True).map(tuple),
    build=st.builds(
        Build,
        gpu=st.booleans(),
        cuda=st.none() | st.sampled_from(["12.10", "11.8", "12.4.1"]),
        cudnn=st.none() | st.sampled_from(["8", "8.9"]),
        cuda_flavor=st.sampled_from(["auto", "slim", "devel"]),
        python_version=st.none() | st.sampled_from(["3.10", "3.8.12", "3.13t"]),
        python_packages=st.lists(st.sampled_from(["a", "b==1.0 ; python_version < '3.9'", "--pre", "# c"])).map(tuple),
        system_packages=st.lists(st.sampled_from(["ffmpeg", "g++=4:1.2-3", "libc6:amd64"])).map(tuple),
        run=st.lists(COMMANDS, max_size=3).map(tuple),
        pre_install=st.lists(COMMANDS, max_size=2).map(tuple),
        base_image=st.none() | st.just("ubuntu:22.04"),
    ),
)


class Dumper(yaml.SafeDumper):
    """Writes several lines as a block, which is how cog.yaml wants them."""


def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Dumper.add_representer(str, represent_text)


@given(config=CONFIGS)
@settings(max_examples=100, deadline=None)
def test_a_dumped_config_loads_as_itself(config: Config) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cog.yaml")
        path.write_text(yaml.dump(config.model_dump(mode="json", exclude_none=True), Dumper=Dumper, allow_unicode=True))

        assert load_config(path).config == config

    assert Config.model_validate(config.model_dump()) == config
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_the_server_takes_as_many_workers_as_a_cog_yaml_may_ask_for() -> None:
    assert grammar.MAX_WORKERS == MAX_WORKERS
