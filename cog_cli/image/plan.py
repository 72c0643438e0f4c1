"""`make_plan`: what the image will contain, as plain values that a template can write down."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from packaging.version import Version

from cog_cli.compat.stack import Stack
from cog_cli.config import Config, RunItem
from cog_cli.requirements.packages import Requirements
from cog_cli.versions import SERVER_PYTHON, UV_IMAGE

CA_SECRET = "/run/secrets/cog-ca"
WORKDIR = "/src"
PORT = 5000

# Where the packages of the user lie while they are installed, and what a list written in cog.yaml is called there.
REQUIREMENTS_FOLDER = "/tmp/requirements"
PACKAGES_FILE = ".cog-packages.txt"
CONSTRAINTS_FILE = ".cog-constraints.txt"
COMPILED_FILE = ".cog-compiled.txt"

_OLDEST_SERVER_PYTHON = (3, 10)
_MANAGED_PYTHON = "/opt/python/current/bin/python3"
_IMAGE_CA = "/usr/local/share/ca-certificates/cog-ca.crt"
_CA_OPTIONS = "/run/cog-ca"
_CA_VARIABLES = (
    *("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"),
    *("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
)

# Programs that commands in public models take for granted, and Debian's package of each. The slim and CUDA base images
# have none of them.
_TOOLS = {
    "bzip2": "bzip2",
    "cmake": "cmake",
    "curl": "curl",
    "ffmpeg": "ffmpeg",
    "g++": "g++",
    "gcc": "gcc",
    "git": "git",
    "make": "make",
    "unzip": "unzip",
    "wget": "wget",
    "xz": "xz-utils",
    "zip": "zip",
}
_NEEDS_CERTIFICATES = frozenset({"curl", "git", "wget"})
# What the setup.py of torch extensions import beside torch. setuptools 81 has no pkg_resources any more, and torch
# before 2.1 finds `packaging` in it, which setuptools 70 took out.
_BUILD_TOOLS = {"ninja": "ninja", "packaging": "packaging", "psutil": "psutil", "wheel": "wheel"}
_SETUPTOOLS, _SETUPTOOLS_OF_OLD_TORCH = "setuptools<81", "setuptools<70"
# GPUs older than Volta are left out of what gets compiled: many extensions use instructions that those do not have.
_OLDEST_COMPILED_SM = 70

_PROGRAM = re.compile(r"(?:^|[\s;&|(`])(" + "|".join(map(re.escape, _TOOLS)) + r")(?=\s|$)")


@dataclass(frozen=True)
class PlanOptions:
    """What the command line adds to cog.yaml.

    `ca_cert`: the build is given a secret `cog-ca`, a complete bundle in PEM (the company's certificates and the public
    ones: programs that are pointed to it look nowhere else); every step that uses the network trusts it.
    `image_ca_sha256`: its SHA-256 in hex, to put it into the image for good; None to leave no trace of it.
    `config_name`: the config's file name in the project; in the image it is always cog.yaml.
    """

    ca_cert: bool = False
    image_ca_sha256: str | None = None
    uv_image: str = UV_IMAGE
    config_name: str = "cog.yaml"


@dataclass(frozen=True)
class PythonPlan:
    """An interpreter: `managed` is the version uv installs, None for the base image's own; `path` is what to call."""

    managed: str | None
    path: str


@dataclass(frozen=True)
class Step:
    """One command of the user, the values of its `--mount` options, and the key of cog.yaml it stands under."""

    key: str
    command: str
    mounts: tuple[str, ...]


@dataclass(frozen=True)
class Install:
    """How the user's packages get in.

    `written` are files to be written into the requirements folder: name and lines. `arguments` are those of
    `uv pip install` that any engine gives it there, call after call; `command` is all of them in an image.
    """

    key: str
    command: str
    arguments: tuple[tuple[str, ...], ...]
    written: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class CompilePlan:
    """A stage of its own for what only compiles: the image it stands on, and the user's commands that belong to it.

    Its Python, with everything installed, is copied into the image that runs the model.
    """

    image: str
    run: tuple[Step, ...]


@dataclass(frozen=True)
class BuildPlan:
    """Every value a Dockerfile of cog needs, and nothing else. Sequences are in the order in which they are written."""

    uv_image: str
    base_image: str
    base_key: str
    user: str | None
    build_variables: tuple[tuple[str, str], ...]
    base_environment: tuple[tuple[str, str], ...]
    network_mounts: tuple[str, ...]
    ca_secret: str
    image_ca_file: str
    image_ca_sha256: str | None
    server_python: PythonPlan
    model_python: PythonPlan
    apt_packages: tuple[str, ...]
    apt_notes: tuple[str, ...]
    apt_key: str | None
    apt_cache: str
    environment: tuple[tuple[str, str], ...]
    pre_install: tuple[Step, ...]
    compile: CompilePlan | None
    compile_variables: tuple[tuple[str, str], ...]
    install: Install | None
    run: tuple[Step, ...]
    settings: tuple[tuple[str, str], ...]
    port: int
    workdir: str
    config_file: str | None


def make_plan(config: Config, stack: Stack, requirements: Requirements, options: PlanOptions) -> BuildPlan:
    """Everything the image of this project will contain.

    Pure: the same arguments give the same plan. `config` must have passed its grammar, which is what makes names,
    references and mounts safe to write into a Dockerfile; commands and values of variables are quoted by `render`.
    """
    network_mounts = _network_mounts(options)
    model_python = _model_python(stack)
    apt_packages, apt_notes = _apt_packages(config, stack, requirements, model_python)
    base_image = stack.final_image or stack.base_image
    run = _steps("build.run", config.build.run, network_mounts)
    return BuildPlan(
        uv_image=options.uv_image,
        base_image=base_image,
        base_key=_base_key(config, stack),
        user="0" if stack.flavour == "custom" else None,
        build_variables=_build_variables(options),
        base_environment=_base_environment(config, options),
        network_mounts=network_mounts,
        ca_secret=CA_SECRET,
        image_ca_file=_IMAGE_CA,
        image_ca_sha256=options.image_ca_sha256,
        server_python=_server_python(stack, model_python),
        model_python=model_python,
        apt_packages=apt_packages,
        apt_notes=apt_notes,
        apt_key="build.system_packages" if config.build.system_packages else None,
        apt_cache=re.sub(r"[^a-z0-9]+", "-", base_image.lower()),
        environment=tuple(sorted(_pair(variable) for variable in config.environment)),
        pre_install=_steps("build.pre_install", config.build.pre_install, network_mounts),
        compile=CompilePlan(stack.base_image, run[: stack.compile_run_count]) if stack.final_image else None,
        compile_variables=_compile_variables(stack),
        install=_install(config, stack, requirements, model_python),
        run=run[stack.compile_run_count :],
        settings=_settings(config, stack, model_python),
        port=PORT,
        workdir=WORKDIR,
        config_file=options.config_name if options.config_name != "cog.yaml" else None,
    )


def _base_key(config: Config, stack: Stack) -> str:
    """The key of cog.yaml that an unknown base image is the fault of."""
    if stack.flavour == "custom":
        return "build.base_image"
    if config.build.cuda:
        return "build.cuda"
    return "build.gpu" if config.build.gpu else "build.python_version"


def _network_mounts(options: PlanOptions) -> tuple[str, ...]:
    if not options.ca_cert:
        return ()
    # apt and wget know no variable for a certificate, only for a file of options.
    return (
        f"type=secret,id=cog-ca,target={CA_SECRET},required=true",
        f"type=bind,from=cog,source=ca,target={_CA_OPTIONS}",
    )


def _build_variables(options: PlanOptions) -> tuple[tuple[str, str], ...]:
    variables = {
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "UV_CACHE_DIR": "/root/.cache/uv",
        "UV_LINK_MODE": "copy",
        "UV_NO_PROGRESS": "1",
    }
    if options.ca_cert:
        variables |= {"APT_CONFIG": f"{_CA_OPTIONS}/apt.conf", "WGETRC": f"{_CA_OPTIONS}/wgetrc"}
        variables |= dict.fromkeys(_CA_VARIABLES, CA_SECRET)
    return tuple(sorted(variables.items()))


def _base_environment(config: Config, options: PlanOptions) -> tuple[tuple[str, str], ...]:
    variables = {"PYTHONUNBUFFERED": "1"}
    if config.build.gpu:
        variables |= {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    if options.image_ca_sha256:
        variables |= dict.fromkeys(_CA_VARIABLES, _IMAGE_CA)
    return tuple(sorted(variables.items()))


def _model_python(stack: Stack) -> PythonPlan:
    if not stack.has_python:
        return PythonPlan(managed=stack.python, path=_MANAGED_PYTHON)
    # The official Python images have theirs here, whatever a system package may bring later. In the user's own base
    # image only the PATH knows (conda, a virtual environment, Debian's).
    return PythonPlan(managed=None, path="python3" if stack.flavour == "custom" else "/usr/local/bin/python3")


# docs/decisions/002-server-interpreter.md
def _server_python(stack: Stack, model_python: PythonPlan) -> PythonPlan:
    """The base image's interpreter if it is new enough; never the model's managed one, which models do not share."""
    major, minor = stack.python.removesuffix("t").split(".")[:2]
    is_usable = (int(major), int(minor)) >= _OLDEST_SERVER_PYTHON and not stack.python.endswith("t")
    if stack.has_python and is_usable:
        return model_python
    return PythonPlan(managed=SERVER_PYTHON, path=SERVER_PYTHON)


def _apt_packages(
    config: Config, stack: Stack, requirements: Requirements, model_python: PythonPlan
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What apt installs, and a line for each package that cog.yaml does not name itself."""
    added: dict[str, str] = {}
    if stack.needs_compiler:
        why = "packages compile small programs when the model runs"
        added |= {"gcc": why, "libc6-dev": why}
    if stack.final_image:
        added["libgomp1"] = "compiled packages use OpenMP, whose library comes with the compiler"
    if requirements.uses_git:
        added["git"] = "a Python package comes from a git repository"
    for key, items in (("build.pre_install", config.build.pre_install), ("build.run", config.build.run)):
        for tool in _programs(item.command for item in items):
            added.setdefault(_TOOLS[tool], f"{key} calls {tool}")
    if model_python.managed:
        added["ca-certificates"] = "Python's own downloads need it"
    elif tools := sorted(_NEEDS_CERTIFICATES & added.keys()):
        added["ca-certificates"] = f"{tools[0]} needs it"
    asked = set(config.build.system_packages)
    names = {re.split(r"[:=/]", package)[0] for package in asked}
    notes = tuple(f"{name}: {why}" for name, why in sorted(added.items()) if name not in names)
    return tuple(sorted(asked | {name for name in added if name not in names})), notes


def _programs(commands: Iterable[str]) -> set[str]:
    """Names of known programs that the commands seem to call. One too many costs a small package, no more."""
    text = "\n".join(commands)
    found = {match[1] for match in _PROGRAM.finditer(text)}
    return found | {"git"} if "git+" in text else found


def _steps(key: str, items: tuple[RunItem, ...], network_mounts: tuple[str, ...]) -> tuple[Step, ...]:
    # pip's downloads would otherwise stay in the layer: many models call pip in `run`.
    common = (*network_mounts, "type=cache,id=cog-pip,target=/root/.cache/pip")
    return tuple(
        Step(
            key=f"{key}[{number}]",
            command=item.command,
            mounts=common + tuple(f"type=secret,id={m.id},target={m.target},required=true" for m in item.mounts),
        )
        for number, item in enumerate(items)
    )


def _install(config: Config, stack: Stack, requirements: Requirements, model_python: PythonPlan) -> Install | None:
    if not stack.packages:
        return None
    source = requirements.source
    written = [] if source else [(PACKAGES_FILE, stack.packages)]
    arguments = (*stack.install_args, "-r", source or PACKAGES_FILE)
    if stack.constraints:
        written.append((CONSTRAINTS_FILE, stack.constraints))
        arguments += ("-c", CONSTRAINTS_FILE)
    calls: tuple[tuple[str, ...], ...] = (arguments,)
    if stack.compiled:
        # uv builds before it installs: what imports torch to be built has to wait until all the others are there.
        written.append((COMPILED_FILE, stack.compiled))
        shared = [word for name in stack.compiled for word in ("--no-build-isolation-package", name)]
        calls = (
            (*arguments, "--excludes", COMPILED_FILE, *build_tools(stack, requirements)),
            (*arguments, *shared),
        )
    key = "build.python_requirements" if source else "build.python_packages"
    command = [
        *("uv", "--no-config", "--directory", REQUIREMENTS_FOLDER, "pip", "install"),
        *("--python", model_python.path, "--break-system-packages", "--compile-bytecode", "--no-editable"),
    ]
    text = " && ".join(shlex.join([*command, *call]) for call in calls)
    return Install(key, text, calls, tuple(written))


def build_tools(stack: Stack, requirements: Requirements) -> tuple[str, ...]:
    """Lines for what `stack.compiled` is built with, less what the user asks for in another version."""
    if not stack.compiled:
        return ()
    torch = stack.torch.version if stack.torch else ""
    is_old = Version(torch) < Version("2.1") if torch else False
    tools = {**_BUILD_TOOLS, "setuptools": _SETUPTOOLS_OF_OLD_TORCH if is_old else _SETUPTOOLS}
    named = {entry.name for entry in requirements.entries}
    named |= {match[0].lower() for line in stack.packages if (match := re.match(r"[\w.-]+", line))}
    return tuple(line for name, line in sorted(tools.items()) if name not in named)


def _compile_variables(stack: Stack) -> tuple[tuple[str, str], ...]:
    """torch asks the GPU what to compile for, and a build sees none."""
    compiles = stack.final_image is not None or stack.compiled
    if not compiles or stack.gpu_needs is None or not (stack.gpu_needs.package or "").startswith("torch "):
        return ()
    names = (re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", sm) for sm in stack.gpu_needs.sm)
    known = [match for match in names if match and int(match[2] + match[3]) >= _OLDEST_COMPILED_SM]
    archs = [f"{match[2]}.{match[3]}{match[4]}{'+PTX' if match[1] == 'compute' else ''}" for match in known]
    return (("TORCH_CUDA_ARCH_LIST", " ".join(archs)),) if archs else ()


def _settings(config: Config, stack: Stack, model_python: PythonPlan) -> tuple[tuple[str, str], ...]:
    """What the server reads. None of it is known to an earlier layer, so an edit of cog.yaml here rebuilds nothing."""
    # Whoever runs the container starts another one: a server without a model helps nobody.
    settings = {"COG_EXIT_ON_DEFUNCT": "1", "COG_PYTHON": model_python.path}
    if config.predict:
        settings["COG_PREDICT"] = config.predict
    if config.train:
        settings["COG_TRAIN"] = config.train
    if stack.gpu_needs:
        needs = {name: value for name, value in asdict(stack.gpu_needs).items() if value}
        settings["COG_GPU_NEEDS"] = json.dumps(needs, separators=(",", ":"))
    settings.update(concurrency_settings(config))
    return tuple(sorted(settings.items()))


def concurrency_settings(config: Config) -> dict[str, str]:
    """What `concurrency` is called in the server's environment."""
    if config.concurrency is None:
        return {}
    settings = {"COG_MAX_CONCURRENCY": config.concurrency.max, "COG_WORKERS": config.concurrency.workers}
    return {name: str(value) for name, value in settings.items() if value is not None}


def _pair(variable: str) -> tuple[str, str]:
    name, _, value = variable.partition("=")
    return name, value
