"""`live_tables`: the tables, with what a package index serves beyond them put in.

Asked are only the GPU packages that the lines leave open, or pin to a version that no table has; with everything
pinned and known nothing is asked. An index that does not answer in time changes nothing but a reason.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from cog_cli.compat.asked import Asked, AskedPackages, RequestedBuild, packages_asked
from cog_cli.compat.base_images import base_image_python
from cog_cli.compat.images import machine_of, minor_of
from cog_cli.compat.releases import PYTHONS
from cog_cli.compat.tables import CudaBuild, LiveAnswer, Package, Release, Tables, TorchRelease, Wheels
from cog_cli.compat.wheel_metadata import WheelMetadata, WheelPins, parse_metadata
from cog_cli.compat.wheels import glibc_of, is_linux_wheel, pythons_of
from cog_cli.requirements.packages import Requirements

if TYPE_CHECKING:
    from cog_cli.compat.index_client import IndexClient, IndexFile

PYPI = "https://pypi.org/simple"
TIMEOUT_S = 3.0  # for all packages together
MAX_NEW_RELEASES = 4  # of one package: the newest that fit

W = TypeVar("W", bound=Wheels)


@dataclass(frozen=True)
class IndexSettings:
    """Where to ask: `url` is a simple API (PEP 691 or 503), `cache` a folder, None to remember nothing."""

    url: str = PYPI
    cache: Path | None = None
    timeout_s: float = TIMEOUT_S


def index_settings(environ: Mapping[str, str] = os.environ, *, url: str | None = None) -> IndexSettings | None:
    """The index that the requirements or the environment name, as uv and pip do; None with COG_OFFLINE=1."""
    if environ.get("COG_OFFLINE", "").lower() not in ("", "0", "false", "no"):
        return None
    named = (environ.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"))
    chosen = url or next((value for value in named if value), PYPI)
    head, equals, tail = chosen.partition("=")
    if equals and "/" not in head:  # uv lets an index have a name: `internal=https://…`
        chosen = tail
    try:
        parts = urlsplit(chosen)
    except ValueError:
        return None
    has_server = parts.scheme in ("http", "https") and parts.hostname
    return IndexSettings(chosen, _cache_folder(environ)) if has_server else None


def _cache_folder(environ: Mapping[str, str]) -> Path | None:
    base = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    return Path(base, "cog", "index") if Path(base).is_absolute() else None


# docs/decisions/031-index-before-the-solver.md
def live_tables(
    build: RequestedBuild,
    requirements: Requirements,
    *,
    platform: str,
    tables: Tables,
    environ: Mapping[str, str] = os.environ,
) -> Tables:
    """`tables` as of today for one project; as they are with COG_OFFLINE=1, or if it leaves nothing open."""
    if requirements.options.has_no_index:
        return tables
    own = requirements.options.index_url
    settings = index_settings(environ, url=own if own and "download.pytorch.org" not in own else None)
    python = minor_of(build.python_version or base_image_python(build.base_image) or PYTHONS[0])
    machine = machine_of(platform)
    asked = packages_asked(
        build, requirements, python=python, machine=machine, tables=tables, locate=lambda key: "cog.yaml"
    )
    return ask_index(asked, python=python, machine=machine, tables=tables, settings=settings)


def ask_index(
    asked: AskedPackages, *, python: str, machine: str, tables: Tables, settings: IndexSettings | None
) -> Tables:
    """Give `tables` with the releases that the index has and they do not; unchanged if nothing had to be asked."""
    open_packages = [item for item in asked.packages.values() if _is_open(item, tables)]
    if settings is None or not open_packages:
        return tables
    index = urlsplit(settings.url).hostname or settings.url
    found = _ask_all(open_packages, python, machine, tables, settings)
    for item in open_packages:
        rows, answer = found.get(item.name) or ((), LiveAnswer(index))
        tables = _with_rows(tables, item.name, rows)
        tables = replace(tables, live={**tables.live, item.name: answer})
    return tables


# --- what to ask ------------------------------------------------------------------------------------------------------


def _is_open(asked: Asked, tables: Tables) -> bool:
    rows = _rows_of(asked.name, tables)
    if not rows or asked.url is not None or asked.is_only_index:
        return False
    if asked.is_pinned:
        return not any(asked.specifier.contains(row.version, prereleases=True) for row in rows)
    return _allows_newer(asked.specifier, rows[-1].version)


def _allows_newer(specifier: SpecifierSet, newest: Version) -> bool:
    """Whether a release newer than `newest` could fit: False for `<2.5`, `==2.1.*` and `~=2.1.0` of an old 2.1."""
    for part in specifier:
        try:
            bound = Version(part.version.removesuffix(".*"))
        except InvalidVersion:
            continue
        if part.operator in ("<", "<=") and bound <= newest:
            return False
        prefix = bound.release if part.operator == "==" else bound.release[:-1]
        if part.operator in ("==", "~=") and prefix < newest.release[: len(prefix)]:
            return False
    return True


def _rows_of(name: str, tables: Tables) -> tuple[Wheels, ...]:
    if name in ("torch", "torchvision", "torchaudio"):
        rows: tuple[Wheels, ...] = getattr(tables, name)
        return rows
    package = tables.packages.get(name)
    return package.releases if package else ()


def _with_rows(tables: Tables, name: str, rows: tuple[Wheels, ...]) -> Tables:
    if not rows:
        return tables
    if name == "torch":
        torch = tuple(row for row in rows if isinstance(row, TorchRelease))
        return replace(tables, torch=_sorted((*tables.torch, *torch)))
    releases = tuple(row for row in rows if isinstance(row, Release))
    if name == "torchvision":
        return replace(tables, torchvision=_sorted((*tables.torchvision, *releases)))
    if name == "torchaudio":
        return replace(tables, torchaudio=_sorted((*tables.torchaudio, *releases)))
    package = tables.packages[name]
    package = replace(package, releases=_sorted((*package.releases, *releases)))
    return replace(tables, packages={**tables.packages, name: package})


def _sorted(rows: tuple[W, ...]) -> tuple[W, ...]:
    return tuple(sorted(rows, key=lambda row: row.version))


# --- asking -----------------------------------------------------------------------------------------------------------

Found = tuple[tuple[Wheels, ...], LiveAnswer]


def _ask_all(
    asked: list[Asked], python: str, machine: str, tables: Tables, settings: IndexSettings
) -> dict[str, Found]:
    """The answers that came in time, by package."""
    # httpx is a tenth of a second to import, and most projects need no answer.
    from cog_cli.compat.index_client import IndexClient, IndexUnreachable

    deadline = time.monotonic() + settings.timeout_s
    answers: queue.Queue[tuple[str, Found | None]] = queue.Queue()
    try:
        client = IndexClient(settings.url, deadline=deadline, cache=settings.cache)
    except IndexUnreachable:
        return {}

    def ask(item: Asked) -> None:
        found = None
        try:
            found = _Question(item, python, machine, tables, client).ask()
        except IndexUnreachable:
            pass
        finally:
            answers.put((item.name, found))

    # Daemon threads: a name server or an index that hangs must not keep the command from ending.
    for item in asked:
        threading.Thread(target=ask, args=(item,), daemon=True, name=f"index-{item.name}").start()
    collected: dict[str, Found] = {}
    for _ in asked:
        try:
            name, found = answers.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            break
        if found is not None:
            collected[name] = found
    return collected


class _Question:
    """One package: what the index lists, and the facts of the releases that are new."""

    def __init__(self, asked: Asked, python: str, machine: str, tables: Tables, client: IndexClient) -> None:
        self.asked, self.python, self.machine, self.client = asked, python, machine, client
        self.rows = _rows_of(asked.name, tables)
        self.package = tables.packages.get(asked.name)
        self.index = urlsplit(str(client.url)).hostname or str(client.url)

    def ask(self) -> Found:
        from cog_cli.compat.index_client import NotThere

        try:
            files = self.client.files(self.asked.name)
        except NotThere:
            return (), LiveAnswer(self.index, frozenset())
        releases = _by_version(files, pinned=self.asked.is_pinned)
        new = [version for version in releases if self.is_wanted(version)]
        rows, guessed = [], set()
        for version in sorted(new, reverse=True)[:MAX_NEW_RELEASES]:
            metadata = self.metadata(releases[version])
            if metadata is None:
                guessed.add(version)
            rows.append(self.row(version, releases[version], metadata))
        added = frozenset(row.version for row in rows)
        return tuple(rows), LiveAnswer(self.index, frozenset(releases), added, frozenset(guessed))

    def is_wanted(self, version: Version) -> bool:
        known = {row.version for row in self.rows}
        if version in known or not self.asked.specifier.contains(version, prereleases=True):
            return False
        return self.asked.is_pinned or (version > self.rows[-1].version and not version.is_prerelease)

    def metadata(self, files: list[IndexFile]) -> WheelMetadata | None:
        """METADATA of the wheel for the target, or of any: the pins are the same for every Python."""
        from cog_cli.compat.index_client import IndexUnreachable, NotThere

        wheels = [file for file in files if is_linux_wheel(file.name, self.machine)]
        if not wheels:
            return None
        own = [file for file in wheels if self.python in pythons_of([file.name], self.machine)]
        try:
            return parse_metadata(self.client.metadata((own or wheels)[-1]))
        except (IndexUnreachable, NotThere, ValueError):
            return None

    def row(self, version: Version, files: list[IndexFile], metadata: WheelMetadata | None) -> Wheels:
        older = [row for row in self.rows if row.version < version]
        like = older[-1] if older else self.rows[0]
        names = [file.name for file in files]
        wheels = [name for name in names if is_linux_wheel(name, self.machine)]
        glibc = glibc_of(wheels[-1]) if wheels else None
        facts = replace(
            like,
            version=version,
            requires_python=_specifier(next((file.requires_python for file in files if file.requires_python), "")),
            pythons=self.pythons(names, "x86_64"),
            pythons_aarch64=self.pythons(names, "aarch64"),
        )
        if isinstance(facts, TorchRelease):
            return self.torch_row(facts, metadata, glibc)
        assert isinstance(facts, Release)
        return self.release_row(facts, metadata, glibc, self.package)

    def pythons(self, names: list[str], machine: str) -> tuple[str, ...] | None:
        """None where only an sdist is served: any Python may build it."""
        has_wheels = any(name.endswith(".whl") for name in names)
        return pythons_of(names, machine) if has_wheels else None

    def torch_row(self, facts: TorchRelease, metadata: WheelMetadata | None, glibc: str | None) -> TorchRelease:
        facts = replace(facts, glibc=glibc or facts.glibc, unknown_builds=())
        if metadata is None:
            default = facts.build_for(facts.cuda)
            return replace(facts, builds=(default,) if default else ())
        pins = metadata.pins(python=self.python, machine=self.machine)
        cuda = pins.cuda if pins.cuda and "." in pins.cuda else None
        builds = [CudaBuild(f"cu{cuda.replace('.', '')}", cuda, pins.cudnn, None)] if cuda else []
        tag = self.asked.tag
        if tag and tag.startswith("cu") and tag[2:].isdigit() and tag not in [build.tag for build in builds]:
            builds.append(CudaBuild(tag, f"{tag[2:-1]}.{tag[-1]}", None, None))  # only its own index could tell
        x86 = self.machine == "x86_64"
        return replace(
            facts,
            cuda=cuda if x86 else facts.cuda,
            cuda_aarch64=cuda if facts.cuda_aarch64 or not x86 else None,
            builds=tuple(builds),
        )

    def release_row(
        self, facts: Release, metadata: WheelMetadata | None, glibc: str | None, package: Package | None
    ) -> Release:
        facts = replace(facts, glibc=glibc or facts.glibc)
        if metadata is None:
            return facts
        pins = metadata.pins(python=self.python, machine=self.machine)
        facts = replace(facts, torch=pins.torch if facts.torch is not None else None)
        own: WheelPins = pins
        variants = []
        for names, variant in facts.variants:
            extras = frozenset(names.split("+"))
            if not extras <= metadata.extras:
                continue
            brought = metadata.pins(python=self.python, machine=self.machine, extras=extras)
            own = brought if own.cuda is None else own
            variants.append(
                (
                    names,
                    replace(
                        variant,
                        cuda=_finer(brought.cuda, variant.cuda),
                        cudnn=_minor(brought.cudnn) or variant.cudnn,
                        is_missing=False,
                        pythons=None,
                    ),
                )
            )
        if facts.cuda is not None and package is not None and not package.follows_torch:
            facts = replace(facts, cuda=_finer(own.cuda, facts.cuda), cudnn=_minor(own.cudnn) or facts.cudnn)
        return replace(facts, variants=tuple(variants))


def _finer(told: str | None, known: str | None) -> str | None:
    """The CUDA that the metadata tells, unless it is the major alone and the older release is of the same."""
    if told is None or (known is not None and "." not in told and known.partition(".")[0] == told):
        return known
    return told


def _minor(cudnn: str | None) -> str | None:
    """`9.3` for `9.3.0.75`: what was compiled with it asks for the minor version of the image's."""
    return ".".join(cudnn.split(".")[:2]) if cudnn else None


def _by_version(files: tuple[IndexFile, ...], *, pinned: bool) -> dict[Version, list[IndexFile]]:
    """The files of each release; those that were withdrawn count only for a pin."""
    found: dict[Version, list[IndexFile]] = {}
    parsed: dict[str, Version | None] = {}  # thousands of files, tens of versions
    for file in files:
        if file.is_yanked and not pinned:
            continue
        text = file.name.split("-")[1] if file.name.endswith(".whl") and "-" in file.name else file.name
        if text not in parsed:
            parsed[text] = _version_of(file.name)
        version = parsed[text]
        if version is not None and not version.local:
            found.setdefault(version, []).append(file)
    return found


def _version_of(name: str) -> Version | None:
    try:
        return parse_wheel_filename(name)[1] if name.endswith(".whl") else parse_sdist_filename(name)[1]
    except ValueError:
        return None


def _specifier(text: str) -> SpecifierSet:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return SpecifierSet()
