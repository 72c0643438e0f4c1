"""`select_releases`: one release of every GPU package that fits the Python, the lines and each other."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeVar

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from cog_cli.compat.asked import Asked, AskedPackages
from cog_cli.compat.tables import Package, Release, Tables, TorchRelease, Wheels, python_floor
from cog_cli.errors import Problem

W = TypeVar("W", bound=Wheels)

# Those whose wheels are built against one torch, strictest first: the first narrows what is left for the next.
COMPANIONS = ("vllm", "sglang", "xformers", "torchvision", "torchaudio", "bitsandbytes")


@dataclass(frozen=True)
class Candidate:
    """A package and its releases that fit, oldest first."""

    asked: Asked
    package: Package
    releases: tuple[Release, ...]


@dataclass(frozen=True)
class Choice:
    """A package and the release that the installer takes."""

    asked: Asked
    package: Package
    release: Release

    @property
    def label(self) -> str:
        return f"{self.asked.name} {self.release.version}"


@dataclass(frozen=True)
class Selection:
    """The releases that the installer may take, as far as the tables tell.

    `torch` holds every torch release that fits all the packages, newest first: the choice among them may depend on
    the CUDA asked for. `problems` are clashes; a selection with any is no answer.
    """

    torch: tuple[TorchRelease, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def choices(self, torch: Version | None) -> tuple[Choice, ...]:
        """The newest release of every package, of those that go with `torch` where one is chosen."""
        return tuple(
            Choice(candidate.asked, candidate.package, release)
            for candidate in self.candidates
            if (release := _newest(candidate.releases, torch)) is not None
        )

    @property
    def locks_torch(self) -> Candidate | None:
        """The package whose extensions fit only PyPI's build of the torch it pins."""
        return next((candidate for candidate in self.candidates if candidate.package.follows_torch), None)


def _newest(releases: tuple[Release, ...], torch: Version | None) -> Release | None:
    for release in reversed(releases):
        if torch is None or goes_with(release, torch):
            return release
    return None


def goes_with(release: Release, torch: Version) -> bool:
    """Whether what the release asks of torch allows this version."""
    return release.torch is None or release.torch.contains(torch, prereleases=True)


def select_releases(asked: AskedPackages, *, python: str, machine: str, tables: Tables) -> Selection:
    """Find what pip could choose: releases that every line, the Python and the pins between packages allow."""
    return _Selector(asked, python, machine, tables).select()


class _Selector:
    def __init__(self, asked: AskedPackages, python: str, machine: str, tables: Tables) -> None:
        self.asked, self.python, self.machine, self.tables = asked, python, machine, tables
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.limits: list[str] = []

    def select(self) -> Selection:
        torch = self.torch_candidates()
        found: list[Candidate] = []
        companions = [name for name in COMPANIONS if name in self.asked]
        companions.sort(key=lambda name: not self.asked.packages[name].is_pinned)  # pins first, then the order above
        for name in companions:
            candidate = Candidate(self.asked.packages[name], self.package(name), ())
            rows = self.companion(candidate.asked, candidate.package, torch)
            if not rows:
                continue
            found.append(replace(candidate, releases=rows))
            torch = tuple(row for row in torch if any(goes_with(release, row.version) for release in rows)) or torch
            if len(rows) == 1 and rows[0].torch is not None and str(rows[0].torch):
                self.limits.append(f"{name} {rows[0].version} asks for torch{rows[0].torch}")
        for name, asked in self.asked.packages.items():
            if name in self.tables.packages and name not in COMPANIONS:
                package = self.tables.packages[name]
                rows = self.fitting(asked, package.releases, is_complete=package.is_complete, package=package)
                found.append(Candidate(asked, package, rows))
        return Selection(torch, tuple(found), tuple(self.warnings), tuple(self.problems))

    def package(self, name: str) -> Package:
        if name in ("torchvision", "torchaudio"):
            rows = self.tables.torchvision if name == "torchvision" else self.tables.torchaudio
            return Package(name, "slim", rows, True, False, False, False, None, None)
        return self.tables.packages[name]

    # --- one package alone ----------------------------------------------------------------------------------------

    def torch_candidates(self) -> tuple[TorchRelease, ...]:
        asked = self.asked.get("torch")
        if asked is None:
            return ()
        return tuple(reversed(self.fitting(asked, self.tables.torch, is_complete=True)))

    def fitting(
        self, asked: Asked, rows: tuple[W, ...], *, is_complete: bool, package: Package | None = None
    ) -> tuple[W, ...]:
        """The releases that the lines and the Python allow, oldest first; none after a problem was noted."""
        known = tuple(row for row in rows if asked.specifier.contains(row.version, prereleases=True))
        if not known:
            known = self.stand_in(asked, rows, is_complete=is_complete, package=package)
            if not known:
                return ()
        fitting = tuple(row for row in known if row.supports(self.python, self.machine))
        if not fitting and not asked.url:
            self.problems.append(self.no_wheel(asked, known))
        return fitting or (known if asked.url else ())

    def stand_in(
        self, asked: Asked, rows: tuple[W, ...], *, is_complete: bool, package: Package | None
    ) -> tuple[W, ...]:
        """For a version the tables do not have: the release it is probably like, or a problem if it cannot exist."""
        wanted = _version_of(asked.specifier)
        newest = rows[-1].version
        live = self.tables.live.get(asked.name)
        has_other_index = bool(asked.url or asked.index_tag or self.asked.extra_indexes)
        if package is not None and package.newest_on_pypi and wanted and wanted > Version(package.newest_on_pypi):
            if has_other_index:
                return ()
            message = f"{asked.name} {wanted} is not on PyPI, which ends at {package.newest_on_pypi}"
            hint = f"Use {asked.name}=={package.newest_on_pypi}, or name the index that has it with --extra-index-url."
            self.problems.append(Problem(asked.where, asked.key, message, hint))
            return ()
        if live is not None and live.versions is not None and wanted and not has_other_index:
            self.problems.append(self.no_version(asked, rows, wanted))
            return ()
        may_be_newer = wanted and wanted > newest and wanted.major == newest.major and not self.has_ended(asked.name)
        if wanted and (asked.url or wanted.is_prerelease or may_be_newer):
            like = max((row for row in rows if row.version <= wanted), key=lambda row: row.version, default=rows[0])
            silent = f", and {live.index} did not answer" if live is not None and live.versions is None else ""
            what = f"{asked.name} {wanted} is not in Cog's table (of {self.tables.generated}, newest {newest}){silent}"
            self.warnings.append(f"{asked.where}: {what}: taken to be like {like.version}")
            return (replace(like, version=wanted, pythons=None, pythons_aarch64=None, requires_python=SpecifierSet()),)
        older = [row for row in rows if wanted and row.version <= wanted <= newest]
        if wanted and older and not is_complete:
            return (replace(older[-1], version=wanted),)
        is_before = wanted is not None and wanted < rows[0].version
        if wanted and is_before and not is_complete:
            return (replace(rows[0], version=wanted),)
        if is_before and asked.name in ("torchvision", "torchaudio"):
            return ()  # before 0.5 they were pure Python and had no pin on torch
        self.problems.append(self.no_version(asked, rows, wanted))
        return ()

    def has_ended(self, name: str) -> bool:
        """Whether no newer release can come. torchaudio stopped at 2.11.0, the last that pytorch released."""
        return name == "torchaudio" and self.tables.torchaudio[-1].version == Version("2.11.0")

    def no_version(self, asked: Asked, rows: tuple[W, ...], wanted: Version | None) -> Problem:
        usable = [row for row in rows if row.supports(self.python, self.machine)] or list(rows)
        nearest = usable[-1]
        message = f"there is no {asked.name} that fits `{asked.name}{asked.specifier}`"
        if wanted is not None and wanted > rows[-1].version:
            message = f"{asked.name} ends at {rows[-1].version}; there is no {wanted}"
            live = self.tables.live.get(asked.name)
            if (live is None or live.versions is None) and not self.has_ended(asked.name):
                silent = f", and {live.index} did not answer" if live is not None else ""
                message = (
                    f"{asked.name} {wanted} is not in Cog's table of {self.tables.generated}, "
                    f"which ends at {rows[-1].version}{silent}"
                )
        elif wanted is not None and wanted < rows[0].version:
            message = f"{asked.name} {wanted} is too old: Cog knows {rows[0].version} and newer"
            nearest = usable[0]
        elif wanted is not None:
            message = f"{asked.name} {wanted} does not exist"
            nearest = min(rows, key=lambda row: _distance(row.version, wanted))
        return Problem(asked.where, asked.key, message, f"Use {asked.name}=={nearest.version}.")

    def no_wheel(self, asked: Asked, rows: tuple[W, ...], *, why: str = "") -> Problem:
        row = rows[-1]
        name = f"{asked.name} {row.version}{why}"
        pythons = row.pythons if self.machine == "x86_64" else row.pythons_aarch64
        on = "" if self.machine == "x86_64" else " on arm64"
        if pythons == ():
            message = f"{name} has no wheel for {'x86_64' if self.machine == 'x86_64' else 'arm64'}"
        elif self.python.endswith("t") and row.requires_python.contains(python_floor(self.python)):
            message = f"{name} has no wheel for the free-threaded Python {self.python}"
        elif pythons is None or not re.match(r"\d", pythons[0]):
            message = f"{name} needs Python {range_text(row.requires_python)}, not {self.python}"
        else:
            message = f"{name} has no wheel for Python {self.python}{on}; it has {', '.join(pythons)}"
        return Problem(asked.where, asked.key, message, self.python_hint(asked, rows))

    def python_hint(self, asked: Asked, rows: tuple[W, ...]) -> str | None:
        """Another Python for this release, or another release for this Python."""
        hints = []
        pythons = [python for python in PYTHONS if rows[-1].supports(python, self.machine)]
        if pythons:
            hints.append(f'set `python_version: "{pythons[0]}"`')
        others = [row for row in self.rows_of(asked.name) if row.supports(self.python, self.machine)]
        if others:
            nearest = min(others, key=lambda row: _distance(row.version, rows[-1].version))
            hints.append(f"use {asked.name}=={nearest.version}")
        if not hints and self.machine != "x86_64":
            hints.append("build with --platform linux/amd64")
        return (" or ".join(hints)[:1].upper() + " or ".join(hints)[1:] + ".") if hints else None

    def rows_of(self, name: str) -> tuple[Wheels, ...]:
        if name == "torch":
            return self.tables.torch
        return self.package(name).releases

    # --- a package that pins torch --------------------------------------------------------------------------------

    def companion(self, asked: Asked, package: Package, torch: tuple[TorchRelease, ...]) -> tuple[Release, ...]:
        """The releases of a companion that go with one of the torch releases still possible."""
        before = len(self.problems)
        rows = self.fitting(asked, package.releases, is_complete=package.is_complete, package=package)
        if asked.url:  # a file of one's own: what it pins is not known
            return tuple(replace(row, torch=None) for row in rows[-1:])
        if not torch or not rows:
            if len(self.problems) > before and torch:
                self.add_pair_fact(torch)
            return rows
        fitting = tuple(row for row in rows if any(goes_with(row, candidate.version) for candidate in torch))
        if not fitting:
            self.problems.append(self.clash(asked, package, rows, torch))
        return fitting

    def add_pair_fact(self, torch: tuple[TorchRelease, ...]) -> None:
        """To "torchvision has no wheel for this Python", add that torch itself has one."""
        problem = self.problems[-1]
        message = f"{problem.message} (torch {torch[0].version} has one)" if "no wheel" in problem.message else None
        if message:
            self.problems[-1] = replace(problem, message=message)

    def clash(
        self, asked: Asked, package: Package, rows: tuple[Release, ...], torch: tuple[TorchRelease, ...]
    ) -> Problem:
        row = rows[-1]
        torch_asked = self.asked.packages["torch"]
        wanted = torch[0].version
        partners = [other for other in package.releases if goes_with(other, wanted)]
        fitting = [other for other in partners if other.supports(self.python, self.machine)]
        if partners and not fitting and asked.specifier.contains(partners[-1].version, prereleases=True):
            return self.no_wheel(asked, (partners[-1],), why=f", which goes with torch {wanted},")
        by = "; ".join(self.limits) or f"`{torch_asked.text or torch_asked.name}`"
        message = f"{package.name} {row.version} asks for torch{row.torch}, but {by} leaves torch {wanted}"
        hints = [f"{package.name}=={fitting[-1].version}"] if fitting else []
        torches = [other for other in self.tables.torch if goes_with(row, other.version)]
        if torches and torch_asked.via is None:
            hints.append(f"torch=={torches[-1].version}")
        return Problem(asked.where, asked.key, message, f"Use {' or '.join(hints)}." if hints else None)


def source_of(asked: Asked, version: Version, tables: Tables) -> str | None:
    """Where a version was taken from, None if the lines name one that the tables have."""
    live = tables.live.get(asked.name)
    if live is not None and version in live.added and version not in live.guessed:
        kind = "that release" if asked.is_pinned else "the newest that fits"
        return f"{kind} on {live.index}, read from its wheel's metadata: Cog's table of {tables.generated} is older"
    if asked.is_pinned or asked.url is not None or asked.has_hashes:
        return None
    if live is not None and live.versions is not None:
        return f"the newest that fits on {live.index}"
    silent = f"; {live.index} did not answer" if live is not None else ""
    return f"the newest that fits in Cog's table of {tables.generated}{silent}"


PYTHONS = ("3.12", "3.14", "3.13", "3.11", "3.10", "3.9", "3.8")  # in the order in which one is chosen


def range_text(specifier: SpecifierSet) -> str:
    """`>=3.11,<3.15`: the lower end first."""
    return ",".join(sorted((str(part) for part in specifier), key=lambda text: (text[0] == "<", text)))


def _version_of(specifier: SpecifierSet) -> Version | None:
    """The version a specifier speaks of: the pinned one, or the lower end of a range that is beyond the table."""
    for operator in ("==", "===", "~=", ">=", ">"):
        for part in specifier:
            if part.operator == operator:
                text = part.version.removesuffix(".*")
                try:
                    return Version(text)
                except ValueError:
                    continue
    return None


def _distance(one: Version, other: Version) -> tuple[int, ...]:
    first = (*one.release, 0, 0, 0)[:3]
    second = (*other.release, 0, 0, 0)[:3]
    return tuple(abs(a - b) for a, b in zip(first, second, strict=True))
