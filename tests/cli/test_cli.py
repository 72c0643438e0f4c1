"""The command as a process: words, exit codes, streams. None of these may need Docker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cog_cli.config.grammar import check_image
from cog_cli.main import ALIASES, COMMANDS
from cog_cli.project import load_project
from tests.conftest import REPOSITORY, Cog

Project = Callable[..., Path]

# No engine answers, whatever this machine has.
NO_DOCKER = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}

PREDICTOR = """
from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(self, image: Path = None, n: int = 1, words: list = Input(default=[]), s: str = "") -> str:
        return ""
""".replace("words: list", "words: list[str]")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bulid"], 2, ["Did you mean `build`"]),
        (["build", "-t", "Bad Tag"], 2, ["-t", "Bad Tag"]),
        (["build", "--platform", "windows/mips"], 2, ["--platform", "linux/amd64"]),
        (["build", "--secret", "src=x"], 2, ["--secret", "no id"]),
        (["build", "--secret", "id=a,src=/nonexistent"], 2, ["--secret", "/nonexistent"]),
        (["build", "--secret", "id=a,color=red"], 2, ["--secret", "id=NAME,src=FILE"]),
        (["build", "--label", "noequals"], 2, ["--label", "name=value"]),
        (["build", "--base-image", "UPPER"], 2, ["--base-image"]),
        (["build", "--progress", "loud"], 2, ["--progress"]),
        (["build", "--no-such-flag"], 2, ["--no-such-flag"]),
        (["build"], 1, ["DOCKER_HOST=unix:///nonexistent/docker.sock"]),
        (["build", "-f", "other.yaml"], 1, ["other.yaml"]),
        (["build", "--ca-cert", "/nonexistent.pem"], 1, ["DOCKER_HOST"]),
        (["predict", "-i", "noequals"], 2, ["-i noequals", "name=value"]),
        (["predict", "-i", "=x"], 2, ["-i =x", "empty"]),
        (["predict", "-i", "n=1", "--json", "{}"], 2, ["exclude"]),
        (["predict", "--json", "{bad"], 2, ["--json", "line 1, column 2"]),
        (["predict", "--json", "[1]"], 2, ["--json", "expected an object"]),
        (["predict", "--json", "@missing.json"], 1, ["missing.json"]),
        (["predict", "--json", '{"n": "x"}'], 1, ["n", "integer"]),
        (["predict", "-i", "nosuch=1"], 1, ["nosuch", "image, n, words, s"]),
        (["predict", "-i", "imag=1"], 1, ["imag", "did you mean 'image'"]),
        (["predict", "-i", "n=many"], 1, ["- n:", "integer"]),
        (["predict", "-i", "n=1", "-i", "n=2"], 1, ["n", "twice"]),
        (["predict", "-i", "image=@missing.png"], 1, ["image", "missing.png"]),
        (["predict", "-i", "image=@/dev/zero"], 1, ["image", "not a regular file"]),
        (["predict", "-i", "image=@/proc/self/mem"], 1, ["image", "/proc/self/mem"]),
        (["predict", "-i", "image=@."], 1, ["image", "not a regular file"]),
        (["predict", "-i", "image=local.png"], 1, ["- image:", "URL"]),
        (["predict", "no-such-image:latest", "--engine", "local"], 1, ["no-such-image:latest"]),
        (["predict", "--engine", "podman"], 2, ["--engine"]),
        (["predict", "--engine", "local", "--python", "/nonexistent/python"], 1, ["--python", "/nonexistent/python"]),
        (["predict", "--gpus", "some"], 2, ["--gpus"]),
        (["predict", "-e", "1=2"], 2, ["-e", "NAME=value"]),
        (["predict", "--setup-timeout", "0"], 2, ["--setup-timeout"]),
        (["serve", "-p", "70000"], 2, ["-p", "65535"]),
        (["serve", "-p", "x"], 2, ["-p"]),
        (["serve", "--upload-url", "files/"], 2, ["--upload-url", "s3://bucket/folder"]),
        (["predict", "-o", "no/such/file"], 1, ["-o no/such/file", "no folder"]),
        (["exec"], 2, ["COMMAND"]),
        (["exec", "-p", "0", "ls"], 2, ["-p", "65535"]),
        (["push"], 1, ["no name", "image:"]),
        (["push", "Not A Name"], 2, ["Not A Name"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_words_get_one_clear_error(
    project: Project, cog: Cog, arguments: list[str], code: int, words: list[str]
) -> None:
    folder = project({"predict.py": PREDICTOR})

    answer = cog(*arguments, folder=folder, environment=NO_DOCKER, timeout_s=20)

    assert answer.returncode == code, answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""
    for word in words:
        assert word in answer.stderr
    assert not (folder / "cog-crash.log").exists()


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_command(cog: Cog, tmp_path: Path, flag: str) -> None:
    answer = cog(flag, folder=tmp_path)

    assert answer.returncode == 0
    assert all(name in answer.stdout for name in COMMANDS)


def test_without_words_there_is_help(cog: Cog, tmp_path: Path) -> None:
    answer = cog(folder=tmp_path)

    assert answer.returncode in (0, 2)
    assert "Usage: cog" in answer.stdout + answer.stderr


@pytest.mark.parametrize("name", [*COMMANDS, *ALIASES])
def test_each_command_has_help(cog: Cog, tmp_path: Path, name: str) -> None:
    answer = cog(name, "--help", folder=tmp_path)

    assert answer.returncode == 0, answer.stderr
    assert "Usage: cog" in answer.stdout


def test_help_loads_none_of_the_heavy_packages() -> None:
    script = "import sys, cog_cli.main; cog_cli.main.cli.main(['--help'], standalone_mode=False);"
    script += (
        "print([name for name in ('pydantic', 'docker', 'rich', 'httpx', 'jinja2', 'yaml') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert answer.stdout.splitlines()[-1] == "[]"


def test_no_docker_program_is_said_with_what_to_do(project: Project, cog: Cog) -> None:
    environment = {"PATH": "/nonexistent", "DOCKER_HOST": ""}

    answer = cog("build", folder=project(), environment=environment)

    assert answer.returncode == 1
    assert "install" in answer.stderr.lower()
    assert "Traceback" not in answer.stderr


def test_init_writes_a_model_and_never_over_a_file(cog: Cog, tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text("mine")

    first = cog("init", folder=tmp_path)
    (tmp_path / "cog.yaml").write_text("changed")
    second = cog("init", folder=tmp_path)

    assert first.returncode == second.returncode == 0
    assert "kept    predict.py" in first.stderr
    assert (tmp_path / "predict.py").read_text() == "mine"
    assert (tmp_path / "cog.yaml").read_text() == "changed"
    assert {path.name for path in tmp_path.iterdir()} == {"cog.yaml", "predict.py", "requirements.txt", ".dockerignore"}


def test_what_init_writes_predicts_as_it_is(cog: Cog, tmp_path: Path) -> None:
    cog("init", folder=tmp_path)

    answer = cog(
        "predict", "--engine", "local", "--python", sys.executable, "-i", "text=you", "-i", "times=2", folder=tmp_path
    )

    assert (answer.returncode, answer.stdout) == (0, "hello you hello you\n"), answer.stderr


def test_train_writes_the_weights(project: Project, cog: Cog) -> None:
    config = 'build:\n  python_version: "3.11"\npredict: "predict.py:Predictor"\ntrain: "train.py:train"\n'
    source = """
from cog import Input, Path, TrainingOutput


def train(steps: int = Input(default=2, ge=1)) -> TrainingOutput:
    print("training", steps)
    path = Path("trained.tar")
    path.write_text("w" * steps)
    return TrainingOutput(weights=path)
"""
    folder = project({"cog.yaml": config, "train.py": source})
    local = ("--engine", "local", "--python", sys.executable)

    done = cog("train", *local, "-i", "steps=3", folder=folder)
    refused = cog("train", *local, "-i", "steps=0", folder=folder)
    schema = json.loads(cog("schema", "--train", folder=folder).stdout)

    assert done.returncode == 0, done.stderr
    assert (folder / "weights").read_text() == "www"
    assert "training 3" in done.stderr
    assert refused.returncode == 1
    assert "/trainings" in schema["paths"]
    assert (
        "no `train`" in cog("train", *local, folder=project({"cog.yaml": config.replace("train:", "# train:")})).stderr
    )


def test_schema_prints_the_document_without_importing_the_model(project: Project, cog: Cog) -> None:
    folder = project({"predict.py": "import no_such_module\n" + PREDICTOR})

    answer = cog("schema", folder=folder)

    assert answer.returncode == 0, answer.stderr
    properties = json.loads(answer.stdout)["components"]["schemas"]["Input"]["properties"]
    assert list(properties) == ["image", "n", "words", "s"]


def test_schema_leaves_out_a_default_that_only_running_can_tell_and_says_so(project: Project, cog: Cog) -> None:
    source = PREDICTOR.replace("n: int = 1", "n: int = 1 if torch.cuda.is_available() else 2")
    folder = project({"predict.py": "import torch\n" + source})

    answer = cog("schema", folder=folder)

    assert answer.returncode == 0, answer.stderr
    schema = json.loads(answer.stdout)["components"]["schemas"]["Input"]
    assert schema["properties"]["n"] == {"x-order": 1, "title": "N", "type": "integer"}
    assert "required" not in schema
    (line,) = answer.stderr.splitlines()
    assert line.startswith("warning: predict.py:7:57: the default of `n` is left out: it cannot be known")


@pytest.mark.parametrize("name", ["dockerfile", "debug"])
def test_dockerfile_prints_what_would_be_built(project: Project, cog: Cog, name: str) -> None:
    answer = cog(name, folder=project())

    assert answer.returncode == 0
    assert "\nFROM python:3.11-slim-bookworm AS base\n" in answer.stdout
    assert answer.stdout.rstrip().endswith("COPY --link . /src")


def test_explain_json_has_every_key(project: Project, cog: Cog) -> None:
    config = 'build:\n  gpu: true\n  python_version: "3.12"\n  python_packages: ["torch==2.5.1"]\npredict: "p.py:P"\n'

    answer = cog("explain", "--json", folder=project({"cog.yaml": config}))

    document = json.loads(answer.stdout)
    assert answer.returncode == 0
    assert document["base_image"] == "python:3.12-slim-bookworm"
    assert (document["cuda"], document["torch"]) == ("12.4", {"version": "2.5.1", "index_url": None})
    assert document["min_driver"] == "525.60.13"
    assert document["reasons"]
    assert set(document) == {
        *("python", "cuda", "cudnn", "base_image", "final_image", "flavour", "torch"),
        *("packages", "min_driver", "reasons", "warnings"),
    }


def test_explain_json_gives_errors_as_json_too(project: Project, cog: Cog) -> None:
    config = 'build:\n  gpu: true\n  cuda: "99.9"\n  python_version: "3.12"\npredict: "p.py:P"\nbulid: 1\n'

    answer = cog("explain", "--json", folder=project({"cog.yaml": config}))

    assert answer.returncode == 1
    errors = json.loads(answer.stdout)["errors"]
    assert [error["key"] for error in errors] == ["bulid"]
    assert errors[0]["where"].startswith("cog.yaml:6:")


def test_explain_names_torch_builds_that_exist(project: Project, cog: Cog) -> None:
    config = 'build:\n  gpu: true\n  cuda: "13.0"\n  python_version: "3.11"\n  python_packages: ["torch==1.13.1"]\n'

    answer = cog("explain", folder=project({"cog.yaml": config + 'predict: "p.py:P"\n'}))

    assert answer.returncode == 1
    assert "cog.yaml:3:9" in answer.stderr
    assert "11.7" in answer.stderr


@pytest.mark.parametrize("number", ["034", "039", "054"])
def test_cases_of_bad_files_that_only_the_solver_can_see(tmp_path: Path, cog: Cog, number: str) -> None:
    cases = json.loads((REPOSITORY / "tests" / "cli" / "config" / "config_cases.json").read_text())["cases"]
    case = next(case for case in cases if case["id"] == f"cog-yaml-{number}")
    given = case["input"] if isinstance(case["input"], dict) else {"yaml": case["input"]}
    for name, text in {"cog.yaml": given["yaml"], **given.get("files", {})}.items():
        (tmp_path / name).write_text(text)

    answer = cog("explain", folder=tmp_path)

    assert answer.returncode == 1
    names = case["names"] if isinstance(case["names"], list) else [case["names"]]
    assert all(name in answer.stderr for name in names), answer.stderr


def test_a_file_of_another_name_is_read(project: Project, cog: Cog) -> None:
    folder = project(
        {"cog.yaml": None, "model.yaml": 'build:\n  python_version: "3.10"\npredict: "predict.py:Predictor"\n'}
    )

    answer = cog("explain", "--json", "-f", "model.yaml", folder=folder)

    assert json.loads(answer.stdout)["python"] == "3.10"


def test_the_project_is_found_from_a_folder_inside_it(project: Project, cog: Cog) -> None:
    inside = project() / "a" / "b"
    inside.mkdir(parents=True)

    assert cog("explain", "--json", folder=inside).returncode == 0


def test_no_project_is_said_with_what_to_do(cog: Cog, tmp_path: Path) -> None:
    answer = cog("explain", folder=tmp_path)

    assert answer.returncode == 1
    assert "cog.yaml not found" in answer.stderr
    assert "cog init" in answer.stderr


def test_a_closed_pipe_is_no_error(project: Project) -> None:
    command = f"{sys.executable} -m cog_cli schema | head -c 10"
    answer = subprocess.run(command, shell=True, cwd=project(), capture_output=True, text=True, check=False)

    assert answer.stderr == ""


def test_no_colour_codes_in_a_pipe(project: Project, cog: Cog) -> None:
    answer = cog("bulid", folder=project(), environment={"NO_COLOR": ""})

    assert "\x1b[" not in answer.stderr


BAD_SIGNATURE = """\
from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        s,
        n: int = Input(ge=5, le=4),
        f: float = "x",
    ):
        return s
"""


def test_every_problem_of_a_signature_is_shown_with_its_place(project: Project, cog: Cog) -> None:
    answer = cog("build", folder=project({"predict.py": BAD_SIGNATURE}), environment=NO_DOCKER)

    assert answer.returncode == 1
    assert "predict.py:7:9: `s`: it needs a type annotation" in answer.stderr
    assert "predict.py:8:9: `n`: no number fits ge=5 and le=4" in answer.stderr
    assert "predict.py:9:9: `f`: the default 'x' is not a float" in answer.stderr
    assert "predict.py:5:5: `predict`: it needs a return annotation" in answer.stderr


def test_every_problem_of_a_signature_that_was_run_is_shown(project: Project, cog: Cog) -> None:
    source = BAD_SIGNATURE + "\n\nimport json\n\nPredictor = [Predictor][json.loads('0')]\n"
    folder = project({"predict.py": source})

    answer = cog("predict", "--engine", "local", "--python", sys.executable, folder=folder)

    assert answer.returncode == 1
    for problem in ("`s`: it needs", "`n`: no number fits", "`f`: the default", "`predict`: it needs"):
        assert problem in answer.stderr
    assert "Traceback" not in answer.stderr


def test_every_example_is_a_valid_project(cog: Cog) -> None:
    for example in (REPOSITORY / "examples").iterdir():
        answer = cog("schema", folder=example)
        assert answer.returncode == 0, answer.stderr


def test_exec_needs_no_predictor(project: Callable[..., Path], cog: Cog) -> None:
    folder = project({"cog.yaml": 'build:\n  python_version: "3.11"\n', "predict.py": None})

    answer = cog("exec", "--engine", "local", "--python", sys.executable, "python", "-c", "print('hi')", folder=folder)

    assert (answer.returncode, answer.stdout) == (0, "hi\n"), answer.stderr


@pytest.mark.parametrize("flags", [("--debug", "explain"), ("explain", "--debug")])
def test_debug_stands_before_or_behind_the_command(tmp_path: Path, cog: Cog, flags: tuple[str, ...]) -> None:
    (tmp_path / "cog.yaml").write_text("build: {}\npredict: 7\n")

    answer = cog(*flags, folder=tmp_path)

    assert answer.returncode == 1
    assert "Traceback" in answer.stderr


@pytest.mark.parametrize("name", ["a..b", "-x", "My Model (v2)", "\u6a21\u578b", "x" * 61, "..."])
def test_any_folder_has_an_image_name_that_is_valid_and_its_own(tmp_path: Path, name: str) -> None:
    def image_of(folder: str) -> str:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cog.yaml").write_text("build: {}\n")
        return load_project(str(tmp_path / folder / "cog.yaml"), predict_is_required=False).image_name

    assert check_image(image_of(name)).startswith("cog-")
    assert image_of(f"{name}\u00e9") != image_of(f"{name}\u00e8")


@pytest.mark.parametrize(
    ("folder", "image"), [("CodeFormer", "cog-codeformer"), ("my model", "cog-my-model"), ("cog-a--b", "cog-a--b")]
)
def test_a_folder_whose_name_can_be_an_images_gives_it(tmp_path: Path, folder: str, image: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "cog.yaml").write_text("build: {}\n")

    assert load_project(str(tmp_path / folder / "cog.yaml"), predict_is_required=False).image_name == image
