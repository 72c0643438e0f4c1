"""`write_lock`: find out what a project comes to today, and write it down as cog.lock."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from packaging.version import Version

from cog_cli.compat.images import glibc_of
from cog_cli.compat.stack import BaseImage
from cog_cli.console import console
from cog_cli.errors import CogError
from cog_cli.image.certificates import read_ca_bundle
from cog_cli.image.context import stage_requirements
from cog_cli.image.lock_file import LOCK_NAME, Lock, LockedPackage, inputs_of
from cog_cli.image.plan import PlanOptions, build_tools, make_plan
from cog_cli.project import Project, Resolved, default_platform, resolve

_TOOLS_FILE = ".cog-build-tools.txt"
_COMPILE_S = 600
_SHOWN_LINES = 20
# The C libraries that uv knows a name for; the next older one is taken.
_MANYLINUX = ("2.17", "2.28", *(f"2.{minor}" for minor in range(31, 41)))


def write_lock(
    project: Project,
    *,
    platform: str | None,
    ca_cert: str | None,
    is_offline: bool,
    identify: Callable[[str], BaseImage],
) -> tuple[Path, Lock]:
    """Resolve the project, ask `identify` for its images and the index for its packages; replace cog.lock in one step.

    Raises CogError, and then leaves the old lock as it was.
    """
    platform = platform or default_platform()
    resolved = resolve(project, platform=platform, is_offline=is_offline)
    for warning in (*project.warnings, *resolved.stack.warnings):
        console.warn(warning)
    images = tuple(identify(name) for name in resolved.stack.images)
    for image in images:
        if image.digest is None:
            what = "only what this engine calls it is locked" if image.id else "it is locked by name only"
            console.warn(f"{image.name} has no digest that can be asked for here: {what}")
    with tempfile.TemporaryDirectory(prefix="cog-lock-") as name:
        options, packages, unhashed = _packages(project, resolved, platform, ca_cert, Path(name))
    for line in unhashed:
        console.warn(f"`{line}` has no hash: {_why_unhashed(line)}")
    stack = replace(resolved.stack, packages=())
    inputs = inputs_of(project, resolved.requirements)
    lock = Lock(platform, inputs, images, stack, tuple(options), tuple(packages), tuple(unhashed))
    path = project.root / LOCK_NAME
    _replace(path, lock.to_text())
    return path, lock


def _why_unhashed(line: str) -> str:
    if "git+" in line:
        return "its commit is locked instead"
    return "the digest of its folder is locked instead"


def _packages(
    project: Project, resolved: Resolved, platform: str, ca_cert: str | None, folder: Path
) -> tuple[list[str], list[LockedPackage], list[str]]:
    stack, requirements = resolved.stack, resolved.requirements
    install = make_plan(project.config, stack, requirements, PlanOptions()).install
    if install is None:
        return [], [], []
    staged = folder / "requirements"
    stage_requirements(install, requirements, project.root, staged)
    tools = build_tools(stack, requirements)
    (staged / _TOOLS_FILE).write_text("".join(f"{line}\n" for line in tools))
    command = [
        *(_uv(), "--no-config", "--quiet", "pip", "compile", "--no-header", "--no-annotate", "--generate-hashes"),
        *("--emit-build-options", "--python", sys.executable, "--python-version", stack.python.removesuffix("t")),
        *("--python-platform", _platform(platform, stack.images[-1])),
        *_compile_arguments(install.arguments[-1]),
        *((_TOOLS_FILE,) if tools else ()),
    ]
    environment = dict(os.environ)
    if ca_cert is not None:
        bundle = folder / "ca.pem"
        bundle.write_text(read_ca_bundle(ca_cert), encoding="utf-8")
        environment["SSL_CERT_FILE"] = str(bundle)
    try:
        answer = subprocess.run(
            command, cwd=staged, env=environment, capture_output=True, text=True, timeout=_COMPILE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CogError(f"the packages cannot be locked: no answer within {_COMPILE_S} s") from error
    if answer.returncode != 0:
        said = "\n".join(f"    {line}" for line in answer.stderr.strip().splitlines()[-_SHOWN_LINES:])
        hint = None
        if stack.compiled:
            names = ", ".join(stack.compiled)
            hint = f"{names}: if only a build against torch tells what it needs, give the URL of a wheel instead."
        raise CogError(f"the packages of `{install.key}` cannot be locked:\n{said}", hint=hint)
    return parse_compiled(answer.stdout, staged)


def _compile_arguments(arguments: tuple[str, ...]) -> list[str]:
    """Those of `uv pip install`, as `uv pip compile` has them: files stand alone, hashes are made, not asked for."""
    kept = [word for word in arguments if word not in ("-r", "--require-hashes")]
    # Isolation is switched off to build against torch; on this machine there is none, and metadata may do without.
    while "--no-build-isolation-package" in kept:
        place = kept.index("--no-build-isolation-package")
        del kept[place : place + 2]
    return kept


def parse_compiled(text: str, folder: Path) -> tuple[list[str], list[LockedPackage], list[str]]:
    """Options, packages with hashes and lines without, from the output of `uv pip compile` run in `folder`."""
    options, packages, unhashed = [], [], []
    for line in re.sub(r"[ \t]*\\\n[ \t]*", " ", text).splitlines():
        line = line.strip().replace(f"file://{folder}/", "./").replace(f"{folder}/", "./")
        if not line or line.startswith("#"):
            continue
        hashes = re.findall(r"--hash=(\S+)", line)
        bare = re.sub(r"\s+--hash=\S+", "", line).strip()
        bare = re.sub(r"^[\w.-]+ @ (\./\S+)$", r"\1", bare)  # a path has no name before it
        if bare.startswith("-") and not bare.startswith("-e "):
            options.append(bare)
        elif hashes:
            packages.append(LockedPackage(bare, tuple(sorted(hashes))))
        else:
            unhashed.append(bare.removeprefix("-e "))
    return sorted(options), sorted(packages, key=str), sorted(unhashed)


def _platform(platform: str, image: str) -> str:
    """uv's name for the image's machine and C library."""
    machine = "aarch64" if "arm64" in platform else "x86_64"
    glibc = Version(glibc_of(image) or "2.28")
    newest = max((each for each in _MANYLINUX if Version(each) <= glibc), key=Version, default=_MANYLINUX[0])
    return f"{machine}-manylinux_{newest.replace('.', '_')}"


def _uv() -> str:
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise CogError("uv is missing from this installation of cog", hint="Install cog again.") from error


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CogError(f"{shlex.quote(str(path))} cannot be written: {error.strerror}") from error
