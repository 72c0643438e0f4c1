"""`stage_context`: the files a build reads, laid out in a folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cog_cli.errors import CogError
from cog_cli.image.dockerfile import render
from cog_cli.image.dockerignore import Ignore
from cog_cli.image.plan import BuildPlan, Install
from cog_cli.requirements.packages import Requirements

LARGE_CONTEXT_BYTES = 1 << 30

# First, so that a line of the user's own .dockerignore can bring any of them back.
_IGNORED = (
    ".cog",
    ".git",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "**/.DS_Store",
    "**/__pycache__",
    "**/*.pyc",
)

_APT_KEEP_DOWNLOADS = 'APT::Keep-Downloaded-Packages "true";\n'
_APT_CA = 'Acquire::https::CaInfo "/run/secrets/cog-ca";\n'
# Beside the source in the image, where the existing Cog has it too.
_SCHEMA = "schema/openapi_schema.json"
_WGET_CA = "ca_certificate = /run/secrets/cog-ca\n"


@dataclass(frozen=True)
class StagedContext:
    """What `docker buildx build` is given: `--file dockerfile --build-context cog=cog_context project`.

    `project_bytes` is the size of what is sent of the project; `warnings` are lines for the user.
    """

    dockerfile: Path
    cog_context: Path
    project: Path
    project_bytes: int
    warnings: tuple[str, ...]


def stage_context(plan: BuildPlan, requirements: Requirements, project: Path, folder: Path) -> StagedContext:
    """Write everything the Dockerfile of `plan` reads, except the project itself, into the empty `folder`.

    Contents and permissions depend on the arguments and the installed version of cog only. Time stamps are left as
    they are, that is new: BuildKit keys no layer by them, but takes a file of the same size and time for unchanged.
    Raises CogError for a file of the project that cannot be read.
    """
    ignore_lines = _ignore_lines(project)
    ignore = Ignore(ignore_lines)
    project_bytes, warnings = _survey(project, ignore)
    cog_context = folder / "cog"
    _write(folder / "Dockerfile", render(plan))
    _write(folder / "Dockerfile.dockerignore", "".join(f"{line}\n" for line in ignore_lines))
    _write(cog_context / "apt" / "keep-downloads", _APT_KEEP_DOWNLOADS)
    _write(cog_context / "ca" / "apt.conf", _APT_CA)
    _write(cog_context / "ca" / "wgetrc", _WGET_CA)
    server = package_folder("cog_server")
    _write(cog_context / "server" / "requirements.lock", (server / "requirements.lock").read_text())
    _copy_package(server, cog_context / "lib" / "server" / "cog_server")
    _copy_package(package_folder("cog"), cog_context / "lib" / "model" / "cog")
    (cog_context / _SCHEMA).parent.mkdir()
    if plan.install is not None:
        _stage_requirements(plan.install, requirements, project, ignore, cog_context / "requirements")
    if plan.config_file:
        _copy_file(project / plan.config_file, cog_context / "cog.yaml")
    for each in (path for path in folder.rglob("*") if path.is_dir()):
        each.chmod(0o755)
    return StagedContext(folder / "Dockerfile", cog_context, project, project_bytes, warnings)


def stage_schema(document: str, cog_context: Path) -> None:
    """Write the OpenAPI document that goes into the image as `.cog/openapi_schema.json`."""
    _write(cog_context / _SCHEMA, document)


def stage_requirements(install: Install, requirements: Requirements, project: Path, folder: Path) -> None:
    """Write what the installer reads into the new `folder`, paths as they are in the project."""
    _stage_requirements(install, requirements, project, Ignore(_ignore_lines(project)), folder)


def package_folder(name: str) -> Path:
    """The folder of a package of this distribution, which is not imported."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise CogError(f"this installation of cog is incomplete: {name} is missing", hint="Install cog again.")
    return Path(next(iter(spec.submodule_search_locations)))


def _ignore_lines(project: Path) -> list[str]:
    """The lines of the .dockerignore that the build goes by."""
    lines = list(_IGNORED)
    # A virtual environment by any other name: gigabytes that would not even run in the image.
    lines += sorted(re.sub(r"([*?\[\\])", r"\\\1", config.parent.name) for config in project.glob("*/pyvenv.cfg"))
    try:
        lines += (project / ".dockerignore").read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise CogError(f".dockerignore cannot be read: {error}", hint="Correct it, or remove it.") from error
    return lines


def _survey(project: Path, ignore: Ignore) -> tuple[int, tuple[str, ...]]:
    """The bytes of the project that the build will read, and what is odd about them."""
    total = 0
    largest = (0, "")
    warnings = []
    for path, entry in _walk(project, "", ignore):
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            total += status.st_size
            largest = max(largest, (status.st_size, path))
            if not os.access(entry.path, os.R_OK):
                raise _unreadable(path)
        elif stat.S_ISLNK(status.st_mode) and _leads_out(path, os.readlink(entry.path)):
            warnings.append(f"{path} is a symbolic link out of the project: it leads nowhere in the image")
    if total > LARGE_CONTEXT_BYTES:
        warnings.append(
            f"the project is {total / 1e9:.1f} GB, all of which goes into the image (largest: {largest[1]}, "
            f"{largest[0] / 1e9:.1f} GB); list what the model does not need in .dockerignore"
        )
    return total, tuple(warnings)


def _walk(folder: Path, prefix: str, ignore: Ignore) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files and links that are not ignored, with their paths from the project; links are not followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError as error:
        raise _unreadable(prefix.rstrip("/") or ".") from error
    for entry in entries:
        path = f"{prefix}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if not ignore.excludes_all_below(path):
                yield from _walk(folder / entry.name, f"{path}/", ignore)
        elif not ignore.excludes(path):
            yield path, entry


def _unreadable(path: str) -> CogError:
    return CogError(
        f"{path} cannot be read: permission denied",
        hint="Make it readable, or list it in .dockerignore if the model does not need it.",
    )


def _leads_out(path: str, target: str) -> bool:
    from_project = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return os.path.isabs(from_project) or from_project.split("/")[0] == ".."


def _stage_requirements(
    install: Install, requirements: Requirements, project: Path, ignore: Ignore, folder: Path
) -> None:
    folder.mkdir(parents=True)
    for file in requirements.files:
        if file.content is not None:
            _write_bytes(folder / file.path, file.content)
        elif file.is_folder:
            _stage_folder(file.path, project, ignore, folder)
        else:
            _copy_file(project / file.path, folder / file.path)
    for name, lines in install.written:
        _write(folder / name, "".join(f"{line}\n" for line in lines))


def _stage_folder(path: str, project: Path, ignore: Ignore, folder: Path) -> None:
    prefix = "" if path == "." else f"{path}/"
    for each, entry in _walk(project / path, prefix, ignore):
        if entry.is_file():
            _copy_file(Path(entry.path), folder / each)


def _copy_package(source: Path, target: Path) -> None:
    for path in _package_files(source):
        _copy_file(path, target / path.relative_to(source))


def _package_files(folder: Path) -> Iterable[Path]:
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("requirements.")
    )


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except PermissionError as error:
        raise _unreadable(source.name) from error
    # Only whether it is executable is the project's business; the rest is the umask of whoever checked it out.
    target.chmod(0o755 if source.stat().st_mode & 0o111 else 0o644)


def _write(path: Path, text: str) -> None:
    _write_bytes(path, text.encode())


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)
