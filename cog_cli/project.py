"""`Project`: the folder the user stands in, with its cog.yaml read, and what that comes to."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from platform import machine

from cog.schema.spec import PredictorSpec, SignatureError
from cog_cli.compat.drivers import Host
from cog_cli.compat.index import live_tables
from cog_cli.compat.solver import resolve_stack
from cog_cli.compat.stack import BaseImage, Stack
from cog_cli.compat.tables import load_tables
from cog_cli.config import Config, Locate, find_config, load_config
from cog_cli.console import console
from cog_cli.errors import CogError, ConfigError, Problem
from cog_cli.requirements.packages import Requirements, read_requirements
from cog_cli.source import Partial, Undecidable, read_partly

_MAX_NAME = 30
_DIGEST_CHARS = 8


@dataclass(frozen=True)
class Project:
    """A project on disk. `warnings` are what its author should know about the file."""

    root: Path
    config_name: str
    config: Config
    warnings: tuple[str, ...]
    locate: Locate

    @property
    def image_name(self) -> str:
        """The image's name when none is given: `image` of cog.yaml, or `cog-` and the folder's name.

        Where that name cannot be an image's, it ends with a hash of it: other folders have other names.
        """
        if self.config.image:
            return self.config.image
        given = self.root.name
        kept = re.sub(r"[^a-z0-9._-]", "", given.lower().replace(" ", "-"))
        name = "-".join(re.findall(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", kept[:_MAX_NAME]))
        if name != given.lower().replace(" ", "-"):
            digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST_CHARS]
            name = f"{name}-{digest}" if name else digest
        return name if name.startswith("cog-") else f"cog-{name}"


@dataclass(frozen=True)
class Resolved:
    """What a project comes to: its packages and the versions of everything.

    `images` are what a lock says of the images to build on; empty without one.
    """

    requirements: Requirements
    stack: Stack
    images: tuple[BaseImage, ...] = ()


def load_project(file: str | None = None, *, predict_is_required: bool = True) -> Project:
    """Read the project around the current folder; `file` is another config's path. Raises ConfigError."""
    given = Path(file) if file else None
    path = given if given is not None and (given.parent != Path() or given.exists()) else None
    if path is None:
        path = find_config(Path.cwd(), name=file or "cog.yaml")
    loaded = load_config(path, predict_is_required=predict_is_required)
    root = path.absolute().parent
    return Project(root, path.name, loaded.config, loaded.warnings, loaded.locate)


def resolve(
    project: Project,
    *,
    platform: str | None = None,
    base_image: str | None = None,
    host: Host | None = None,
    is_offline: bool = False,
) -> Resolved:
    """Find the versions for a project. Raises ConfigError or StackError with every problem.

    Without a `platform` it is the one that the engine builds by itself: nothing is emulated unless it was asked for.
    `host` is the machine that will run it, where it is known. A package index is asked about GPU packages that the
    tables do not answer for, unless `is_offline`.
    """
    build = project.config.build
    if base_image is not None:
        build = build.model_copy(update={"base_image": base_image})
    requirements = read_requirements(build, project.root, locate=project.locate)
    platform = platform or default_platform()
    tables = load_tables()
    if not is_offline:
        tables = live_tables(build, requirements, platform=platform, tables=tables)
    stack = resolve_stack(build, requirements, tables=tables, host=host, platform=platform, locate=project.locate)
    return Resolved(requirements, stack)


def default_platform(environ: Mapping[str, str] = os.environ) -> str:
    """What the engine builds when nothing is asked: DOCKER_DEFAULT_PLATFORM, or this machine's own architecture."""
    named = environ.get("DOCKER_DEFAULT_PLATFORM")
    if not named:
        return "linux/arm64" if machine().lower() in ("arm64", "aarch64") else "linux/amd64"
    if not re.fullmatch(r"linux/(amd64|arm64)(/v\d+)?", named):
        raise CogError(f"DOCKER_DEFAULT_PLATFORM is {named!r}, which is not linux/amd64 or linux/arm64")
    return named


def read_spec(project: Project, *, mode: str = "predict") -> PredictorSpec | None:
    """The predictor's spec from its source; None if only running it can tell all of it.

    Raises ConfigError, with every problem, if the signature cannot be an API.
    """
    try:
        partial = _read_partly(project, mode)
    except Undecidable:
        return None
    return None if partial.gaps else partial.spec


def require_spec(project: Project, *, mode: str = "predict") -> PredictorSpec:
    """The spec from the source, where a build is out of the question. A warning tells the words that are left out.

    Raises ConfigError as `read_spec` does, and CogError that says what hides the signature.
    """
    reference = _reference(project, mode)
    try:
        partial = _read_partly(project, mode)
    except Undecidable as error:
        raise CogError(
            f"the signature can be known only by running the model:\n{_as_problem(error, reference)}",
            hint="`cog build` runs it, and the image carries the schema.",
        ) from error
    for gap in partial.gaps:
        problem = _as_problem(gap.error, reference)
        console.warn(f"{problem.where}: the {gap.word} of `{gap.parameter}` is left out: it {problem.message}")
    return partial.spec


def _read_partly(project: Project, mode: str) -> Partial:
    reference = _reference(project, mode)
    try:
        return read_partly(reference, project.root, mode=mode)
    except Undecidable:
        raise
    except SignatureError as error:
        raise ConfigError([_as_problem(each, reference) for each in (error, *error.others)]) from error


def _reference(project: Project, mode: str) -> str:
    reference = project.config.train if mode == "train" else project.config.predict
    if reference is None:
        raise CogError(f"cog.yaml has no `{mode}`", hint=f'Add e.g. `{mode}: "predict.py:Predictor"`.')
    return reference


def push_name(project: Project, given: str | None) -> str:
    """The name to push as: the one given, or `image` of cog.yaml. Raises CogError without either."""
    name = given or project.config.image
    if name is None:
        raise CogError("no name to push as", hint="`cog push registry.example.com/me/model`, or `image:` in cog.yaml.")
    return name


def _as_problem(error: SignatureError, reference: str) -> Problem:
    where = error.file or reference.partition(":")[0]
    for number in (error.line, error.column):
        if number is None:
            break
        where += f":{number}"
    return Problem(where, error.name, error.message, error.hint)
