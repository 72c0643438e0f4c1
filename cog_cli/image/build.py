"""`order_build`: everything about a build that is known before an engine is asked for anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cog.schema.spec import PredictorSpec
from cog_cli.compat.drivers import Host
from cog_cli.console import console
from cog_cli.errors import UsageError
from cog_cli.image.lock_file import read_lock, resolve_locked
from cog_cli.project import Project, Resolved, default_platform, read_spec, resolve


@dataclass(frozen=True)
class Secret:
    """A build secret: a file, or an environment variable's value."""

    id: str
    file: Path | None = None
    variable: str | None = None


@dataclass(frozen=True)
class BuildOptions:
    """What the command line says about a build. `on_text` takes the progress, in pieces."""

    tag: str | None = None
    platform: str | None = None
    no_cache: bool = False
    progress: str = "auto"
    secrets: tuple[Secret, ...] = ()
    ca_cert: str | None = None
    image_ca: bool = False
    base_image: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    host: Host | None = None
    is_offline: bool = False
    is_locked: bool = False


@dataclass(frozen=True)
class BuildOrder:
    """One build: the project, what it was resolved to, and its specs if the source tells them.

    `train_spec` is None too when the project has no `train`.
    """

    project: Project
    resolved: Resolved
    spec: PredictorSpec | None
    train_spec: PredictorSpec | None
    name: str
    options: BuildOptions


def order_build(project: Project, options: BuildOptions) -> BuildOrder:
    """Resolve the project's versions and read its signature.

    Whatever is wrong with the project is said here. Raises CogError; warnings go to the console.
    """
    for warning in project.warnings:
        console.warn(warning)
    resolved = resolve_for(project, options)
    for warning in resolved.stack.warnings:
        console.warn(warning)
    # `cog exec` needs an environment, not a predictor.
    spec = read_spec(project) if project.config.predict else None
    train_spec = read_spec(project, mode="train") if project.config.train else None
    return BuildOrder(project, resolved, spec, train_spec, options.tag or project.image_name, options)


def resolve_for(project: Project, options: BuildOptions) -> Resolved:
    """What the project comes to: as its lock says, if that is asked for. Raises CogError."""
    if options.is_locked and options.base_image is not None:
        raise UsageError("--base-image and --locked exclude each other: cog.lock names the base image")
    if options.is_locked:
        return resolve_locked(project, read_lock(project), platform=options.platform or default_platform())
    return resolve(
        project,
        platform=options.platform,
        base_image=options.base_image,
        host=options.host,
        is_offline=options.is_offline,
    )
