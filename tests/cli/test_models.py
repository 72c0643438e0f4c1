"""Public models, as they are: each resolves to a Dockerfile without a finding, or gets the error it deserves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cog_cli.compat.solver import resolve_stack
from cog_cli.compat.stack import Stack
from cog_cli.config import load_config
from cog_cli.errors import ConfigError
from cog_cli.image.dockerfile import render
from cog_cli.image.plan import PlanOptions, make_plan
from cog_cli.requirements.packages import read_requirements

MODELS = Path(__file__).parent / "models"

# The flavour of the image each comes to.
FLAVOURS = {
    "Algolzw__daclip-uir": "slim",
    "Audio-AGI__AudioSep": "slim",
    "LAION-AI__ldm-finetune": "slim",
    "afiaka87__pyglide": "slim",
    "fofr__cog-face-to-sticker": "slim",
    "fofr__video-to-frames": "slim",
    "lucataco__cog-moondream2": "devel",  # flash-attn
    "lucataco__cog-sdxl": "slim",
    "lucataco__cog-sdxl-lcm": "slim",
    "nztinversive__cropscan": "slim",
    "pedroapfilho__acestep-trainer": "slim",
    "replicate__all-mpnet-base-v2": "devel",  # deepspeed
    "replicate__cog-e5-embeddings": "slim",
    "replicate__cog-examples--blur": "slim",
    "replicate__cog-examples--canary": "slim",
    "replicate__cog-examples--hello-concurrency": "slim",
    "replicate__cog-examples--hello-context": "slim",
    "replicate__cog-examples--hello-image": "slim",
    "replicate__cog-examples--hello-replicate": "slim",
    "replicate__cog-examples--hello-train": "slim",
    "replicate__cog-examples--hello-world": "slim",
    "replicate__cog-examples--notebook": "slim",
    "replicate__cog-examples--notebook~2022-04": "slim",
    "replicate__cog-examples--resnet": "slim",
    "replicate__cog-examples--resnet~2022-04": "slim",
    "replicate__cog-examples--z-image-turbo": "slim",
    "replicate__cog-flan-models": "devel",  # deepspeed
    "replicate__cog-llama-template": "base",  # a vllm of before 0.11
    "replicate__cog-llama-template~2023-06": "devel",  # deepspeed
    "replicate__cog-sdxl": "slim",
    "replicate__cog-triton": "slim",
    "replicate__cog-triton--cog-trt-llm": "slim",
    "replicate__cog-triton--mock_cog_triton": "slim",
    "replicate__cog-vllm": "devel",  # a command that compiles
    "xinntao__Real-ESRGAN": "slim",
    "xinntao__Real-ESRGAN~2022-06": "slim",
    "zsxkib__MMAudio": "slim",
    "zsxkib__cog-bagel": "devel",  # flash-attn
    "zsxkib__cog-google-embeddinggemma-300m": "slim",
    "zsxkib__conda-envs-in-cog": "slim",
    "zsxkib__segment-anything-2": "slim",
}

# Where each of the others is wrong, and a word of what to do.
ERRORS = {
    "andreasjansson__FastGAN-pytorch": ("cog.yaml:1:8", "the form of 2021"),
    "justinsalamon__musicseg_deepemb": ("cog.yaml:17:19", 'Write python_version: "3.8"'),
    "orpatashnik__StyleCLIP": ("cog.yaml:8:19", 'Write python_version: "3.8"'),
    "replicate__cog-examples--CLIP~2021-03": ("cog.yaml:2:8", "the form of 2021"),
    "replicate__cog-examples--blur~2021-06": ("cog.yaml:1:8", "the form of 2021"),
    "replicate__cog-examples--hello-world~2021-03": ("cog.yaml:1:8", "the form of 2021"),
    "replicate__cog-lightweight-openpose": ("cog.yaml:6:19", 'Write python_version: "3.8"'),
    "replicate__qwen-image-lora-trainer": ("cog.yaml:11:24", "does not exist"),  # it is a git submodule
    "sczhou__CodeFormer": ("cog.yaml:1:3", "not valid YAML"),
}


def resolve(name: str, folder: Path) -> tuple[Stack, str]:
    """The stack and the Dockerfile of a model."""
    folder.mkdir(exist_ok=True)
    shutil.copy(MODELS / f"{name}.yaml", folder / "cog.yaml")
    if (MODELS / f"{name}.requirements.txt").exists():
        shutil.copy(MODELS / f"{name}.requirements.txt", folder / "requirements.txt")
    loaded = load_config(folder / "cog.yaml")
    requirements = read_requirements(loaded.config.build, folder, locate=loaded.locate)
    stack = resolve_stack(loaded.config.build, requirements, locate=loaded.locate)
    return stack, render(make_plan(loaded.config, stack, requirements, PlanOptions()))


def test_every_model_is_in_one_table() -> None:
    assert {path.stem for path in MODELS.glob("*.yaml")} == set(FLAVOURS) | set(ERRORS)
    assert not set(FLAVOURS) & set(ERRORS)


@pytest.mark.parametrize("name", FLAVOURS)
def test_model_gets_the_flavour_it_needs(name: str, tmp_path: Path) -> None:
    stack, dockerfile = resolve(name, tmp_path)

    assert stack.flavour == FLAVOURS[name]
    assert stack.base_image in dockerfile


@pytest.mark.parametrize("name", ERRORS)
def test_model_that_cannot_be_built_is_told_where_and_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(name, tmp_path)

    where, words = ERRORS[name]
    assert any(problem.where == where and words in str(problem) for problem in caught.value.problems)


@pytest.mark.slow
def test_hadolint_finds_nothing_in_the_dockerfile_of_any_model(tmp_path: Path) -> None:
    files = []
    for name in FLAVOURS:
        file = tmp_path / f"{name}.Dockerfile"
        file.write_text(resolve(name, tmp_path / name)[1])
        files.append(file)

    answer = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), *files], capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stdout
