"""The Dockerfile: what each project comes to, that it is always the same, and that no value becomes an instruction."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cog_cli.compat.stack import Stack
from cog_cli.config import Build, Concurrency, Config, RunItem, SecretMount, grammar
from cog_cli.config.grammar import GrammarError
from cog_cli.image.dockerfile import find_key, render
from cog_cli.image.plan import PlanOptions, make_plan
from cog_cli.requirements.packages import Requirements
from tests.cli.image.dockerfile_reader import Instruction, read_dockerfile, split_variables
from tests.cli.image.project_cases import CASES, plan_for
from tests.conftest import REPOSITORY

by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

SLIM = Stack("3.11", None, None, "python:3.11-slim-bookworm", "slim", True, None, (), None, (), ())
CUDA = replace(SLIM, base_image="nvidia/cuda:12.4.1-base-ubuntu22.04", flavour="base", has_python=False)
PREDICT = "predict.py:Predictor"


def dockerfile_of(config: Config, *, stack: Stack = SLIM, options: PlanOptions | None = None) -> str:
    return render(make_plan(config, stack, Requirements(), options or PlanOptions()))


def commands(*texts: str) -> tuple[RunItem, ...]:
    return tuple(RunItem(command=text) for text in texts)


def stage(instructions: list[Instruction], name: str) -> list[Instruction]:
    """The instructions of `FROM ... AS name`, without that one."""
    starts = [index for index, each in enumerate(instructions) if each.name == "FROM"] + [len(instructions)]
    for start, end in pairwise(starts):
        if instructions[start].text.endswith(f" AS {name}"):
            return instructions[start + 1 : end]
    raise AssertionError(f"no stage {name}")


# --- golden files ----------------------------------------------------------------------------------------------------


@by_name
def test_dockerfile_matches_golden(case: Path) -> None:
    assert render(plan_for(case)) == (case / "expected.Dockerfile").read_text()


def test_hadolint_finds_nothing_in_any_golden() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    result = subprocess.run(
        [hadolint, "--no-color", *(case / "expected.Dockerfile" for case in CASES)], capture_output=True, text=True
    )

    assert (result.stdout + result.stderr, result.returncode) == ("", 0)


@by_name
def test_golden_is_read_without_a_here_document_or_directive(case: Path) -> None:
    assert read_dockerfile((case / "expected.Dockerfile").read_text())[-1].name == "COPY"


@pytest.mark.slow
def test_dockerfile_is_the_same_in_every_process() -> None:
    program = "from tests.cli.image.project_cases import *; print(''.join(render(plan_for(case)) for case in CASES))"

    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }

    assert len(texts) == 1


# --- what it must hold -----------------------------------------------------------------------------------------------


@by_name
def test_nothing_in_the_last_stage_comes_after_the_source_but_its_own_config(case: Path) -> None:
    model = stage(read_dockerfile(render(plan_for(case))), "model")

    copies = [each.text for each in model if each.name == "COPY"]

    assert copies in (["schema /src/.cog", ". /src"], ["schema /src/.cog", ". /src", "cog.yaml /src/cog.yaml"])
    assert [each.name for each in model[-len(copies) :]] == ["COPY"] * len(copies)
    assert all("link" in each.flags for each in model if each.name == "COPY")
    assert not any(each.name == "RUN" for each in model)


@by_name
def test_what_only_the_server_reads_comes_after_every_command(case: Path) -> None:
    instructions = read_dockerfile(render(plan_for(case)))

    first = next(index for index, each in enumerate(instructions) if each.name == "ENV" and "COG_PREDICT" in each.text)

    assert not any(each.name == "RUN" for each in instructions[first:])


@pytest.mark.parametrize("stack", [SLIM, CUDA], ids=["slim", "cuda"])
def test_server_stage_is_the_same_for_every_model_on_a_base_image(stack: Stack) -> None:
    plain = dockerfile_of(Config(predict=PREDICT), stack=stack)
    build = Build(system_packages=("file",), run=commands("one"), pre_install=commands("two"))
    rich = Config(predict="other.py:Model", train="train.py:train", environment=("A=b",), build=build)
    other = stack if stack.has_python else replace(stack, python="3.9")

    texts = [
        [each.text for name in ("base", "server") for each in stage(read_dockerfile(text), name)]
        for text in (plain, dockerfile_of(rich, stack=other))
    ]

    assert texts[0] == texts[1]


def test_secret_is_mounted_into_its_command_and_nowhere_else() -> None:
    items = (
        RunItem(command="one"),
        RunItem(command="two", mounts=(SecretMount(id="token", target="/run/secrets/token"),)),
    )
    instructions = read_dockerfile(dockerfile_of(Config(predict=PREDICT, build=Build(run=items))))

    holders = [each for each in instructions if any("id=token" in flag for flag in each.flags)]

    assert [each.arguments for each in holders] == [("/bin/sh", "-c", "two")]
    assert "mount=type=secret,id=token,target=/run/secrets/token,required=true" in holders[0].flags
    assert not any("token" in each.text for each in instructions)


def test_company_certificate_is_there_for_every_command_that_may_need_it_and_stays_in_no_layer() -> None:
    build = Build(system_packages=("file",), run=commands("one"), pre_install=commands("two"))
    text = dockerfile_of(Config(predict=PREDICT, build=build), options=PlanOptions(ca_cert=True))
    instructions = read_dockerfile(text)

    online = [
        each for each in instructions if each.name == "RUN" and not ("freeze" in each.text or "compileall" in each.text)
    ]
    trusting = [each for each in instructions if any("id=cog-ca," in flag for flag in each.flags)]

    assert trusting == online
    variables = next(each for each in instructions if each.name == "ARG").variables
    assert {variables[name] for name in ("SSL_CERT_FILE", "PIP_CERT", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")} == {
        "/run/secrets/cog-ca"
    }
    assert not any("cog-ca" in each.text for each in instructions if each.name in ("ENV", "COPY"))


def test_without_a_company_certificate_nothing_speaks_of_one() -> None:
    assert "cog-ca" not in dockerfile_of(Config(predict=PREDICT, build=Build(run=commands("one"))))


def test_no_base_image_is_asked_for_a_frontend() -> None:
    assert "syntax" not in dockerfile_of(Config(predict=PREDICT)).lower()


@pytest.mark.parametrize(
    ("stack", "interpreter"),
    [
        (SLIM, "/usr/local/bin/python3"),
        (replace(SLIM, python="3.10.6"), "/usr/local/bin/python3"),
        (replace(SLIM, python="3.9"), None),
        (replace(SLIM, python="3.12", flavour="custom"), "python3"),
        (replace(SLIM, python="3.13t", flavour="custom"), None),
        (CUDA, None),
    ],
    ids=lambda value: f"{value.python}-{value.flavour}" if isinstance(value, Stack) else "",
)
def test_server_takes_the_base_images_python_if_it_is_new_enough(stack: Stack, interpreter: str | None) -> None:
    server = " ".join(
        each.text for each in stage(read_dockerfile(dockerfile_of(Config(predict=PREDICT), stack=stack)), "server")
    )

    assert ("uv python install" in server) == (interpreter is None)
    assert (
        f"uv venv {f'--python {interpreter}' if interpreter else '--managed-python --python 3.12'} /opt/cog/venv"
        in server
    )


@pytest.mark.parametrize(
    ("command", "packages"),
    [
        ("curl -o x https://example.com/x", "ca-certificates curl"),
        ("cd /x && git clone https://example.com/x", "ca-certificates git"),
        ("pip install git+https://example.com/x", "ca-certificates git"),
        ("set -e\nwget -q https://example.com/x.zip\nunzip x.zip", "ca-certificates unzip wget"),
        ("x=$(make --version)", "make"),
        ("pip install curl-cffi pycurl git-python", ""),
        ("echo curling", ""),
    ],
)
def test_programs_that_commands_call_are_installed(command: str, packages: str) -> None:
    plan = make_plan(Config(predict=PREDICT, build=Build(run=commands(command))), SLIM, Requirements(), PlanOptions())

    assert " ".join(plan.apt_packages) == packages


def test_program_the_user_installs_in_a_version_is_not_installed_twice() -> None:
    build = Build(system_packages=("curl=7.88.1-10",), run=commands("curl x"))

    plan = make_plan(Config(predict=PREDICT, build=build), SLIM, Requirements(), PlanOptions())

    assert "curl=7.88.1-10" in plan.apt_packages
    assert "curl" not in plan.apt_packages


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        ('"first"', "build.run[0]"),
        ('"second"', "build.run[1]"),
        ('"before"', "build.pre_install[0]"),
        ("        file", "build.system_packages"),
        ("FROM python", "build.python_version"),
        ("WORKDIR", None),
        ("uv venv", None),
    ],
)
def test_key_of_cog_yaml_is_found_for_a_line(wanted: str, key: str | None) -> None:
    build = Build(system_packages=("file",), run=commands("first", "second"), pre_install=commands("before"))
    text = dockerfile_of(Config(predict=PREDICT, build=build))

    line = next(number for number, each in enumerate(text.splitlines(), 1) if wanted in each)

    assert find_key(text, line) == key


# --- injection -------------------------------------------------------------------------------------------------------

# Text that means something to Docker's parser, to its lexer, to a shell, to Jinja or to YAML, among ordinary text.
FRAGMENTS = st.sampled_from(
    ["\\", '"', "'", "$", "${PATH}", "$(id)", "`id`", "\t", " ", "#", "<<EOF", "EOF", "\\n", "--mount=type=bind", "]", "[",
     '["a"]', ",", "=", ";", "&&", "|", "ENV A=b", "FROM scratch", "# syntax=x", "# escape=`", "é", "🐎", "\u00a0", "%s",
     "{{ plan }}", "{% raw %}", "/", ":", "@", "..", "-", "+", "a", "b c"]
)  # fmt: skip
TEXT = st.lists(FRAGMENTS | st.characters(codec="utf-8").map(str), max_size=8).map("".join)
SCRIPTS = st.lists(TEXT | st.sampled_from(["\n", "\\\n", "\nRUN id\n", "\nEOF\n"]), max_size=4).map("".join)


def accepted(texts: st.SearchStrategy[str], check: Callable[[str], str], *, instead: str) -> st.SearchStrategy[str]:
    """The texts that the grammar of cog.yaml takes; `instead` for the others, which is faster than to filter."""

    def settle(text: str) -> str:
        try:
            return check(text)
        except GrammarError:
            return instead

    return texts.map(settle)


MOUNTS = st.builds(
    SecretMount,
    id=accepted(st.from_regex(grammar.SECRET_ID, fullmatch=True), grammar.check_secret_id, instead="token"),
    target=accepted(st.from_regex(grammar.MOUNT_TARGET, fullmatch=True), grammar.check_mount_target, instead="/token"),
)
RUNS = st.lists(
    st.builds(
        RunItem,
        command=accepted(SCRIPTS, grammar.check_command, instead="true"),
        mounts=st.lists(MOUNTS, max_size=2, unique_by=lambda mount: mount.target).map(tuple),
    ),
    max_size=2,
).map(tuple)
VARIABLES = st.builds("{}={}".format, st.from_regex(grammar.VARIABLE, fullmatch=True) | TEXT, TEXT)
PATHS = st.lists(FRAGMENTS, max_size=4).map("".join)
PACKAGES = st.from_regex(grammar.DEBIAN_PACKAGE, fullmatch=True) | PATHS
REFERENCES = st.text("ab1./:@-_", max_size=12) | PATHS
CONFIGS = st.builds(
    Config,
    predict=accepted(st.builds("{}.py:{}".format, PATHS, st.text(max_size=5)), grammar.check_predict, instead=PREDICT),
    train=st.none() | accepted(PATHS.map("train{}.py:train".format), grammar.check_train, instead="train.py:train"),
    concurrency=st.none() | st.builds(Concurrency, max=st.integers(1, 100)),
    environment=st.lists(
        accepted(VARIABLES, grammar.check_variable, instead="A=b"),
        max_size=3,
        unique_by=lambda text: text.partition("=")[0],
    ).map(tuple),
    build=st.builds(
        Build,
        run=RUNS,
        pre_install=RUNS,
        gpu=st.booleans(),
        system_packages=st.lists(accepted(PACKAGES, grammar.check_system_packages, instead="file"), max_size=2).map(
            tuple
        ),
        base_image=st.none() | accepted(REFERENCES, grammar.check_reference, instead="python"),
    ),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(CONFIGS, st.booleans())
def test_no_value_becomes_an_instruction(config: Config, has_ca: bool) -> None:
    stack = replace(
        SLIM, base_image=config.build.base_image or "python", flavour="custom" if config.build.base_image else "slim"
    )

    instructions = read_dockerfile(dockerfile_of(config, stack=stack, options=PlanOptions(ca_cert=has_ca)))

    assert [each.name for each in stage(instructions, "packages")] == expected_names(config)
    assert [each.text for each in instructions if each.name == "FROM"][1] == f"{stack.base_image} AS base"
    run = [each.arguments for each in stage(instructions, "packages") if each.arguments]
    items = (*config.build.pre_install, *config.build.run)
    assert run == [("/bin/sh", "-c", item.command) for item in items]
    mounts = [
        flag
        for each in instructions
        for flag in each.flags
        if flag.startswith("mount=type=secret") and "id=cog-ca," not in flag
    ]
    wanted = [f"mount=type=secret,id={m.id},target={m.target},required=true" for item in items for m in item.mounts]
    assert mounts == wanted
    names = [
        name for name in shlex.split(stage(instructions, "packages")[0].text) if name in config.build.system_packages
    ]
    assert sorted(set(names)) == sorted(set(config.build.system_packages))
    assert user_variables(instructions) == {
        name: value for name, _, value in (v.partition("=") for v in config.environment)
    }
    settings_of_model = dict(split_variables(stage(instructions, "model")[0].text, {}))
    assert settings_of_model["COG_PREDICT"] == config.predict
    assert settings_of_model.get("COG_TRAIN") == config.train
    assert [each.name for each in stage(instructions, "model")] == [
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
        "WORKDIR",
        "COPY",
        "COPY",
    ]


def expected_names(config: Config) -> list[str]:
    plan = make_plan(config, SLIM, Requirements(), PlanOptions())
    return [
        *["RUN"] * bool(plan.apt_packages),
        "COPY",
        "RUN",
        *["ENV"] * bool(config.environment),
        *["RUN"] * (len(config.build.pre_install) + len(config.build.run)),
    ]


def user_variables(instructions: list[Instruction]) -> dict[str, str]:
    found = [each for each in stage(instructions, "packages") if each.name == "ENV"]
    return found[0].variables if found else {}


def test_concurrency_reaches_the_server() -> None:
    config = Config(predict=PREDICT, concurrency=Concurrency(max=7))

    variables = stage(read_dockerfile(dockerfile_of(config)), "model")[0].variables

    assert variables["COG_MAX_CONCURRENCY"] == "7"
    assert "COG_WORKERS" not in variables


@pytest.mark.parametrize("workers", [3, "per_gpu"])
def test_workers_reach_the_server(workers: int | Literal["per_gpu"]) -> None:
    config = Config(predict=PREDICT, concurrency=Concurrency(workers=workers))

    variables = stage(read_dockerfile(dockerfile_of(config)), "model")[0].variables

    assert variables["COG_WORKERS"] == str(workers)
    assert "COG_MAX_CONCURRENCY" not in variables


# --- two stages ------------------------------------------------------------------------------------------------------

DEVEL = "nvidia/cuda:12.4.1-devel-ubuntu22.04"
TWO = replace(
    CUDA, base_image=DEVEL, final_image=CUDA.base_image, packages=("torch", "flash-attn"), compiled=("flash-attn",)
)


def test_what_is_compiled_is_copied_into_an_image_without_the_compiler() -> None:
    build = Build(run=commands("pip install one", "two"), system_packages=("file",))
    stack = replace(TWO, compile_run_count=1)

    instructions = read_dockerfile(
        dockerfile_of(Config(predict=PREDICT, environment=("A=b",), build=build), stack=stack)
    )

    starts = {each.text.split(" AS ")[1]: each.text.split(" AS ")[0] for each in instructions if each.name == "FROM"}
    assert (starts["compile"], starts["base"], starts["packages"]) == (DEVEL, CUDA.base_image, "base")
    compile_stage, packages = stage(instructions, "compile"), stage(instructions, "packages")
    assert [each.arguments[-1] for each in compile_stage if each.arguments][-1] == "pip install one"
    assert [each.arguments[-1] for each in packages if each.arguments] == ["two"]
    assert [each.text for each in packages if each.name == "COPY"] == ["/opt/python /opt/python", "/layer /"]
    for each in (compile_stage, packages):
        assert "file" in next(one.text for one in each if one.name == "RUN")
        assert any(one.name == "ENV" and one.variables.get("A") == "b" for one in each)


def test_what_imports_torch_to_be_built_is_built_after_everything_else_is_there() -> None:
    plan = make_plan(Config(predict=PREDICT), TWO, Requirements(), PlanOptions())

    assert plan.install is not None
    first, second = plan.install.arguments
    assert first[-7:] == (
        "--excludes", ".cog-compiled.txt", "ninja", "packaging", "psutil", "setuptools<81", "wheel"
    )  # fmt: skip
    assert second[-2:] == ("--no-build-isolation-package", "flash-attn")
    assert (".cog-compiled.txt", ("flash-attn",)) in plan.install.written
