"""`Lock`: what cog.lock holds: everything a build is made of, with digests, and digests of what it was made from."""

from __future__ import annotations

import hashlib
import json
import posixpath
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cog.version import __version__
from cog_cli.compat.stack import BaseImage, Stack
from cog_cli.console import console
from cog_cli.errors import CogError
from cog_cli.project import Project, Resolved
from cog_cli.requirements.packages import Requirements, read_requirements

LOCK_NAME = "cog.lock"
LOCK_VERSION = 1
_MAX_BYTES = 16 * 1024 * 1024
_RENEW = "`cog lock` writes it anew."
_NONE = "none"


@dataclass(frozen=True)
class LockedPackage:
    """A line for the installer (`numpy==2.3.4`, `x @ https://...`) and the hashes its file may have."""

    line: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.line, *(f"--hash={each}" for each in self.hashes)))


@dataclass(frozen=True)
class Lock:
    """`inputs` are digests by the name of what was read: a key of `build` in cog.yaml, or a file of the project.

    `options` are lines about the installer (`--only-binary`), `unhashed` the packages that have no hash: a git commit,
    or a folder of the project, whose digest is among the inputs.
    """

    platform: str
    inputs: dict[str, str]
    images: tuple[BaseImage, ...]
    stack: Stack
    options: tuple[str, ...] = ()
    packages: tuple[LockedPackage, ...] = ()
    unhashed: tuple[str, ...] = ()
    cog: str = __version__
    version: int = LOCK_VERSION

    def to_text(self) -> str:
        """JSON, sorted, a value a line: the same lock is the same bytes, and a difference is a readable one."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_lock(project: Project) -> Lock:
    """The lock beside the project's config. Raises CogError if it is missing or damaged."""
    path = project.root / LOCK_NAME
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CogError(f"{LOCK_NAME} is larger than {_MAX_BYTES >> 20} MiB", hint=_RENEW)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CogError(f"there is no {LOCK_NAME} in {project.root}", hint="`cog lock` writes one.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CogError(f"{LOCK_NAME} cannot be read: {error}", hint=_RENEW) from error
    try:
        document = json.loads(text)
        version = document.get("version") if isinstance(document, dict) else None
        if version != LOCK_VERSION:
            raise CogError(f"{LOCK_NAME} is of version {version!r}, this cog reads {LOCK_VERSION}", hint=_RENEW)
        return TypeAdapter(Lock).validate_python(document)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise CogError(f"{LOCK_NAME} is damaged at `{where}`: {error.errors()[0]['msg']}", hint=_RENEW) from error
    except ValueError as error:
        raise CogError(f"{LOCK_NAME} is not JSON: {error}", hint=_RENEW) from error


def inputs_of(project: Project, requirements: Requirements) -> dict[str, str]:
    """Digests of everything that decides what gets built, less the model's own source.

    Keys of `build`, not the file: a comment, or another predictor, asks for no new lock.
    """
    build = project.config.build.model_dump(mode="json", exclude_defaults=True)
    found = {f"build.{key}": _digest(json.dumps(value, sort_keys=True).encode()) for key, value in build.items()}
    for file in requirements.files:
        path = project.root / file.path
        each = [inner for inner in sorted(path.rglob("*")) if _counts(inner)] if path.is_dir() else [path]
        lines = [f"{inner.relative_to(project.root).as_posix()} {_digest(inner.read_bytes())}\n" for inner in each]
        found[file.path] = _digest("".join(lines).encode())
    return found


def _counts(path: Path) -> bool:
    return path.is_file() and not {"__pycache__", ".git"} & set(path.parts)


def resolve_locked(project: Project, lock: Lock, *, platform: str) -> Resolved:
    """What the lock says a build is made of. Raises CogError if the project has moved on since."""
    if platform != lock.platform:
        raise CogError(
            f"{LOCK_NAME} is for {lock.platform}, not {platform}", hint=f"`cog lock --platform {platform}` makes one."
        )
    requirements = read_requirements(project.config.build, project.root, locate=project.locate)
    now = inputs_of(project, requirements)
    moved = [name for name in sorted({*now, *lock.inputs}) if now.get(name, _NONE) != lock.inputs.get(name, _NONE)]
    if moved:
        names = ", ".join(f"`{name}`" if name.startswith("build.") else name for name in moved)
        message = f"{LOCK_NAME} is out of date: {names} changed since it was written"
        raise CogError(message, hint="`cog lock` brings it up to date; then look at its difference.")
    if lock.cog != __version__:
        console.warn(f"{LOCK_NAME} was written by cog {lock.cog}; this is {__version__}, and its server goes in")
    lines = (
        *lock.options,
        *_index_lines(requirements),
        *(str(package) for package in lock.packages),
        *lock.unhashed,
    )
    images = {image.name: image.reference for image in lock.images}
    stack = replace(
        lock.stack,
        base_image=images.get(lock.stack.base_image, lock.stack.base_image),
        final_image=images.get(lock.stack.final_image or "", lock.stack.final_image),
        packages=lines if lock.packages or lock.unhashed else (),
        constraints=(),
        # Every package is in the lock. uv checks the hashes of those that have one by itself.
        install_args=(*lock.stack.install_args, "--no-deps", *(() if lock.unhashed else ("--require-hashes",))),
    )
    return Resolved(replace(requirements, source=None, lines=lines), stack, lock.images)


def _index_lines(requirements: Requirements) -> list[str]:
    """The user's indexes, as lines of the file: an argument would stay in the image's history, credentials and all."""
    options = requirements.options
    lines = [f"--index-url {options.index_url}"] if options.index_url else []
    lines += ["--no-index"] if options.has_no_index else []
    lines += [f"--extra-index-url {url}" for url in options.extra_index_urls]
    staged = {file.path for file in requirements.files}
    folder = posixpath.dirname(requirements.source or "")
    for link in options.find_links:
        is_url = "://" in link
        path = posixpath.normpath(link.removeprefix("file:"))
        lines.append(f"--find-links {link if is_url or path in staged else posixpath.join(folder, path)}")
    return lines


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
