"""`requirement_lines_of`: pyproject.toml, uv.lock and compiled requirements, as lines of a requirements file."""

from __future__ import annotations

import importlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import NormalizedName, canonicalize_name

UV_TIMEOUT_S = 30


class UnreadableSource(Exception):
    """The file does not say what to install, with the reason in the user's words."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True)
class SourceLines:
    """Lines for the installer, and the file (beside the one the user named) that they come from."""

    lines: tuple[str, ...]
    name: str
    note: str | None = None


def compiled_file_of(path: Path) -> Path | None:
    """The lock of `requirements.in`: what pip-compile or uv made of it, None if there is none."""
    if path.suffix != ".in":
        return None
    for suffix in (".txt", ".lock"):
        other = path.with_suffix(suffix)
        if other.is_file():
            return other
    return None


def requirement_lines_of(path: Path) -> SourceLines | None:
    """The requirements that a pyproject.toml or uv.lock stands for; None if the file is a requirements file.

    A uv.lock beside pyproject.toml is what was tested, so it is installed, with its hashes. Raises UnreadableSource.
    """
    if path.name == "uv.lock":
        return SourceLines(_locked(path), path.name)
    if path.name != "pyproject.toml":
        return None
    lock = path.with_name("uv.lock")
    if lock.is_file():
        return SourceLines(_locked(lock), lock.name, "uv.lock lies beside pyproject.toml: it is what gets installed")
    return SourceLines(_declared(path), path.name)


def _locked(lock: Path) -> tuple[str, ...]:
    """What `uv export` makes of a lock: needs no network and no matching Python."""
    if not lock.with_name("pyproject.toml").is_file():
        raise UnreadableSource("uv.lock needs its pyproject.toml beside it", "Copy it into the project.")
    from uv import find_uv_bin  # costs a search of the disk, for the few who need it

    command = [find_uv_bin(), "export", "--project", str(lock.parent), "--frozen", "--offline", "--no-dev"]
    command += ["--no-emit-project", "--no-header", "--no-annotate", "--no-python-downloads", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=UV_TIMEOUT_S, check=False)
    if result.returncode != 0:
        words = [line.strip() for line in result.stderr.splitlines()]
        reason = ": ".join(re.sub(r"^(error|cause): ", "", line) for line in words[:3] if line)
        raise UnreadableSource(f"uv cannot read it: {reason}", "Run `uv lock`.")
    registries = re.findall(r'source = \{ registry = "([^"]+)" \}', lock.read_text(encoding="utf-8"))
    indexes = [url for url in dict.fromkeys(registries) if not url.startswith("https://pypi.org/")]
    return (*(f"--extra-index-url {url}" for url in indexes), *result.stdout.splitlines())


def _declared(path: Path) -> tuple[str, ...]:
    """`[project] dependencies`, with the sources that `[tool.uv]` names for them."""
    document = _toml(path)
    project = document.get("project", {})
    if "dependencies" in project.get("dynamic", ()):
        raise UnreadableSource("its dependencies are dynamic: only its build system knows them", "Write them there.")
    if "dependencies" not in project:
        hint = "Run `poetry export` and name the result." if "poetry" in document.get("tool", {}) else None
        raise UnreadableSource("there is no `dependencies` in its [project] table", hint)
    uv = document.get("tool", {}).get("uv", {})
    sources = {canonicalize_name(name): source for name, source in uv.get("sources", {}).items()}
    lines = [f"--extra-index-url {index['url']}" for index in uv.get("index", ()) if "url" in index]
    return (*lines, *(_with_source(line, sources) for line in project["dependencies"]))


def _toml(path: Path) -> dict[str, Any]:
    for name in ("tomllib", "tomli"):
        try:
            parser = importlib.import_module(name)  # in the standard library from Python 3.11
        except ModuleNotFoundError:
            continue
        try:
            document: dict[str, Any] = parser.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are both one
            raise UnreadableSource(f"not valid TOML: {error}") from error
        return document
    hint = "Install tomli beside cog, or name a file made by `uv export` or `pip-compile`."
    raise UnreadableSource("reading it needs Python 3.11 or the package tomli", hint)


def _with_source(requirement: str, sources: dict[NormalizedName, Any]) -> str:
    """A dependency, as a direct reference where `[tool.uv.sources]` gives it one."""
    match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(\[[^\]]*\])?", requirement)
    source = sources.get(canonicalize_name(match[1])) if match else None
    if match is None or not isinstance(source, dict):
        return requirement
    name = f"{match[1]}{match[2] or ''}"
    marker = f" ; {requirement.partition(';')[2].strip()}" if ";" in requirement else ""
    if "git" in source:
        revision = source.get("rev") or source.get("tag") or source.get("branch")
        folder = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
        return f"{name} @ git+{source['git']}{f'@{revision}' if revision else ''}{folder}{marker}"
    if "url" in source:
        return f"{name} @ {source['url']}{marker}"
    if "path" in source:
        return f"./{source['path']}"
    return requirement
