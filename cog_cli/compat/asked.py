"""`packages_asked`: what a project asks of each GPU package, wherever it says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from cog_cli.compat.run_commands import compiles_cuda, pip_installs
from cog_cli.compat.tables import Tables
from cog_cli.requirements.lines import Requirement
from cog_cli.requirements.packages import Requirements

_TORCH_INDEX = re.compile(r"download(?:-r2)?\.pytorch\.org/whl/(?:(?:nightly|test)/)?(?P<tag>cpu|cu\d+|rocm[\d.]+|xpu)")


class Command(Protocol):
    @property
    def command(self) -> str: ...


class RequestedBuild(Protocol):
    """The keys of `build` in cog.yaml that decide the stack."""

    @property
    def gpu(self) -> bool: ...
    @property
    def cuda(self) -> str | None: ...
    @property
    def cudnn(self) -> str | None: ...
    @property
    def cuda_flavor(self) -> str: ...
    @property
    def python_version(self) -> str | None: ...
    @property
    def base_image(self) -> str | None: ...
    @property
    def run(self) -> tuple[Command, ...]: ...
    @property
    def pre_install(self) -> tuple[Command, ...]: ...


@dataclass(frozen=True)
class Asked:
    """What is asked of one package, all lines that name it taken together.

    `specifier` is without local versions; `tag` is the `cu121` of `==2.1.0+cu121` (or of a wheel's URL). `index_tag`
    comes from a pytorch.org index the user named, which replaces PyPI if `is_only_index`. `where` and `key` point at
    the line to change; `via` names the package that installs this one when no line does.
    """

    name: str
    extras: frozenset[str] = frozenset()
    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    tag: str | None = None
    url: str | None = None
    index_url: str | None = None
    index_tag: str | None = None
    is_only_index: bool = False
    has_hashes: bool = False
    is_in_run: bool = False
    via: str | None = None
    where: str = ""
    key: str = ""
    text: str = ""

    @property
    def is_pinned(self) -> bool:
        """Whether the lines leave one version only."""
        return any(part.operator in ("==", "===") and not part.version.endswith(".*") for part in self.specifier)


@dataclass(frozen=True)
class AskedPackages:
    """Every package named, by normalised name, and what else the commands show."""

    packages: dict[str, Asked]
    compiles_cuda_in: str | None = None  # the key of a command that calls the CUDA compiler
    extra_indexes: tuple[str, ...] = ()

    def get(self, name: str) -> Asked | None:
        return self.packages.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self.packages


def packages_asked(
    build: RequestedBuild,
    requirements: Requirements,
    *,
    python: str,
    machine: str,
    tables: Tables,
    locate: Callable[[str], str],
) -> AskedPackages:
    """Collect the requirements that apply on this Python and machine, and those of `pip install` in `build.run`."""
    found: dict[str, Asked] = {}
    options = requirements.options
    links = options.find_links + options.extra_index_urls
    applying = [entry for entry in requirements.entries if entry.applies(python=python, machine=machine)]
    for entry in sorted(applying, key=lambda entry: entry.is_constraint):
        name = _name_of(entry, tables)
        if entry.is_constraint and name not in found:
            continue  # a constraint alone installs nothing
        _add(found, name, entry, index_url=options.index_url, extra=links, is_in_run=False)
    compiles_in = None
    for key, command in _commands(build):
        where = locate(key)
        compiles_in = compiles_in or (key if compiles_cuda(command) else None)
        for install in pip_installs(command, where=where, key=key):
            for entry in install.requirements:
                name = _name_of(entry, tables)
                if name and entry.applies(python=python, machine=machine):
                    _add(
                        found, name, entry, index_url=install.index_url, extra=install.extra_index_urls, is_in_run=True
                    )
    _add_implied(found, tables)
    return AskedPackages(found, compiles_in, options.urls + options.find_links)


def _name_of(entry: Requirement, tables: Tables) -> str:
    """The package's name; that of the repository for `git+https://github.com/NVIDIA/apex`, "" for a folder."""
    if not entry.name and (entry.url or "").startswith("git+"):
        repository = canonicalize_name(entry.filename.partition("@")[0].removesuffix(".git"))
        return tables.repositories.get(repository, repository)
    return tables.aliases.get(entry.name, entry.name)


def _commands(build: RequestedBuild) -> Iterable[tuple[str, str]]:
    for number, item in enumerate(build.pre_install):
        yield f"build.pre_install[{number}]", item.command
    for number, item in enumerate(build.run):
        yield f"build.run[{number}]", item.command


def _add(
    found: dict[str, Asked],
    name: str,
    entry: Requirement,
    *,
    index_url: str | None,
    extra: tuple[str, ...],
    is_in_run: bool,
) -> None:
    specifier, tag = without_local(entry.specifier)
    url = entry.url
    indexes = [url for url in ((index_url,) if index_url else ()) + extra if "download.pytorch.org/whl" in url]
    chosen = indexes[-1] if indexes else None
    if tag is None and url is not None and (match := _TORCH_INDEX.search(url)):
        tag = match["tag"]
    old = found.get(name)
    if old is not None:  # several lines about one package: all of them hold
        found[name] = Asked(
            name=name,
            extras=old.extras | entry.extras,
            specifier=old.specifier & specifier,
            tag=old.tag or tag,
            url=old.url or url,
            index_url=old.index_url or chosen,
            index_tag=old.index_tag or torch_index_tag(chosen),
            is_only_index=old.is_only_index,
            has_hashes=old.has_hashes or bool(entry.hashes),
            is_in_run=old.is_in_run and is_in_run,
            where=old.where,
            key=old.key,
            text=old.text,
        )
        return
    found[name] = Asked(
        name=name,
        extras=entry.extras,
        specifier=specifier,
        tag=tag,
        url=url,
        index_url=chosen,
        index_tag=torch_index_tag(chosen),
        is_only_index=chosen is not None and chosen == index_url,
        has_hashes=bool(entry.hashes),
        is_in_run=is_in_run,
        where=entry.where,
        key=entry.key,
        text=entry.text,
    )


def _add_implied(found: dict[str, Asked], tables: Tables) -> None:
    """Add the GPU packages that no line names but that a named one installs."""
    for name, implied in tables.implies.items():
        if name in found and implied not in found:
            found[implied] = _implied(implied, found[name])
    for name, asked in list(found.items()):
        package = tables.packages.get(name)
        pins_torch = package is not None and any(release.torch is not None for release in package.releases)
        is_named = name in tables.installs_torch or name in ("torchvision", "torchaudio")
        if "torch" not in found and (pins_torch or is_named or (name == "transformers" and "torch" in asked.extras)):
            found["torch"] = _implied("torch", asked)


def _implied(name: str, asked: Asked) -> Asked:
    """`name` in any version, because `asked` installs it."""
    return replace(
        asked,
        name=name,
        extras=frozenset(),
        specifier=SpecifierSet(),
        tag=None,
        url=None,
        has_hashes=False,
        via=asked.name,
    )


def torch_index_tag(url: str | None) -> str | None:
    """`cu121` for https://download.pytorch.org/whl/cu121, None for any other index."""
    match = _TORCH_INDEX.search(url or "")
    return match["tag"] if match else None


def without_local(specifiers: SpecifierSet) -> tuple[SpecifierSet, str | None]:
    """The specifiers without `+cu121`, and that tag: tables list public versions, and builds by tag."""
    tag = None
    parts = []
    for part in specifiers:
        try:
            version = Version(part.version)
        except InvalidVersion:  # `==2.5.*`, or anything after `===`
            parts.append(str(part))
            continue
        if version.local:
            tag = version.local
        try:
            parts.append(str(Specifier(f"{part.operator.replace('===', '==')}{version.public}")))
        except InvalidSpecifier:
            parts.append(str(part))
    return SpecifierSet(",".join(parts)), tag
