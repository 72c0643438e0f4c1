"""The solver: what a `build` section comes to, and why."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from platform import machine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cog_cli.compat.drivers import Host
from cog_cli.compat.images import REPOSITORY
from cog_cli.compat.solver import resolve_stack
from cog_cli.compat.stack import Stack
from cog_cli.compat.tables import load_tables
from cog_cli.config import Build, load_config
from cog_cli.errors import CogError, StackError
from cog_cli.project import default_platform
from cog_cli.requirements.packages import read_requirements
from tests import conftest

CASES = json.loads((Path(__file__).parent / "stack_cases.json").read_text(encoding="utf-8"))

CU = "https://download.pytorch.org/whl/"


def solve(
    tmp_path: Path, *packages: str, host: Host | None = None, platform: str = "linux/amd64", **keys: Any
) -> Stack:
    keys.setdefault("gpu", True)
    build = Build(python_packages=packages, **keys)
    return resolve_stack(build, read_requirements(build, tmp_path), host=host, platform=platform)


def refusal(tmp_path: Path, *packages: str, **keys: Any) -> str:
    with pytest.raises(StackError) as caught:
        solve(tmp_path, *packages, **keys)
    return str(caught.value)


def solve_case(case: dict[str, Any], folder: Path) -> Stack:
    build = Build(**case["build"])
    if build.python_requirements:
        (folder / build.python_requirements).write_text(case["requirements.txt"])
    host = case.get("host")
    machine = Host(host.get("driver"), host.get("sm"), host.get("brand"), host.get("gpu")) if host else None
    platform = "linux/arm64" if host and host.get("arch") in ("aarch64", "arm64") else "linux/amd64"
    return resolve_stack(build, read_requirements(build, folder), host=machine, platform=platform)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["expect"]["outcome"] != "error"], ids=lambda c: c["id"]
)
def test_worked_case_gets_an_image_that_runs_it(case: dict[str, Any], tmp_path: Path) -> None:
    expect = case["expect"]

    stack = solve_case(case, tmp_path)

    assert any(re.search(pattern, stack.base_image) for pattern in expect["image_ok"]), stack.base_image
    assert not any(re.search(pattern, stack.base_image) for pattern in expect.get("image_not_ok", ()))
    assert bool(stack.warnings) == (expect["outcome"] == "warn"), stack.warnings
    wheel = re.search(r"(?<!\w)torch==([\w.+]+)", expect.get("wheel") or "")
    if wheel:
        assert stack.torch is not None
        assert (stack.torch.version, stack.torch.index_url) == (wheel[1], expect["index"])


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["expect"]["outcome"] == "error"], ids=lambda c: c["id"]
)
def test_worked_case_is_refused_with_what_works(case: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises((StackError, ValidationError)) as caught:
        solve_case(case, tmp_path)

    if isinstance(caught.value, StackError):  # the form of `cuda` is cog.yaml's own grammar
        problem = caught.value.problems[0]
        assert problem.key.startswith("build.")
        assert problem.hint


@pytest.mark.parametrize(
    ("version", "cuda", "driver"),
    [
        ("1.7.1", "10.2", "440.33"),
        ("1.13.1", "11.7", "450.80.02"),
        ("2.4.1", "12.1", "525.60.13"),
        ("2.12.1", "13.0", "580.65.06"),
        ("2.15.0", "13.2", "580.65.06"),
    ],
)
def test_torch_from_pypi_needs_no_cuda_image(tmp_path: Path, version: str, cuda: str, driver: str) -> None:
    stack = solve(tmp_path, f"torch=={version}")

    assert (stack.flavour, stack.cuda, stack.min_driver) == ("slim", cuda, driver)
    assert stack.torch is not None and stack.torch.index_url is None
    assert stack.constraints == ()


@pytest.mark.parametrize(
    ("package", "python"),
    [("torch==2.0.1", "3.11"), ("torch==1.7.1", "3.9"), ("torch==2.15.0", "3.12"), ("tensorflow==2.4.0", "3.8")],
)
def test_without_python_version_one_with_wheels_is_chosen(tmp_path: Path, package: str, python: str) -> None:
    stack = solve(tmp_path, package)

    assert stack.python == python
    assert "no `python_version` is given" in stack.reasons[0]


@pytest.mark.parametrize(
    ("python", "image"),
    [
        ("3.12", "python:3.12-slim-bookworm"),
        ("3.12.4", "python:3.12.4-slim-bookworm"),
        ("3.10.6", "python:3.10.6-slim-bullseye"),
        ("3.10.12", "python:3.10.12-slim-bookworm"),
        ("3.9.2", "python:3.9.2-slim-buster"),
    ],
)
def test_old_patch_release_gets_the_debian_that_has_it(tmp_path: Path, python: str, image: str) -> None:
    assert solve(tmp_path, gpu=False, python_version=python).base_image == image


def test_free_threaded_python_is_not_in_the_image(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch==2.9.1", python_version="3.13t")

    assert (stack.base_image, stack.has_python) == ("debian:bookworm-slim", False)


def test_torch_without_gpu_comes_from_the_cpu_index(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch==2.5.1", gpu=False)

    assert stack.torch is not None
    assert (stack.torch.version, stack.torch.index_url) == ("2.5.1+cpu", CU + "cpu")
    assert stack.install_args == ("--index-strategy", "unsafe-best-match", "--extra-index-url", CU + "cpu")
    assert stack.cuda is None and stack.min_driver is None


def test_package_that_installs_torch_counts_as_torch(tmp_path: Path) -> None:
    with_gpu = solve(tmp_path, "sentence-transformers")
    without = solve(tmp_path, "sentence-transformers", gpu=False)

    assert with_gpu.warnings == () and with_gpu.flavour == "slim"
    assert without.torch is not None and without.torch.index_url == CU + "cpu"


def test_users_cuda_picks_the_build_and_holds_the_installer_to_it(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch", "torchvision", cuda="12.1", python_version="3.11")

    assert stack.torch is not None
    assert (stack.torch.version, stack.torch.index_url) == ("2.5.1+cu121", CU + "cu121")
    assert stack.constraints == ("torch==2.5.1+cu121",)
    assert stack.packages == ("torch", "torchvision")


def test_users_index_is_not_named_twice(tmp_path: Path) -> None:
    stack = solve(tmp_path, f"torch==1.11.0 --extra-index-url={CU}cu113", python_version="3.8", cuda="11.3")

    assert stack.torch is not None and stack.torch.version == "1.11.0+cu113"
    assert stack.install_args == ("--index-strategy", "unsafe-best-match")
    assert stack.packages == (f"--extra-index-url {CU}cu113", "torch==1.11.0")


@pytest.mark.parametrize(
    ("packages", "image", "warning"),
    [
        (["tensorflow==2.4.0"], "11.0.3-cudnn8-runtime-ubuntu20.04", None),
        (["tensorflow==2.17.0"], "12.2.2-cudnn8-runtime-ubuntu22.04", "built for CUDA 12.3"),
        (["tensorflow==2.18.0"], "12.6.3-cudnn-runtime-ubuntu22.04", None),
        (["tensorflow-gpu==2.12.0"], "11.8.0-cudnn8-runtime-ubuntu22.04", None),
        (["onnxruntime-gpu==1.20.0"], "12.3.2-cudnn9-runtime-ubuntu22.04", None),
        (["ctranslate2==4.4.0"], "12.2.2-cudnn8-runtime-ubuntu22.04", None),
        (["faster-whisper", "ctranslate2==4.4.0"], "12.2.2-cudnn8-runtime-ubuntu22.04", None),
        (["faster-whisper==1.1.1"], "12.4.1-cudnn-runtime-ubuntu22.04", None),
        (["cupy-cuda12x==13.6.0"], "12.4.1-runtime-ubuntu22.04", None),
        (["vllm==0.20.0"], "13.0.2-devel-ubuntu22.04", None),
        (["deepspeed==0.8.3", "torch==2.0.0"], "11.7.1-devel-ubuntu22.04", None),
        (["deepspeed", "torch==1.12.1"], "11.6.2-devel-ubuntu20.04", None),
        (["torch==2.5.1", "onnxruntime-gpu==1.31.1"], "13.0.2-cudnn-runtime-ubuntu22.04", "needs CUDA 13"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_system_libraries_come_from_the_smallest_image(
    tmp_path: Path, packages: list[str], image: str, warning: str | None
) -> None:
    stack = solve(tmp_path, *packages)

    assert stack.base_image == f"{REPOSITORY}:{image}"
    assert not stack.has_python
    assert (warning is None) == (stack.warnings == ()), stack.warnings
    assert warning is None or warning in stack.warnings[0]


def test_prebuilt_wheel_needs_no_compiler(tmp_path: Path) -> None:
    url = "https://example.org/flash_attn-2.7.4+cu12torch2.6-cp311-cp311-linux_x86_64.whl"

    assert solve(tmp_path, "torch==2.6.0", url, python_version="3.11").flavour == "slim"


def test_command_that_names_nvcc_gets_it(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch==2.6.0", run=["CUDA_HOME=/usr/local/cuda python setup.py install"])

    assert stack.base_image == f"{REPOSITORY}:12.4.1-devel-ubuntu22.04"


def test_vllm_asks_for_a_compiler_at_run_time(tmp_path: Path) -> None:
    assert solve(tmp_path, "vllm==0.6.6").needs_compiler
    assert not solve(tmp_path, "torch==2.6.0").needs_compiler


@pytest.mark.parametrize(
    ("packages", "keys", "expected"),
    [
        (["torch==1.13.1"], {"cuda": "13.0"}, "torch 1.13.1 is built for CUDA 11.6, 11.7, not 13.0"),
        ([], {"cuda": "99.9"}, "there is no CUDA 99.9"),
        ([], {"cuda": "12.6.9"}, "12.6.0, 12.6.1, 12.6.2, 12.6.3"),
        ([], {"cuda": "12.4", "cudnn": "8"}, "no nvidia/cuda image of CUDA 12.4 has cuDNN 8"),
        (["tensorflow==2.15.0"], {"cuda": "11.8"}, 'Set `cuda: "12.2"`'),
        (["torch==2.5.9"], {}, "Use torch==2.5.1"),
        (["torch>=99"], {}, "torch 99 is not in Cog's table"),
        (["torch==1.1.0"], {}, "torch 1.1.0 is too old"),
        (["torch==2.5.1", "torchvision==0.19.0"], {}, "Use torchvision==0.20.1 or torch==2.4.0"),
        (["torch==2.5.1", "torchvision"], {"python_version": "3.13"}, 'Set `python_version: "3.12"`'),
        (["torch==2.4.0", "xformers==0.0.28.post3"], {}, "asks for torch==2.5.1"),
        (["ctranslate2==4.8.5", "onnxruntime-gpu==1.31.1"], {}, "onnxruntime-gpu==1.26.0 uses CUDA 12"),
        (["paddlepaddle-gpu==3.0.0"], {}, "is not on PyPI"),
        (["jax[cuda13]==0.7.0"], {}, "jax[cuda13]==0.7.2"),
        (["tensorflow"], {"python_version": "3.14"}, 'Set `python_version: "3.12"`'),
        (["tensorflow==2.15.0"], {"base_image": "python:3.11-slim"}, "12.2.2-cudnn8-runtime"),
        (["tensorflow==2.15.0"], {"base_image": "nvidia/cuda:12.4.1-base-ubuntu22.04"}, "12.2.2-cudnn8-runtime"),
    ],
    ids=str,
)
def test_clash_is_named_with_what_works(
    tmp_path: Path, packages: list[str], keys: dict[str, str], expected: str
) -> None:
    assert expected in refusal(tmp_path, *packages, **keys)


@pytest.mark.parametrize(
    ("packages", "warning"),
    [
        (["numpy"], "nothing in the requirements uses CUDA"),
        (["jax"], "runs on the CPU"),
        (["onnxruntime"], "onnxruntime-gpu uses the GPU"),
        (["torch==2.5.1+cpu"], "does not use CUDA"),
        (["torch==2.16.0"], "not in Cog's table"),
        (["tensorflow[and-cuda]==2.16.1"], "does not find the CUDA libraries"),
        (["onnxruntime-gpu[cuda,cudnn]==1.23.2"], "preload_dlls"),
        (["bitsandbytes==0.43.3", "torch==2.8.0"], "use bitsandbytes>=0.45.4"),
    ],
    ids=str,
)
def test_doubtful_build_is_made_with_a_warning(tmp_path: Path, packages: list[str], warning: str) -> None:
    stack = solve(tmp_path, *packages)

    assert len(stack.warnings) == 1
    assert warning in stack.warnings[0]
    assert stack.flavour == "slim"


@pytest.mark.parametrize(
    ("packages", "host", "torch"),
    [
        ("torch==2.8.0", Host("535.183.01", "sm_60", gpu="P100"), "2.8.0+cu126"),
        ("torch==2.11.0", Host("550.90.07", "sm_89", "geforce"), "2.11.0+cu128"),
        ("torch==2.5.1", Host("470.82.01", "sm_80"), "2.5.1+cu118"),
        ("torch==2.7.0", Host("570.124.06", "sm_120"), "2.7.0+cu128"),
        ("torch", Host("535.183.01", "sm_70"), "2.14.1+cu126"),
        ("torch==2.11.0", Host("580.95.05", "sm_90"), "2.11.0"),
    ],
)
def test_build_is_stepped_down_to_what_the_host_runs(tmp_path: Path, packages: str, host: Host, torch: str) -> None:
    stack = solve(tmp_path, packages, host=host, python_version="3.12")

    assert stack.torch is not None and stack.torch.version == torch
    assert stack.constraints == ((f"torch=={torch}",) if "+" in torch else ())


def test_data_center_gpu_runs_newer_cuda_by_forward_compatibility(tmp_path: Path) -> None:
    host = Host("550.90.07", "sm_90", "tesla", "H100")

    stack = solve(tmp_path, "vllm==0.20.0", host=host, python_version="3.12")

    assert stack.base_image.startswith(f"{REPOSITORY}:13.0.")
    assert "forward compatibility" in stack.warnings[0]


def test_image_that_the_hosts_driver_would_not_start_is_said(tmp_path: Path) -> None:
    stack = solve(tmp_path, "tensorflow==2.18.0", host=Host("535.183.01", "sm_86", "geforce"))

    assert "NVIDIA_DISABLE_REQUIRE=true" in stack.warnings[0]


def test_arm64_takes_the_wheels_of_arm64(tmp_path: Path) -> None:
    assert solve(tmp_path, "torch==2.11.0", platform="linux/arm64").cuda == "13.0"
    with pytest.raises(StackError, match=r"torch>=2\.11\.0"):
        solve(tmp_path, "torch==2.8.0", platform="linux/arm64")


@pytest.mark.parametrize(
    ("image", "python", "has_python"),
    [("python:3.11-slim", None, True), ("python:3.9", "3.11", False), ("example/own:1", None, False)],
)
def test_own_base_image_is_taken_as_it_is(tmp_path: Path, image: str, python: str | None, has_python: bool) -> None:
    stack = solve(tmp_path, "numpy", gpu=False, base_image=image, python_version=python)

    assert (stack.base_image, stack.flavour, stack.has_python) == (image, "custom", has_python)


def test_torch_of_a_command_is_seen_but_not_rewritten(tmp_path: Path) -> None:
    run = [f"pip install torch==2.1.0 --index-url {CU}cu118 && pip3 install 'flash-attn' --no-build-isolation"]

    stack = solve(tmp_path, python_version="3.11", run=run)

    assert stack.torch is not None and stack.torch.version == "2.1.0+cu118"
    assert stack.base_image == f"{REPOSITORY}:11.8.0-devel-ubuntu22.04"
    assert stack.install_args == ("--index-strategy", "unsafe-best-match")


def test_options_that_the_installer_skips_in_a_file_become_arguments(tmp_path: Path) -> None:
    stack = solve(tmp_path, "--pre", "--trusted-host pip.example.org", "numpy", gpu=False)

    assert stack.install_args[2:] == ("--prerelease", "allow", "--allow-insecure-host", "pip.example.org")


def test_explain_document_has_the_promised_keys(tmp_path: Path) -> None:
    document = solve(tmp_path, "torch==2.5.1").to_json()

    assert list(document) == [
        *(
            "python",
            "cuda",
            "cudnn",
            "base_image",
            "final_image",
            "flavour",
            "torch",
            "packages",
            "min_driver",
            "reasons",
            "warnings",
        ),
    ]
    assert json.loads(json.dumps(document)) == document


NAMES = [*sorted(load_tables().packages), "torch", "torchvision", "torchaudio", "numpy", "flash-attn", "accelerate"]
VERSIONS = ["", "==2.5.1", ">=2", "<2", "~=2.1", "==2.*", "==0.20.0", "==1.20.0", "==2.7.1+cu128", "==999", ">=1,<1"]
HOSTS = st.none() | st.builds(
    Host,
    st.sampled_from([None, "450.80.02", "535.104.05", "580.65.06"]),
    st.sampled_from([None, "sm_60", "sm_75", "sm_90", "sm_120"]),
    st.sampled_from([None, "geforce", "tesla"]),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packages=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VERSIONS)).map("".join), max_size=4),
    cuda=st.none() | st.sampled_from(["11.8", "12.1", "12.4.1", "12.7", "13.0", "99.9"]),
    cudnn=st.none() | st.sampled_from(["8", "9", "9.1.0.70"]),
    python=st.none() | st.sampled_from(["3.8", "3.10.6", "3.12", "3.13t", "3.14"]),
    host=HOSTS,
    gpu=st.booleans(),
)
def test_anything_comes_to_an_image_that_exists_or_a_clear_refusal(
    tmp_path: Path,
    packages: list[str],
    cuda: str | None,
    cudnn: str | None,
    python: str | None,
    host: Host | None,
    gpu: bool,
) -> None:
    try:
        stack = solve(tmp_path, *packages, gpu=gpu, cuda=cuda, cudnn=cudnn, python_version=python, host=host)
    except StackError as refused:
        said = [str(problem) for problem in refused.problems]
        assert all(problem.message and problem.key for problem in refused.problems)
    else:
        said = [*stack.reasons, *stack.warnings]
        repository, _, tag = stack.base_image.partition(":")
        assert repository in ("python", "debian") or tag in {image.tag for image in load_tables().images}
    assert not any("None" in text or "frozenset" in text for text in said)


# --- Pythons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("python", "torch"),
    [("3.8", "2.4.1"), ("3.9", "2.8.0"), ("3.10", None), ("3.13", None), ("3.13t", "2.12.0"), ("3.14t", "2.15.0")],
)
def test_every_python_gets_the_newest_torch_that_it_has(tmp_path: Path, python: str, torch: str | None) -> None:
    stack = solve(tmp_path, "torch", python_version=python)

    assert stack.torch is not None
    assert stack.torch.version == (torch or stack.torch.version)
    assert stack.has_python is not python.endswith("t")  # there is no official image of a free-threaded one


def test_package_without_a_free_threaded_wheel_says_so(tmp_path: Path) -> None:
    said = refusal(tmp_path, "vllm==0.33.0", python_version="3.14t")

    assert "no wheel for the free-threaded Python 3.14t" in said
    assert 'python_version: "3.12"' in said


# --- arm64 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        (["torch==2.9.1"], "Use torch>=2.11.0, or name another index's build: torch==2.9.1+cu130."),
        (["torch==2.10.0", "xformers==0.0.35"], "xformers 0.0.35 has no wheel for arm64"),
        (["onnxruntime-gpu==1.20.0"], "no wheel for arm64"),
        (["tensorflow==2.15.0"], "no wheel for Python 3.12 on arm64; it has 3.9, 3.10, 3.11"),
    ],
)
def test_what_arm64_lacks_is_named(tmp_path: Path, packages: list[str], expected: str) -> None:
    assert expected in refusal(tmp_path, *packages, platform="linux/arm64", python_version="3.12")


def test_arm64_takes_its_own_wheels_with_a_reason(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch==2.15.0", platform="linux/arm64")

    assert (stack.base_image, stack.cuda) == ("python:3.12-slim-bookworm", "13.2")
    assert any("Grace Hopper" in reason and "Jetson" in reason for reason in stack.reasons)


def test_arm64_without_a_gpu_takes_torch_from_pypi(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch==2.9.1", platform="linux/arm64", gpu=False)

    assert stack.torch is not None
    assert (stack.torch.version, stack.torch.index_url) == ("2.9.1", None)


def test_build_of_another_index_on_arm64_is_taken_with_a_warning(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch==2.9.1+cu126", platform="linux/arm64")

    assert any("for arm64 is not known" in warning for warning in stack.warnings)


@pytest.mark.parametrize(
    ("environ", "platform"),
    [({"DOCKER_DEFAULT_PLATFORM": "linux/arm64/v8"}, "linux/arm64/v8"), ({"DOCKER_DEFAULT_PLATFORM": ""}, None)],
)
def test_platform_is_what_the_engine_would_build(environ: dict[str, str], platform: str | None) -> None:
    own = "linux/arm64" if machine() in ("arm64", "aarch64") else "linux/amd64"

    assert default_platform(environ) == (platform or own)


def test_platform_that_has_no_wheels_is_refused() -> None:
    with pytest.raises(CogError, match="linux/riscv64"):
        default_platform({"DOCKER_DEFAULT_PLATFORM": "linux/riscv64"})


# --- the user's flavour -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packages", "keys", "image"),
    [
        (["torch==2.6.0"], {"cuda_flavor": "slim"}, r"python:3\.12-slim"),
        (["torch==2.6.0"], {"cuda_flavor": "base"}, r"nvidia/cuda:12\.4\.\d-base"),
        (["torch==2.6.0"], {"cuda_flavor": "runtime"}, r"nvidia/cuda:12\.4\.\d-runtime"),
        (["torch==2.6.0"], {"cuda_flavor": "cudnn-runtime"}, r"nvidia/cuda:12\.4\.\d-cudnn-runtime"),
        (["torch==2.6.0"], {"cuda_flavor": "devel"}, r"nvidia/cuda:12\.4\.\d-devel"),
        (["torch==2.6.0"], {"cuda_flavor": "devel", "cudnn": "9"}, r"nvidia/cuda:12\.\d\.\d-cudnn-devel"),
        (["tensorflow==2.15.0"], {"cuda_flavor": "devel", "python_version": "3.11"}, r"12\.2\.2-cudnn8-devel"),
        ([], {"cuda_flavor": "runtime", "cuda": "12.4"}, r"nvidia/cuda:12\.4\.1-runtime"),
        ([], {"cuda_flavor": "slim", "cuda": "12.4"}, r"python:3\.12-slim"),
    ],
)
def test_named_flavour_is_taken(tmp_path: Path, packages: list[str], keys: dict[str, str], image: str) -> None:
    stack = solve(tmp_path, *packages, **keys)

    assert re.search(image, stack.base_image)


@pytest.mark.parametrize(
    ("packages", "keys", "expected"),
    [
        (["tensorflow==2.15.0"], {"cuda_flavor": "slim", "python_version": "3.11"}, '"cudnn-runtime"'),
        (["tensorflow==2.15.0"], {"cuda_flavor": "runtime", "python_version": "3.11"}, '"cudnn-runtime"'),
        (["ctranslate2==4.8.5"], {"cuda_flavor": "base"}, '"runtime"'),
        (["torch==2.6.0", "deepspeed"], {"cuda_flavor": "cudnn-runtime"}, '"devel"'),
        (["torch==2.6.0"], {"cuda_flavor": "runtime", "cudnn": "9"}, "no cuDNN"),
    ],
)
def test_flavour_that_is_too_small_is_refused(
    tmp_path: Path, packages: list[str], keys: dict[str, str], expected: str
) -> None:
    said = refusal(tmp_path, *packages, **keys)

    assert "`build.cuda_flavor`" in said
    assert expected in said


@pytest.mark.parametrize(
    "keys",
    [
        {"gpu": False, "cuda_flavor": "devel"},
        {"cuda_flavor": "devel", "base_image": "nvidia/cuda:12.4.1-base-ubuntu22.04"},
    ],
)
def test_flavour_without_effect_is_said(tmp_path: Path, keys: dict[str, Any]) -> None:
    assert any("cuda_flavor" in warning for warning in solve(tmp_path, "torch==2.6.0", **keys).warnings)


# --- real projects ------------------------------------------------------------------------------------------------

MODELS = conftest.REPOSITORY / "tests" / "cli" / "models"

# The requirements files of those that have one, as far as they matter here.
FILES = {
    "pedroapfilho__acestep-trainer": f"--extra-index-url {CU}cu128\ntorch==2.10.0+cu128\ntorchvision==0.25.0+cu128\n",
    "replicate__cog-examples--resnet": "pillow==12.1.1\ntorch==2.8.0\ntorchvision==0.23.0\n",
    "replicate__cog-examples--z-image-turbo": "diffusers==0.36.0\ntorch==2.8.0\n",
    "replicate__cog-vllm": "numpy==1.26.4\n    # via scipy\n",
    "zsxkib__cog-bagel": "torch<=2.5.1\ntorchvision\naccelerate\n",
    "zsxkib__cog-google-embeddinggemma-300m": "torch>=2.0.0,<2.3.0\ntorchvision\ntorchaudio\n",
}

PROJECTS = {
    "Algolzw__daclip-uir": ("python:3.11-slim-bookworm", "2.0.1"),
    "Audio-AGI__AudioSep": ("python:3.11-slim-bookworm", "2.0.1"),
    "LAION-AI__ldm-finetune": ("python:3.8-slim-bookworm", "1.10.1"),
    "afiaka87__pyglide": ("python:3.8-slim-bookworm", "1.8.0"),
    "fofr__cog-face-to-sticker": ("python:3.10.6-slim-bullseye", "2.5.1+cu121"),
    "lucataco__cog-moondream2": ("nvidia/cuda:12.1.1-devel-ubuntu22.04", "2.1.0"),
    "lucataco__cog-sdxl": ("python:3.11-slim-bookworm", "2.0.1+cu118"),
    "lucataco__cog-sdxl-lcm": ("python:3.10-slim-bookworm", "2.0.1+cu118"),
    "pedroapfilho__acestep-trainer": ("python:3.11-slim-bookworm", "2.10.0+cu128"),
    "replicate__all-mpnet-base-v2": ("nvidia/cuda:11.7.1-devel-ubuntu22.04", "2.0.0"),
    "replicate__cog-e5-embeddings": ("python:3.9-slim-bookworm", "2.0.1"),
    "replicate__cog-examples--resnet": ("python:3.12-slim-bookworm", "2.8.0"),
    "replicate__cog-examples--z-image-turbo": ("python:3.13-slim-bookworm", "2.8.0"),
    "replicate__cog-flan-models": ("nvidia/cuda:11.7.1-devel-ubuntu22.04", "2.0.0"),
    "replicate__cog-llama-template": ("nvidia/cuda:11.8.0-base-ubuntu22.04", "2.1.0"),
    "replicate__cog-llama-template~2023-06": ("nvidia/cuda:11.7.1-devel-ubuntu22.04", "2.0.0"),
    "replicate__cog-sdxl": ("python:3.9-slim-bookworm", "2.0.1+cu118"),
    "replicate__cog-triton": ("python:3.10-slim-bookworm", None),
    "replicate__cog-triton--cog-trt-llm": ("python:3.10-slim-bookworm", None),
    "replicate__cog-triton--mock_cog_triton": ("python:3.10-slim-bookworm", None),
    "replicate__cog-vllm": ("nvidia/cuda:12.1.1-devel-ubuntu22.04", "2.3.1"),
    "xinntao__Real-ESRGAN": ("python:3.8-slim-bookworm", "1.7.1"),
    "xinntao__Real-ESRGAN~2022-06": ("python:3.8-slim-bookworm", "1.11.0"),
    "zsxkib__MMAudio": ("python:3.11-slim-bookworm", "2.15.0"),
    "zsxkib__cog-bagel": ("nvidia/cuda:12.4.1-devel-ubuntu22.04", "2.5.1"),
    "zsxkib__cog-google-embeddinggemma-300m": ("python:3.11-slim-bookworm", "2.2.2"),
    "zsxkib__segment-anything-2": ("python:3.9-slim-bookworm", "2.8.0"),
}


@pytest.mark.parametrize("name", PROJECTS)
def test_real_project_gets_the_smallest_image_that_works(name: str, tmp_path: Path) -> None:
    shutil.copy(MODELS / f"{name}.yaml", tmp_path / "cog.yaml")
    if name in FILES:
        (tmp_path / "requirements.txt").write_text(FILES[name])
    loaded = load_config(tmp_path / "cog.yaml")

    requirements = read_requirements(loaded.config.build, tmp_path, locate=loaded.locate)
    stack = resolve_stack(loaded.config.build, requirements, locate=loaded.locate)

    assert (stack.base_image, stack.torch.version if stack.torch else None) == PROJECTS[name]


# --- the tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", load_tables().torch, ids=lambda release: str(release.version))
def test_every_torch_resolves_with_a_python_and_its_default_build(release: Any, tmp_path: Path) -> None:
    assert release.pythons and release.build_for(release.cuda) is not None

    stack = solve(tmp_path, f"torch=={release.version}")

    assert stack.cuda == release.cuda


@pytest.mark.parametrize("name", ["torchvision", "torchaudio"])
def test_every_companion_names_a_torch_of_the_table(name: str) -> None:
    tables = load_tables()
    for release in getattr(tables, name):
        assert release.pythons
        assert release.torch is None or any(release.torch.contains(row.version) for row in tables.torch)


def test_every_build_has_a_driver() -> None:
    tables = load_tables()
    old = {"9.2", "10.1", "10.2"}
    for release in tables.torch:
        assert {build.cuda for build in release.builds} - old <= set(tables.drivers)
        assert [build.cuda for build in release.builds] == sorted(
            (b.cuda for b in release.builds), key=lambda c: [*map(int, c.split("."))]
        )


@pytest.mark.parametrize("name", sorted(load_tables().packages))
def test_every_release_of_a_gpu_package_resolves_or_says_why(name: str, tmp_path: Path) -> None:
    for release in load_tables().packages[name].releases:
        try:
            stack = solve(tmp_path, f"{name}=={release.version}")
        except StackError as refused:
            assert all(problem.message for problem in refused.problems)
        else:
            assert stack.base_image


def test_every_image_has_a_driver_and_a_known_system() -> None:
    tables = load_tables()
    for image in tables.images:
        assert image.minor in tables.drivers
        assert re.fullmatch(r"ubuntu\d\d\.04", image.os)
        assert (image.cudnn_major is not None) == image.flavour.startswith("cudnn")
    assert {image.cuda for image in tables.images} >= set(tables.gates)


# --- two stages ------------------------------------------------------------------------------------------------------

FLASH = "flash-attn==2.7.4.post1"
DEVEL_12_4 = f"{REPOSITORY}:12.4.1-devel-ubuntu22.04"
BASE_12_4 = f"{REPOSITORY}:12.4.1-base-ubuntu22.04"


def test_what_only_compiles_leaves_the_compiler_out_of_the_final_image(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch==2.6.0", FLASH)

    assert (stack.base_image, stack.final_image) == (DEVEL_12_4, BASE_12_4)
    assert stack.compiled == ("flash-attn",)
    assert any("nvcc compiles flash-attn 2.7.4.post1 in a stage of its own" in reason for reason in stack.reasons)


@pytest.mark.parametrize(
    "package",
    [
        "deepspeed==0.15.4",
        "pycuda",
        "cupy==13.3.0",
        "git+https://github.com/NVlabs/nvdiffrast",
        "transformer-engine-torch",
    ],
)
def test_what_needs_nvcc_or_its_toolkit_when_it_runs_keeps_it(tmp_path: Path, package: str) -> None:
    stack = solve(tmp_path, "torch==2.6.0", package)

    assert "-devel-" in stack.base_image
    assert stack.final_image is None


def test_libraries_that_other_packages_load_stay_in_the_final_image(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch==2.6.0", FLASH, cudnn="9")

    assert stack.base_image == f"{REPOSITORY}:12.4.1-cudnn-devel-ubuntu22.04"
    assert stack.final_image == f"{REPOSITORY}:12.4.1-cudnn-runtime-ubuntu22.04"


def test_llama_gets_the_libraries_it_was_linked_with(tmp_path: Path) -> None:
    stack = solve(tmp_path, "llama-cpp-python==0.3.2", cuda="12.4")

    assert (stack.base_image, stack.final_image) == (DEVEL_12_4, f"{REPOSITORY}:12.4.1-runtime-ubuntu22.04")
    assert stack.compiled == ()


@pytest.mark.parametrize(
    ("run", "count"),
    [
        (["pip install flash-attn"], 1),
        (["MAX_JOBS=4 python3 -m pip install flash-attn --no-build-isolation && pip install numpy"], 1),
        (["pip install ninja", "pip install flash-attn", "echo model > /etc/model"], 2),
        (["apt-get install -y file", "pip install flash-attn"], None),
        (["cd /opt && pip install flash-attn"], None),
        (["pip install flash-attn > /log"], None),
        (["pip install -e git+https://github.com/Dao-AILab/flash-attention#egg=flash-attn"], None),
        (["pip install flash-attn --target=/opt/other"], None),
        (["pip install flash-attn $(cat list)"], None),
        (["nvcc --version", "pip install flash-attn"], None),
    ],
)
def test_commands_that_may_change_more_than_python_keep_one_stage(
    tmp_path: Path, run: list[str], count: int | None
) -> None:
    stack = solve(tmp_path, "torch==2.6.0", run=run)

    assert stack.base_image == DEVEL_12_4
    assert (stack.final_image, stack.compile_run_count) == ((BASE_12_4, count) if count else (None, 0))


def test_commands_before_the_packages_keep_one_stage_and_it_says_so(tmp_path: Path) -> None:
    stack = solve(tmp_path, "torch==2.6.0", FLASH, pre_install=["echo first"])

    assert stack.final_image is None
    assert stack.compiled == ("flash-attn",)
    assert any("`build.pre_install` may change more than Python's packages" in reason for reason in stack.reasons)


def test_final_image_has_the_system_and_cuda_of_the_one_that_compiles() -> None:
    tables = load_tables()
    tags = {image.tag: image for image in tables.images}

    for case in CASES:
        if not case["id"].startswith("fa-"):
            continue
        stack = resolve_stack(Build(**case["build"]), read_requirements(Build(**case["build"]), Path("/tmp")))
        assert stack.final_image is not None
        devel, final = (tags[name.partition(":")[2]] for name in (stack.base_image, stack.final_image))
        assert (devel.cuda, devel.os) == (final.cuda, final.os)


@pytest.mark.parametrize(
    ("packages", "needs"),
    [
        (["torch==2.6.0"], ("12.4", "525.60.13", "torch 2.6.0")),
        (["torch==2.6.0", "onnxruntime-gpu==1.20.0"], ("12.4", "525.60.13", "torch 2.6.0")),
        (["numpy"], None),
    ],
)
def test_what_the_machine_must_have_is_known(
    tmp_path: Path, packages: list[str], needs: tuple[str, str, str] | None
) -> None:
    found = solve(tmp_path, *packages).gpu_needs

    assert (found and (found.cuda, found.driver, found.package)) == needs
    assert found is None or "sm_90" in found.sm
