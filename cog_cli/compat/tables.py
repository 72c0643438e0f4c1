"""`load_tables`: the facts the solver decides by, as typed values.

The JSON files beside this module hold them with their sources; `tools/update_compat.py` refreshes what package
indexes know. `Tables` is a plain value: a live answer of an index is put in with `dataclasses.replace`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from cog_cli.compat.stack import Flavour

TagStatus = Literal["published", "documented", "likely", "end-of-life"]


@dataclass(frozen=True)
class Wheels:
    """One release of a package: its version and the Pythons that have a Linux wheel.

    A Python is `3.12`, or `3.13t` for free-threaded; `abi3:3.8` means 3.8 and newer, `py3` any. None = not known.
    """

    version: Version
    requires_python: SpecifierSet
    pythons: tuple[str, ...] | None
    pythons_aarch64: tuple[str, ...] | None

    def supports(self, python: str, machine: str = "x86_64") -> bool:
        """Whether `python` (x.y) can install this release on `machine`."""
        pythons = self.pythons if machine == "x86_64" else self.pythons_aarch64
        if not self.requires_python.contains(python_floor(python)):
            return False
        return pythons is None or any(_covers(tag, python) for tag in pythons)


def python_floor(python: str) -> Version:
    """The version to compare with requires-python: x.y is taken as its newest patch release."""
    return Version(f"{python.removesuffix('t')}.99")


def _covers(tag: str, python: str) -> bool:
    if tag.startswith("abi3:"):  # the stable ABI is not that of free-threaded builds
        return not python.endswith("t") and Version(python) >= Version(tag.removeprefix("abi3:"))
    return tag in ("py3", python)


@dataclass(frozen=True)
class CudaBuild:
    """A torch build for one CUDA: `sm` lists the compute capabilities it has kernels for, None if not known."""

    tag: str
    cuda: str
    cudnn: str | None
    sm: tuple[str, ...] | None

    @property
    def index_url(self) -> str:
        return f"https://download.pytorch.org/whl/{self.tag}"


@dataclass(frozen=True)
class TorchRelease(Wheels):
    """A torch release. `cuda` is that of the wheel on PyPI (None: it is built for the CPU).

    `has_libraries`: the CUDA libraries come along, inside the wheel or as `nvidia-*` packages: true of every release
    in the table. `unknown_builds` are tags that may exist but were not seen.
    """

    cuda: str | None
    cuda_aarch64: str | None
    glibc: str
    builds: tuple[CudaBuild, ...]
    has_cpu_build: bool
    unknown_builds: tuple[str, ...]

    def build_for(self, cuda: str | None) -> CudaBuild | None:
        """The build for CUDA x.y, None if there is none."""
        return next((build for build in self.builds if build.cuda == cuda), None)


@dataclass(frozen=True)
class Variant:
    """What an extra changes: `tensorflow[and-cuda]`, `jax[cuda12-local]`, `cupy-cuda12x[ctk]`."""

    flavour: Flavour
    cuda: str | None
    cudnn: str | None
    pythons: tuple[str, ...] | None
    is_missing: bool
    note: str | None


@dataclass(frozen=True)
class Release(Wheels):
    """A release of any other GPU package.

    `cuda` is x.y, or only the major where any minor does; `cudnn` the oldest that works, of the same major; `torch`
    what it asks of torch; `cuda_tags` the torch CUDA builds that it has libraries for (bitsandbytes).
    """

    cuda: str | None = None
    cudnn: str | None = None
    glibc: str | None = None
    flavour: Flavour | None = None
    torch: SpecifierSet | None = None
    cuda_tags: tuple[int, ...] = ()
    sm: tuple[str, ...] | None = None
    variants: tuple[tuple[str, Variant], ...] = ()


@dataclass(frozen=True)
class Package:
    """A package whose wheels use CUDA. `is_complete`: every release is listed, so an unknown one does not exist."""

    name: str
    flavour: Flavour | None
    releases: tuple[Release, ...]
    is_complete: bool
    follows_torch: bool  # its extensions are built for the CUDA of the torch it pins
    needs_compiler: bool  # compiles small programs with cc when it runs
    works_through_torch: bool  # finds its CUDA libraries in the process once torch is imported
    cpu_only_note: str | None
    newest_on_pypi: str | None
    aarch64_is_cpu_only: bool = False


@dataclass(frozen=True)
class ImageTag:
    """A tag of nvidia/cuda that can be pulled."""

    tag: str
    cuda: Version
    flavour: Flavour
    os: str
    cudnn_major: int | None
    cudnn: Version | None
    status: TagStatus

    @property
    def minor(self) -> str:
        return f"{self.cuda.major}.{self.cuda.minor}"


@dataclass(frozen=True)
class Gate:
    """Which older drivers an nvidia/cuda image of one CUDA still starts on: their branches, for these brands only."""

    branches: tuple[int, ...]
    brands: frozenset[str]


@dataclass(frozen=True)
class CudaDriver:
    """Linux drivers of one CUDA x.y: `native` carries it, `minimum` runs it by minor-version compatibility."""

    native: str
    branch: int
    minimum: str


@dataclass(frozen=True)
class LiveAnswer:
    """What a package index said of one package, `versions` None if it did not answer.

    `added` are the releases that were not in the tables; the facts of those in `guessed` are an older release's,
    because their metadata could not be read.
    """

    index: str  # its host name
    versions: frozenset[Version] | None = None
    added: frozenset[Version] = frozenset()
    guessed: frozenset[Version] = frozenset()


@dataclass(frozen=True)
class Tables:
    """Every fact the solver uses. Releases are sorted, newest last."""

    torch: tuple[TorchRelease, ...]
    torchvision: tuple[Release, ...]
    torchaudio: tuple[Release, ...]
    packages: dict[str, Package]
    aliases: dict[str, str]
    repositories: dict[str, str]  # name of a git repository -> the package in it, where they differ
    installs_torch: frozenset[str]
    implies: dict[str, str]  # a package -> the GPU package it installs
    compiled: dict[str, str]
    cpu_only: dict[str, str]
    images: tuple[ImageTag, ...]
    gates: dict[Version, Gate]
    drivers: dict[str, CudaDriver]
    branch_cuda: dict[int, str]
    min_cuda_for_sm: dict[str, str]
    min_sm_of_major: dict[int, str]
    generated: str
    live: dict[str, LiveAnswer] = field(default_factory=dict)  # by package, those that an index was asked about


DATA = Path(__file__).parent


@cache
def load_tables(folder: Path = DATA) -> Tables:
    """The tables in a folder; those that ship with this version of Cog, unless another is given."""
    # Not importlib.resources: it takes longer to import than all the tables take to read.
    names = ("torch", "packages", "images", "drivers")
    torch, packages, images, drivers = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in names
    )
    return Tables(
        torch=tuple(_torch_release(row) for row in torch["releases"]),
        torchvision=tuple(_release(row) for row in torch["torchvision"]),
        torchaudio=tuple(_release(row) for row in torch["torchaudio"]),
        packages={name: _package(name, row) for name, row in packages["packages"].items()},
        aliases={alias: name for name, row in packages["packages"].items() for alias in row.get("aliases", ())},
        repositories=packages["repositories"],
        installs_torch=frozenset(packages["installs_torch"]),
        implies=packages["implies"],
        compiled=packages["compiled"],
        cpu_only=packages["cpu_only"],
        images=tuple(_image(row) for row in images["tags"]),
        gates={
            Version(cuda): Gate(tuple(row["branches"]), frozenset(row["brands"]))
            for cuda, row in images["gates"].items()
        },
        drivers={
            cuda: CudaDriver(row["driver"], row["branch"], row["minimum"]) for cuda, row in drivers["cuda"].items()
        },
        branch_cuda={int(branch): cuda for branch, cuda in drivers["branch_cuda"].items()},
        min_cuda_for_sm=drivers["min_cuda_for_sm"],
        min_sm_of_major={int(major): sm for major, sm in drivers["min_sm_by_major"].items()},
        generated=torch["generated"],
    )


def _texts(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _wheels(row: dict[str, Any]) -> dict[str, Any]:
    pythons = _texts(row.get("pythons"))
    return {
        "version": Version(row["version"]),
        "requires_python": SpecifierSet(row.get("requires_python") or ""),
        "pythons": pythons,
        # Not read for this package: assume what x86_64 has.
        "pythons_aarch64": _texts(row["pythons_aarch64"]) if "pythons_aarch64" in row else pythons,
    }


def _torch_release(row: dict[str, Any]) -> TorchRelease:
    return TorchRelease(
        **_wheels(row),
        cuda=row["cuda"],
        cuda_aarch64=row.get("cuda_aarch64"),
        glibc=row["glibc"],
        builds=tuple(
            CudaBuild(build["tag"], build["cuda"], build["cudnn"], _texts(build["sm"])) for build in row["builds"]
        ),
        has_cpu_build=row["cpu"],
        unknown_builds=tuple(row.get("builds_unknown", ())),
    )


def _release(row: dict[str, Any]) -> Release:
    torch = row.get("torch")
    return Release(
        **_wheels(row),
        cuda=row.get("cuda"),
        cudnn=row.get("cudnn"),
        glibc=row.get("glibc"),
        flavour=row.get("flavour"),
        torch=None if torch is None else SpecifierSet(torch),
        cuda_tags=tuple(row.get("cuda_tags", ())),
        sm=_texts(row.get("sm")),
        variants=tuple((extra, _variant(variant)) for extra, variant in row.get("variants", {}).items()),
    )


def _variant(row: dict[str, Any]) -> Variant:
    return Variant(
        flavour=row["flavour"],
        cuda=row.get("cuda"),
        cudnn=row.get("cudnn"),
        pythons=_texts(row.get("pythons")),
        is_missing=row.get("missing", False),
        note=row.get("note"),
    )


def _package(name: str, row: dict[str, Any]) -> Package:
    releases = [_release(release) for release in row["releases"]]
    for oldest, flavour in row.get("flavour_from", {}).items():
        releases = [_with_flavour(release, Version(oldest), flavour) for release in releases]
    return Package(
        name=name,
        flavour=row["flavour"],
        releases=tuple(releases),
        is_complete=row["complete"],
        follows_torch=row.get("follows_torch", False),
        needs_compiler=row.get("compiler", False),
        works_through_torch=row.get("with_torch", False),
        cpu_only_note=row.get("cpu_only"),
        newest_on_pypi=row.get("newest_on_pypi"),
        aarch64_is_cpu_only=row.get("aarch64_is_cpu_only", False),
    )


def _with_flavour(release: Release, oldest: Version, flavour: Flavour) -> Release:
    return replace(release, flavour=flavour) if release.version >= oldest else release


# <cuda>-[cudnn[8|9]-]<base|runtime|devel>-<os>; the digit after cudnn is gone from 12.4.1 on, where it means 9.
_TAG = re.compile(r"(?P<cuda>[\d.]+)-(?:cudnn(?P<cudnn>\d*)-)?(?P<kind>base|runtime|devel)-(?P<os>.+)")


def parse_cuda_tag(tag: str, *, cudnn: str | None = None, status: TagStatus = "likely") -> ImageTag | None:
    """What a tag of nvidia/cuda says of itself, None if it does not follow the pattern."""
    match = _TAG.fullmatch(tag)
    if match is None:
        return None
    has_cudnn = match["cudnn"] is not None
    flavour = f"cudnn-{match['kind']}" if has_cudnn else match["kind"]
    return ImageTag(
        tag=tag,
        cuda=Version(match["cuda"]),
        flavour=flavour,  # type: ignore[arg-type]  # the pattern admits the words of Flavour only
        os=match["os"],
        cudnn_major=int(match["cudnn"] or 9) if has_cudnn else None,
        cudnn=Version(cudnn) if cudnn else None,
        status=status,
    )


def _image(row: dict[str, Any]) -> ImageTag:
    image = parse_cuda_tag(row["tag"], cudnn=row["cudnn"], status=row["status"])
    if image is None:
        raise ValueError(f"not a tag of nvidia/cuda: {row['tag']}")
    return image
