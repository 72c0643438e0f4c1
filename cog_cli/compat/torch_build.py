"""`choose_torch`: which release and CUDA build of torch, and from which index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from packaging.version import Version

from cog_cli.compat.asked import Asked
from cog_cli.compat.drivers import Host, compat_runs, driver_runs, has_kernels, minimum_driver
from cog_cli.compat.releases import Selection, goes_with
from cog_cli.compat.tables import CudaBuild, Tables, TorchRelease
from cog_cli.errors import Problem

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class TorchPick:
    """The torch that gets installed.

    `tag` is `cu121` or `cpu`; `index_url` None means PyPI (or the user's direct URL). `is_rerouted`: the index is
    our choice, so it must be handed to the installer. `build` is None for the CPU.
    """

    release: TorchRelease
    tag: str | None
    index_url: str | None
    cuda: str | None
    cudnn: str | None
    build: CudaBuild | None
    is_rerouted: bool = False
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """`2.5.1` from PyPI, `2.5.1+cu121` where the build is named."""
        version = self.release.version
        return f"{version}+{self.tag}" if self.tag else str(version)


@dataclass(frozen=True)
class TorchWish:
    """What, beside the requirement lines, decides the build."""

    gpu: bool
    machine: str
    cuda: str | None  # x.y of build.cuda
    cuda_where: str
    host: Host | None = None
    major: int | None = None  # CUDA major of packages that share torch's process and have no other build
    allows_compat: bool = False  # an nvidia/cuda image with cuda-compat is fine (see drivers.compat_runs)
    has_image: Callable[[str], bool] | None = None  # set if an image of exactly the build's CUDA is needed (nvcc)


def choose_torch(
    asked: Asked, selection: Selection, wish: TorchWish, tables: Tables
) -> tuple[TorchPick | None, tuple[Problem, ...]]:
    """The newest release that has a build which fits everything; or the problems that say why none does."""
    candidates = selection.torch
    if not candidates:
        return None, ()
    if asked.url is not None and asked.specifier:
        return _from_url(asked, candidates[0], wish), ()
    if not wish.gpu:
        return _for_cpu(asked, candidates[0], wish), ()
    is_locked = selection.locks_torch is not None
    for attempt in (wish, replace(wish, allows_compat=True)):
        for number, release in enumerate(candidates):
            build = _build(asked, release, attempt, tables, is_newest=number == 0, is_locked=is_locked)
            if build is not None:
                return build, ()
    return None, (_no_build(asked, candidates, wish, tables, selection),)


def _pypi_cuda(release: TorchRelease, machine: str) -> str | None:
    return release.cuda if machine == "x86_64" else release.cuda_aarch64


def _from_url(asked: Asked, release: TorchRelease, wish: TorchWish) -> TorchPick:
    tag = asked.tag
    build = next((build for build in release.builds if build.tag == tag), None)
    if tag is None:  # the file name does not say: the user's `cuda`, if there is such a build, or PyPI's
        build = release.build_for(wish.cuda) or release.build_for(release.cuda)
    cuda = build.cuda if build else _cuda_of_tag(tag)
    cudnn = build.cudnn if build else None
    source = f"torch {release.version}{f'+{tag}' if tag else ''} comes from the URL you gave"
    return TorchPick(release, tag, None, cuda if wish.gpu else None, cudnn, build, reasons=(source,))


def _cuda_of_tag(tag: str | None) -> str | None:
    """`12.1` for `cu121`."""
    return f"{tag[2:-1]}.{tag[-1]}" if tag and tag.startswith("cu") and tag[2:].isdigit() else None


def _for_cpu(asked: Asked, release: TorchRelease, wish: TorchWish) -> TorchPick:
    """Without a GPU: the CPU build, which has an index of its own and is gigabytes smaller."""
    name = f"torch {release.version}"
    if asked.tag or asked.index_tag:
        tag = asked.tag or asked.index_tag
        url = asked.index_url or (f"https://download.pytorch.org/whl/{tag}" if tag else None)
        warnings: tuple[str, ...] = ()
        if tag != "cpu":
            warnings = (f"gpu is false, but {name}+{tag} is built for CUDA: its CPU build is gigabytes smaller",)
        pick = TorchPick(release, tag, url, None, None, None, is_rerouted=not asked.index_url, warnings=warnings)
        return replace(pick, reasons=(f"{name}+{tag} is what the requirements name",))
    if asked.is_in_run:
        return TorchPick(release, None, None, None, None, None, reasons=(f"{name} is installed by {asked.key}",))
    if _pypi_cuda(release, wish.machine) is None:
        return TorchPick(
            release, None, None, None, None, None, reasons=(f"{name} on PyPI is the CPU build for {wish.machine}",)
        )
    if not release.has_cpu_build or asked.has_hashes:
        why = "its hashes are those of PyPI's files" if asked.has_hashes else "no index of its CPU build is known"
        reason = f"{name} comes from PyPI with the CUDA libraries in it: {why}"
        return TorchPick(release, None, None, None, None, None, reasons=(reason,))
    reason = (
        f"{name} comes from {CPU_INDEX} as gpu is false: PyPI's wheel brings the CUDA libraries, which are gigabytes"
    )
    return TorchPick(release, "cpu", CPU_INDEX, None, None, None, is_rerouted=True, reasons=(reason,))


def _build(
    asked: Asked, release: TorchRelease, wish: TorchWish, tables: Tables, *, is_newest: bool, is_locked: bool
) -> TorchPick | None:
    """The build of one release that fits, None if it has none."""
    name = f"torch {release.version}"
    cpu_tag = asked.tag if asked.tag and not asked.tag.startswith("cu") else None
    if cpu_tag or (asked.tag is None and asked.index_tag == "cpu"):
        warning = f"gpu is true, but torch {release.version}+{cpu_tag or 'cpu'} does not use CUDA"
        url = asked.index_url or f"https://download.pytorch.org/whl/{cpu_tag}"
        rerouted = not asked.index_url
        return TorchPick(release, cpu_tag or "cpu", url, None, None, None, rerouted, (), (warning,))
    if asked.tag is not None:
        build = next((build for build in release.builds if build.tag == asked.tag), None)
        if build is None:
            return None
        reasons = (f"{name}+{build.tag} is the build that the requirements name: CUDA {build.cuda}",)
        warnings = _contradiction(f"{name}+{build.tag}", build.cuda, wish)
        if wish.machine != "x86_64" and build.cuda != release.cuda_aarch64:
            unknown = f"whether {build.index_url} has {name}+{build.tag} for arm64 is not known"
            warnings += (f"{asked.where}: {unknown}: the build will tell",)
        url = asked.index_url or build.index_url
        pick = TorchPick(
            release, build.tag, url, build.cuda, build.cudnn, build, not asked.index_url, reasons, warnings
        )
        return pick if _runs(build, wish, tables) else None
    if asked.index_tag is not None and (indexed := _from_users_index(asked, release, wish, tables)) is not None:
        return indexed
    if asked.index_tag is not None and asked.is_only_index:
        return None
    default_cuda = _pypi_cuda(release, wish.machine)
    default = release.build_for(default_cuda)
    if default is not None and _fits(default, wish, tables) and (is_newest or asked.is_pinned):
        reason = (
            f"{name} from PyPI is built for CUDA {default.cuda} and brings its libraries: it needs no CUDA base image"
        )
        pick = TorchPick(release, None, None, default.cuda, default.cudnn, default)
        if asked.index_tag is not None:
            warning = f"{asked.where}: {asked.index_url} has no build of {name}: the one from PyPI is taken"
            pick = replace(pick, warnings=(warning,))
        return replace(pick, reasons=(reason, f"{name} has {kernels_text(default, tables)}"))
    if is_locked or asked.is_in_run or asked.has_hashes:
        return None
    return _rerouted(release, default, wish, tables)


def _rerouted(release: TorchRelease, default: CudaBuild | None, wish: TorchWish, tables: Tables) -> TorchPick | None:
    """The highest build of another index that fits. Those whose kernels are known come first."""
    builds = [build for build in release.builds if _fits(build, wish, tables) and wish.machine == "x86_64"]
    builds.sort(key=_by_preference)
    if not builds:
        return None
    build = builds[0]
    name = f"torch {release.version}"
    reason = f"{name} comes from {build.index_url}: {_why_not(default, wish, tables)}"
    reasons = (reason, f"{name}+{build.tag} has {kernels_text(build, tables)}")
    return TorchPick(release, build.tag, build.index_url, build.cuda, build.cudnn, build, True, reasons)


def kernels_text(build: CudaBuild, tables: Tables) -> str:
    """`kernels for GPUs from sm_50 to sm_90`, as far as it is known."""
    if build.sm:
        return f"kernels for GPUs from {build.sm[0]} to {build.sm[-1]}"
    newer = [sm for sm, cuda in tables.min_cuda_for_sm.items() if Version(cuda) > Version(build.cuda)]
    if newer:
        return f"no kernels for GPUs of {newer[0]} and newer: CUDA {build.cuda} is older than they are"
    return "kernels for GPUs that the table does not list"


def _from_users_index(asked: Asked, release: TorchRelease, wish: TorchWish, tables: Tables) -> TorchPick | None:
    """pip prefers `2.5.1+cu121` of an extra index over `2.5.1`, if that index has it."""
    build = next((build for build in release.builds if build.tag == asked.index_tag), None)
    if build is None or not _runs(build, wish, tables):
        return None
    reasons = (f"torch {release.version}+{build.tag} comes from the index you named: CUDA {build.cuda}",)
    warnings = _contradiction(f"torch {release.version}+{build.tag}", build.cuda, wish)
    return TorchPick(release, build.tag, asked.index_url, build.cuda, build.cudnn, build, False, reasons, warnings)


def _contradiction(name: str, cuda: str, wish: TorchWish) -> tuple[str, ...]:
    if wish.cuda is None or wish.cuda == cuda:
        return ()
    return (
        f"{wish.cuda_where}: `build.cuda` is {wish.cuda}, but {name} in the requirements is CUDA {cuda}: that wins",
    )


def _runs(build: CudaBuild, wish: TorchWish, tables: Tables) -> bool:
    has_driver = driver_runs(build.cuda, wish.host, tables)
    if not has_driver and wish.allows_compat:
        has_driver = compat_runs(build.cuda, wish.host, tables)
    return has_driver and has_kernels(build.sm, build.cuda, wish.host, tables) is not False


def _fits(build: CudaBuild, wish: TorchWish, tables: Tables) -> bool:
    if wish.cuda is not None and build.cuda != wish.cuda:
        return False
    if wish.cuda is None and wish.major is not None and Version(build.cuda).major != wish.major:
        return False
    if wish.has_image is not None and not wish.has_image(build.cuda):
        return False
    return _runs(build, wish, tables)


def _why_not(default: CudaBuild | None, wish: TorchWish, tables: Tables) -> str:
    """Why PyPI's build is not taken."""
    if default is None:
        return "PyPI has no CUDA build of it"
    on_pypi = f"PyPI's is CUDA {default.cuda}"
    if wish.cuda is not None and wish.cuda != default.cuda:
        return f"`build.cuda` asks for {wish.cuda}, {on_pypi}"
    if not driver_runs(default.cuda, wish.host, tables) and wish.host:
        return f"{on_pypi}, which needs driver {minimum_driver(default.cuda, tables)} (host: {wish.host.driver})"
    if has_kernels(default.sm, default.cuda, wish.host, tables) is False:
        return f"{on_pypi} and has no kernels for {wish.host}"
    if wish.major is not None and Version(default.cuda).major != wish.major:
        return f"other packages need the libraries of CUDA {wish.major}, {on_pypi}"
    if wish.has_image is not None and not wish.has_image(default.cuda):
        return f"{on_pypi}, and no image with that compiler exists"
    return f"{on_pypi}, and a newer release would be taken from there"


def _no_build(
    asked: Asked, candidates: tuple[TorchRelease, ...], wish: TorchWish, tables: Tables, selection: Selection
) -> Problem:
    """Say why no release in question has a usable build, and what is nearest."""
    release = candidates[0]
    name = f"torch {release.version}"
    tags = ", ".join(build.tag for build in release.builds)
    versions = ", ".join(build.cuda for build in release.builds)
    tag = asked.tag or (asked.index_tag if asked.is_only_index else None)
    if tag is not None and not any(build.tag == tag for build in release.builds):
        newest = release.builds[-1]
        hint = f"Use torch=={release.version}+{newest.tag}, or leave the build to Cog: torch=={release.version}."
        message = (
            f"{name} has no {tag} build" if tag not in release.unknown_builds else f"no {tag} build of {name} is known"
        )
        return Problem(asked.where, asked.key, f"{message}; builds: {tags}", hint)
    if wish.cuda is not None and release.build_for(wish.cuda) is None:
        nearest = _nearest_cuda(release, wish.cuda)
        hint = f'Set `cuda: "{nearest}"`, or remove it and Cog will choose.'
        others = [row for row in tables.torch if row.build_for(wish.cuda)]
        if others:
            hint += f" torch {others[-1].version} is the newest for CUDA {wish.cuda}."
        message = f"{name} is built for CUDA {versions}, not {wish.cuda}"
        return Problem(wish.cuda_where, "build.cuda", message, hint)
    if wish.machine != "x86_64" and _pypi_cuda(release, wish.machine) is None:
        first = next((row for row in tables.torch if row.cuda_aarch64), None)
        message = f"{name} on PyPI is built for the CPU only on arm64"
        other = f"torch=={release.version}+{release.builds[-1].tag}" if release.builds else "torch"
        newer = f"Use torch>={first.version}, or name another index's build: {other}." if first else None
        return Problem(asked.where, asked.key, message, newer)
    return _host_problem(asked, release, wish, tables, selection)


def _nearest_cuda(release: TorchRelease, cuda: str) -> str:
    def distance(build: CudaBuild) -> float:
        return abs(float(build.cuda) - float(cuda))

    return min(release.builds, key=distance).cuda


def _host_problem(
    asked: Asked, release: TorchRelease, wish: TorchWish, tables: Tables, selection: Selection
) -> Problem:
    """No build of the release runs on the host: name the reason, and the newest torch that does run."""
    lock = selection.locks_torch
    via = f" (asked by {lock.asked.name} {lock.releases[-1].version})" if lock else ""
    default = release.build_for(release.cuda) or release.builds[-1]
    source = f"torch {release.version}{via} from PyPI is CUDA {default.cuda}"
    if not driver_runs(default.cuda, wish.host, tables) and wish.host:
        minimum = minimum_driver(default.cuda, tables)
        message = f"{source}, which needs driver >={minimum}; the host has {wish.host.driver}"
    elif has_kernels(default.sm, default.cuda, wish.host, tables) is False and default.sm:
        message = f"{source} and has kernels from {default.sm[0]} to {default.sm[-1]} only, none for {wish.host}"
    else:
        message = (
            f"no build of torch {release.version} fits: there are {', '.join(build.tag for build in release.builds)}"
        )
    loose = replace(wish, cuda=None)
    # Older releases first: for a driver or GPU that is too old. Newer ones then: for a GPU that is too new.
    older = [row for row in reversed(tables.torch) if row.version < release.version]
    newer = [row for row in tables.torch if row.version > release.version]
    for row in older + newer:
        builds = sorted((build for build in row.builds if _fits(build, loose, tables)), key=_by_preference)
        partners = [partner for partner in lock.package.releases if goes_with(partner, row.version)] if lock else []
        if not builds:
            continue
        if lock is None:
            tag = "" if builds[0].cuda == row.cuda else f"+{builds[0].tag}"
            return Problem(asked.where, asked.key, message, f"Use torch=={row.version}{tag}, or update the driver.")
        if partners and row.cuda in [build.cuda for build in builds]:
            use = f"Use {lock.asked.name}=={partners[-1].version} (torch {row.version}, CUDA {row.cuda})"
            return Problem(asked.where, asked.key, message, f"{use}, or update the driver.")
    return Problem(asked.where, asked.key, message)


def _by_preference(build: CudaBuild) -> tuple[bool, int, int]:
    """Known kernels first, then the highest CUDA."""
    version = Version(build.cuda)
    return build.sm is None, -version.major, -version.minor
