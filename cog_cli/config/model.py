"""`Config`: what a cog.yaml asks for, as frozen values that need no further checks.

Each value has passed its grammar (see `grammar`), also when a Config is made in code.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)

from cog_cli.config import grammar
from cog_cli.config.grammar import GrammarError


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


def _empty_for_nothing(value: object) -> object:
    """`run:` with every entry commented out is null for YAML and an empty list for its author."""
    return () if value is None else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _as_run_item(value: object) -> object:
    return {"command": value} if isinstance(value, str) else value


def _split_packages(entries: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for entry in entries for name in entry.split())


def _raise_first(errors: list[GrammarError]) -> None:
    if errors:
        raise errors[0]


def _unique_variables(variables: tuple[str, ...]) -> tuple[str, ...]:
    _raise_first(grammar.find_repeated_variables(variables))
    return variables


def _unique_mounts(mounts: tuple[SecretMount, ...]) -> tuple[SecretMount, ...]:
    _raise_first(grammar.find_repeated_targets([mount.target for mount in mounts], may_nest=True))
    return mounts


def _unique_weights(weights: tuple[Weight, ...]) -> tuple[Weight, ...]:
    _raise_first(grammar.find_repeated_names([weight.name for weight in weights]))
    _raise_first(grammar.find_repeated_targets([weight.target for weight in weights], may_nest=False))
    return weights


_Bool = Annotated[bool, Strict()]
_Text = Annotated[str, Strict()]
_Null = BeforeValidator(_empty_for_nothing)
_PythonVersion = Annotated[_Text, AfterValidator(grammar.check_python_version), _pattern(grammar.PYTHON_VERSION)]
_CudaVersion = Annotated[_Text, AfterValidator(grammar.check_cuda), _pattern(grammar.CUDA_VERSION)]
_CudnnVersion = Annotated[_Text, AfterValidator(grammar.check_cudnn), _pattern(grammar.CUDNN_VERSION)]
_CudaFlavor = Annotated[
    _Text,
    AfterValidator(grammar.check_cuda_flavor),
    WithJsonSchema({"type": "string", "enum": list(grammar.CUDA_FLAVORS)}),
]
_ProjectPath = Annotated[_Text, AfterValidator(grammar.check_project_path)]
_SystemPackage = Annotated[_Text, AfterValidator(grammar.check_system_packages)]
_PythonPackage = Annotated[_Text, AfterValidator(grammar.check_python_package)]
_Workers = Annotated[
    int | Literal["per_gpu"],
    BeforeValidator(grammar.check_workers),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": grammar.MAX_WORKERS}, {"const": "per_gpu"}]}
    ),
]
_Glob = Annotated[_Text, AfterValidator(grammar.check_glob)]


class SecretMount(_Value):
    """A build secret that one command sees as a file; it is in no layer."""

    type: Literal["secret"] = "secret"
    """The kind of mount; `secret` is the only one."""
    id: Annotated[_Text, AfterValidator(grammar.check_secret_id), _pattern(grammar.SECRET_ID)]
    """The id given to `cog build --secret id=ID,src=FILE`."""
    target: Annotated[_Text, AfterValidator(grammar.check_mount_target), _pattern(grammar.MOUNT_TARGET)]
    """Where the command finds the secret, e.g. /root/.netrc."""


class RunItem(_Value):
    """A shell command of the build; a plain string in the file is one without mounts."""

    command: Annotated[_Text, AfterValidator(grammar.check_command)]
    """What to run; several lines with a `|` block."""
    mounts: Annotated[tuple[SecretMount, ...], AfterValidator(_unique_mounts), _Null] = ()
    """The secrets this command needs."""


_RunItem = Annotated[RunItem, BeforeValidator(_as_run_item, json_schema_input_type=str | RunItem)]


class Build(_Value):
    """How the image is made."""

    gpu: _Bool = False
    """Whether the model needs a GPU; CUDA and cuDNN then follow from the packages."""
    cuda: _CudaVersion | None = None
    """CUDA version, e.g. "12.4". Left out, the one that fits torch or tensorflow is chosen."""
    cudnn: _CudnnVersion | None = None
    """cuDNN version, e.g. "9". Left out, the one that fits is chosen."""
    cuda_flavor: _CudaFlavor = "auto"
    """How much of CUDA is in the image: slim has none. auto takes the smallest that the packages work in."""
    python_version: _PythonVersion | None = None
    """Python version in quotes, e.g. "3.12" or "3.12.4"; "3.13t" is the free-threaded build."""
    python_packages: Annotated[tuple[_PythonPackage, ...], _Null] = ()
    """Lines for the installer, as in a requirements file; excludes python_requirements."""
    python_requirements: _ProjectPath | None = None
    """Path of a requirements file; excludes python_packages."""
    system_packages: Annotated[tuple[_SystemPackage, ...], AfterValidator(_split_packages), _Null] = ()
    """Debian packages, installed with apt: name, name=version, name:arch."""
    run: Annotated[tuple[_RunItem, ...], _Null] = ()
    """Commands that run after the packages are installed and before the source is copied."""
    pre_install: Annotated[tuple[_RunItem, ...], _Null] = ()
    """Deprecated: commands that run before the Python packages are installed."""
    base_image: Annotated[_Text, AfterValidator(grammar.check_reference)] | None = None
    """An image to build on instead of the one that cog chooses."""


class Concurrency(_Value):
    """How many predictions run at once: at least one of the two."""

    max: Annotated[int, Strict(), Field(ge=1, le=grammar.MAX_CONCURRENCY)] | None = None
    """Predictions at once in each worker; above 1 needs an async predict()."""
    workers: _Workers | None = None
    """Processes with the model, which share the GPUs; per_gpu is one for each GPU. One without it."""

    @model_validator(mode="after")
    def _check_some(self) -> Concurrency:
        if self.max is None and self.workers is None:
            raise GrammarError("required, unless there is `workers`", "Write max: ... or workers: ...", below=("max",))
        return self


class WeightSource(_Value):
    """Where weights come from."""

    uri: Annotated[_Text, AfterValidator(grammar.check_weight_uri)]
    """hf://owner/name, https://..., file://... or a path."""
    include: Annotated[tuple[_Glob, ...], _Null] = ()
    """Patterns of the files to take; all without one."""
    exclude: Annotated[tuple[_Glob, ...], _Null] = ()
    """Patterns of the files to leave out."""


class Weight(_Value):
    """A set of weight files, kept apart from the image (experimental)."""

    name: Annotated[_Text, AfterValidator(grammar.check_weight_name), _pattern(grammar.WEIGHT_NAME)]
    """Its name, unique in the file."""
    target: Annotated[_Text, AfterValidator(grammar.check_weight_target)]
    """The folder in the image where they appear."""
    source: Annotated[
        tuple[WeightSource, ...],
        Field(min_length=1),
        BeforeValidator(_as_list, json_schema_input_type=WeightSource | list[WeightSource]),
    ]
    """One source or several."""


class Config(_Value):
    """A cog.yaml."""

    build: Build = Build()
    """How the image is made."""
    image: Annotated[_Text, AfterValidator(grammar.check_image)] | None = None
    """What the image is called, e.g. registry.example.com/me/my-model."""
    predict: Annotated[_Text, AfterValidator(grammar.check_predict)] | None = None
    """Where the predictor is: file.py:ClassName (or a function's name)."""
    train: Annotated[_Text, AfterValidator(grammar.check_train)] | None = None
    """Where the training function is: file.py:name."""
    concurrency: Concurrency | None = None
    """How many predictions run at once, and in how many processes; one without it."""
    environment: Annotated[
        tuple[Annotated[_Text, AfterValidator(grammar.check_variable)], ...], AfterValidator(_unique_variables), _Null
    ] = ()
    """Variables set in the image, each NAME=value. Not for secrets: anyone with the image reads them."""
    weights: Annotated[tuple[Weight, ...], AfterValidator(_unique_weights), _Null] = ()
    """Weight files kept apart from the image (experimental)."""
