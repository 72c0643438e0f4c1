"""`choose_image`: the smallest base image that has what the packages need."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import Version

from cog_cli.compat.drivers import Host, gate_opens
from cog_cli.compat.needs import Need
from cog_cli.compat.stack import Flavour
from cog_cli.compat.tables import ImageTag, Tables
from cog_cli.errors import Problem
from cog_cli.versions import DEBIAN

REPOSITORY = "nvidia/cuda"

# Smallest first. `base` has the driver's compatibility libraries and cudart, `runtime` adds the CUDA libraries,
# `devel` headers and nvcc; the cudnn ones add cuDNN.
FLAVOURS: tuple[Flavour, ...] = ("base", "runtime", "cudnn-runtime", "devel", "cudnn-devel")
_HAS: dict[Flavour, frozenset[str]] = {
    "base": frozenset(),
    "runtime": frozenset({"libraries"}),
    "cudnn-runtime": frozenset({"libraries", "cudnn"}),
    "devel": frozenset({"libraries", "nvcc"}),
    "cudnn-devel": frozenset({"libraries", "cudnn", "nvcc"}),
}
_STATUS = {"published": 0, "documented": 0, "likely": 1, "end-of-life": 2}
# 22.04 first: its libraries are those of Debian bookworm's age, and every CUDA from 11.7 has it.
_OS = {"ubuntu22.04": 0, "ubuntu20.04": 1, "ubuntu24.04": 2, "ubuntu18.04": 3, "ubuntu26.04": 4, "ubuntu16.04": 5}
_GLIBC = {
    "ubuntu16.04": "2.23",
    "ubuntu18.04": "2.27",
    "ubuntu20.04": "2.31",
    "ubuntu22.04": "2.35",
    "ubuntu24.04": "2.39",
    "ubuntu26.04": "2.43",
    "buster": "2.28",
    "bullseye": "2.31",
    "bookworm": "2.36",
}
# Where only the major is known: the last release whose images start on consumer GPUs with older drivers.
_USUAL_MINOR = {11: "11.8", 12: "12.4", 13: "13.0"}

# The first patch release of each Python that has a `-slim-bookworm` image (bookworm came out in June 2023), and the
# first that has `-slim-bullseye` (August 2021); older ones have `-slim-buster`. Source: docker-library/python.
_FIRST_BOOKWORM = {8: 17, 9: 17, 10: 12, 11: 4}
_FIRST_BULLSEYE = {8: 11, 9: 6}


def python_image(python: str) -> tuple[str, bool]:
    """The slim image for a Python (`3.12`, `3.12.4`, `3.13t`), and whether that Python is in it.

    `python:3.12-slim-bookworm`; an older Debian for old patch releases. Free-threaded Pythons have no official image.
    """
    if python.endswith("t"):
        return f"debian:{DEBIAN}-slim", False
    return f"python:{python}-slim-{python_debian(python)}", True


def python_debian(python: str) -> str:
    """The Debian release of the slim image for this Python."""
    parts = [int(part) for part in python.split(".")]
    if len(parts) < 3 or parts[2] >= _FIRST_BOOKWORM.get(parts[1], 0):
        return DEBIAN
    return "bullseye" if parts[2] >= _FIRST_BULLSEYE.get(parts[1], 0) else "buster"


def glibc_of(image: str) -> str | None:
    """The C library's version in an image, as far as its name tells."""
    return next((version for system, version in _GLIBC.items() if system in image), None)


@dataclass(frozen=True)
class ImageWish:
    """What is asked of an nvidia/cuda image. `cuda` is the user's x.y or x.y.z, `near` the x.y to stay close to."""

    needs: tuple[Need, ...]
    cuda: str | None = None
    cudnn: str | None = None
    near: str | None = None
    flavour: Flavour = "base"  # at least this
    host: Host | None = None
    cuda_where: str = ""
    cudnn_where: str = ""


@dataclass(frozen=True)
class ImagePick:
    image: ImageTag
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{REPOSITORY}:{self.image.tag}"


def choose_image(wish: ImageWish, tables: Tables) -> tuple[ImagePick | None, tuple[Problem, ...]]:
    """The best tag, or the problems that say what clashes. One major, one cuDNN, the smallest flavour, then age."""
    problems = (*_bad_request(wish, tables), *_clashes(wish.needs, tables))
    if problems:
        return None, problems
    fitting = [image for image in tables.images if _suits(image, wish)]
    if not fitting:
        return None, (_nothing_fits(wish, tables),)
    opening = [image for image in fitting if gate_opens(image, wish.host, tables)]
    near = Version(_near(wish))
    best = min(opening or fitting, key=lambda image: _rank(image, near))
    warnings = [_older_libraries(need, best) for need in wish.needs if _is_newer(need, best)]
    if not opening and wish.host is not None:
        warnings.append(
            f"{REPOSITORY}:{best.tag} does not start on {wish.host} by itself: update the driver, "
            "or run it with NVIDIA_DISABLE_REQUIRE=true"
        )
    return ImagePick(best, tuple(warnings)), ()


def smaller_image(image: ImageTag, wish: ImageWish, tables: Tables) -> ImageTag | None:
    """The smallest image for `wish` that has the CUDA, the cuDNN and the system of `image`, if one is smaller.

    The same system, not a slim one: what was compiled with the C library and the compiler of `image` finds the same.
    """
    fitting = [
        other
        for other in tables.images
        if (other.cuda, other.os) == (image.cuda, image.os)
        and FLAVOURS.index(other.flavour) < FLAVOURS.index("devel")
        and (other.cudnn_major is None or (other.cudnn_major, other.cudnn) == (image.cudnn_major, image.cudnn))
        and _suits(other, wish)
    ]
    return min(fitting, key=lambda other: FLAVOURS.index(other.flavour), default=None)


def _is_newer(need: Need, image: ImageTag) -> bool:
    """Whether the package was built with newer CUDA libraries than the image has."""
    return need.is_of_image and need.cuda is not None and "." in need.cuda and Version(need.cuda) > Version(image.minor)


def _older_libraries(need: Need, image: ImageTag) -> str:
    cudnn = f" with cuDNN {need.cudnn}" if need.cudnn else ""
    return (
        f"{need.where}: {need.label} is built for CUDA {need.cuda}, and no image that can be had is that new{cudnn}: "
        f"{image.tag} is the nearest, and nobody has tested it"
    )


def _near(wish: ImageWish) -> str:
    """The CUDA x.y to aim at: the user's, the one a package is built for, the one torch has, the usual of a major."""
    if wish.cuda:
        return minor_of(wish.cuda)
    versions = [need.cuda for need in wish.needs if need.is_of_image and need.cuda]
    exact = [cuda for cuda in versions if "." in cuda]
    major = next((int(cuda.partition(".")[0]) for cuda in versions), None)
    if exact:
        return max(exact, key=Version)
    if wish.near and (major is None or Version(wish.near).major == major):
        return wish.near
    return _USUAL_MINOR.get(major or 12, f"{major}.0")


def _rank(image: ImageTag, near: Version) -> tuple[object, ...]:
    cuda = Version(image.minor)
    distance = abs(cuda.major * 100 + cuda.minor - near.major * 100 - near.minor)
    return (
        cuda < near,  # libraries older than those a package was built with come last
        distance,
        FLAVOURS.index(image.flavour),
        _STATUS[image.status],
        -image.cuda.micro,
        _OS[image.os],
    )


def _suits(image: ImageTag, wish: ImageWish) -> bool:
    if not _HAS[image.flavour] >= _HAS[wish.flavour]:
        return False
    if wish.cuda and wish.cuda not in (image.minor, str(image.cuda)):
        return False
    if wish.cudnn and not _is_cudnn(image, wish.cudnn):
        return False
    return all(image_serves(image, need) for need in wish.needs)


def image_serves(image: ImageTag, need: Need) -> bool:
    """Whether the image is enough for one package."""
    if need.glibc and Version(_GLIBC[image.os]) < Version(need.glibc):
        return False
    if not need.is_of_image:
        return True
    if not _HAS[image.flavour] >= _HAS[need.flavour]:
        return False
    if need.cuda is not None and need.is_exact and image.minor != need.cuda:
        return False
    if need.cuda is not None and image.cuda.major != need.major:
        return False
    return need.cudnn is None or "cudnn" not in need.flavour or _has_cudnn(image, Version(need.cudnn))


def _has_cudnn(image: ImageTag, oldest: Version) -> bool:
    """Same major, and not older: what was compiled with 9.3 refuses 9.2."""
    if image.cudnn_major != oldest.major:
        return False
    if len(oldest.release) == 1:
        return True
    return image.cudnn is not None and image.cudnn >= oldest


def _is_cudnn(image: ImageTag, asked: str) -> bool:
    """Whether the image's cuDNN is what the user wrote: `9`, `9.1` or `9.1.0.70`."""
    wanted = Version(asked).release
    if len(wanted) == 1 or image.cudnn is None:
        return image.cudnn_major == wanted[0] and (len(wanted) == 1)
    return image.cudnn.release[: len(wanted)] == wanted


def flavour_problem(asked: str, needs: tuple[Need, ...], where: str) -> Problem | None:
    """Why an image of the flavour that the user named is too small, None if it is not."""
    # There are devel images with and without cuDNN, and both are called devel in cog.yaml.
    has = _HAS["cudnn-devel"] if asked == "devel" else _HAS.get(_flavour(asked), frozenset())
    lacking = [need for need in needs if need.is_of_image and (asked == "slim" or not has >= _HAS[need.flavour])]
    if not lacking:
        return None
    largest = max(lacking, key=lambda need: FLAVOURS.index(need.flavour))
    enough = "devel" if largest.flavour.endswith("devel") else largest.flavour
    message = f"{asked} is too small: {largest.reason}"
    hint = f'Set `cuda_flavor: "{enough}"`, or remove it and Cog will choose.'
    return Problem(where, "build.cuda_flavor", message, hint)


def _flavour(name: str) -> Flavour:
    return next((flavour for flavour in FLAVOURS if flavour == name), "base")


def minor_of(cuda: str) -> str:
    """`12.1` for `12.1` and `12.1.1`."""
    return ".".join(cuda.split(".")[:2])


def machine_of(platform: str) -> str:
    """`aarch64` for linux/arm64, `x86_64` for linux/amd64: as wheels and markers call it."""
    return "aarch64" if "arm64" in platform or platform.endswith("aarch64") else "x86_64"


# --- what is wrong ------------------------------------------------------------------------------------------------


def cuda_problem(cuda: str, where: str, tables: Tables) -> Problem | None:
    """What is wrong with `build.cuda` by itself: its form, or a version that never was."""
    known = sorted(tables.drivers, key=Version)
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", cuda):
        same = [version for version in known if version.partition(".")[0] == cuda]
        example = same[-1] if same else "12.4"
        return Problem(where, "build.cuda", f"{cuda!r} is not major.minor", f'Write for example `cuda: "{example}"`.')
    if minor_of(cuda) not in known:
        near = ", ".join(sorted(_nearest(minor_of(cuda), known), key=Version))
        return Problem(where, "build.cuda", f"there is no CUDA {cuda}", f"The nearest that exist: {near}.")
    return None


def _nearest(cuda: str, known: list[str]) -> list[str]:
    wanted = Version(cuda)

    def distance(version: str) -> tuple[int, int]:
        parsed = Version(version)
        return abs(parsed.major - wanted.major), abs(parsed.minor - wanted.minor)

    return sorted(known, key=distance)[:3]


def _bad_request(wish: ImageWish, tables: Tables) -> tuple[Problem, ...]:
    """A CUDA that no image has, or a cuDNN that its images do not have."""
    images = tables.images
    if wish.cuda:
        of_cuda = [image for image in images if wish.cuda in (image.minor, str(image.cuda))]
        if not of_cuda:
            existing = sorted({str(image.cuda) for image in images if image.minor == minor_of(wish.cuda)}, key=Version)
            existing = existing or _nearest(minor_of(wish.cuda), sorted({image.minor for image in images}))
            message = f"no nvidia/cuda image of CUDA {wish.cuda} can be pulled"
            hint = f"The nearest that exist: {', '.join(existing)}."
            return (Problem(wish.cuda_where, "build.cuda", message, hint),)
        images = tuple(of_cuda)
    if wish.cudnn and not any(_is_cudnn(image, wish.cudnn) for image in images):
        existing = sorted({str(image.cudnn or image.cudnn_major) for image in images if image.cudnn_major}, key=Version)
        of = f"of CUDA {wish.cuda} " if wish.cuda else ""
        message = f"no nvidia/cuda image {of}has cuDNN {wish.cudnn}"
        hint = f"There is cuDNN {', '.join(existing)}." if existing else "None of them has cuDNN: choose another CUDA."
        return (Problem(wish.cudnn_where, "build.cudnn", message, hint),)
    return ()


def _clashes(needs: tuple[Need, ...], tables: Tables) -> tuple[Problem, ...]:
    """Two packages that load different CUDA majors from the image."""
    users = [need for need in needs if need.is_of_image and need.major is not None]
    for first in users:
        for second in users:
            if first.major is not None and second.major is not None and first.major < second.major:
                message = (
                    f"{second.label} needs CUDA {second.major} in the image and {first.label} CUDA {first.major}: "
                    "an image has one"
                )
                return (Problem(second.where, second.key, message, _way_out(first, second, tables)),)
    return ()


def _way_out(first: Need, second: Need, tables: Tables) -> str | None:
    """The newest release of either package that uses the other's CUDA."""
    hints = []
    for mine, other in ((second, first), (first, second)):
        package = tables.packages.get(mine.name)
        rows = (
            [row for row in package.releases if (row.cuda or "").partition(".")[0] == str(other.major)]
            if package
            else []
        )
        if rows:
            hints.append(f"{mine.name}=={rows[-1].version} uses CUDA {other.major}")
    return ("Use another release: " + ", ".join(hints) + ".") if hints else None


def _nothing_fits(wish: ImageWish, tables: Tables) -> Problem:
    """No tag has everything: say which need fails, and what its nearest tag is."""
    for need in wish.needs:
        alone = [image for image in tables.images if image_serves(image, need)]
        if need.is_of_image and not alone:
            what = f"CUDA {need.cuda}" + (f" with cuDNN {need.cudnn}" if need.cudnn else "")
            message = f"{need.label} needs {what} in the image, and no nvidia/cuda image with it can be pulled"
            return Problem(need.where, need.key, message, _newer_release(need, tables))
    for need in wish.needs:
        suited = [image for image in tables.images if _suits(image, ImageWish((need,), wish.cuda, wish.cudnn))]
        if not need.is_of_image or suited:
            continue
        served = [image for image in tables.images if image_serves(image, need)]
        nearest = min(served, key=lambda image: _rank(image, Version(_near(ImageWish((need,))))))
        what = f"CUDA {need.cuda}" + (
            f" and cuDNN {need.cudnn} or a newer {Version(need.cudnn).major}.x" if need.cudnn else ""
        )
        message = f"{need.label} needs {what}, which the images of "
        message += f"CUDA {wish.cuda}" if wish.cuda else f"cuDNN {wish.cudnn}"
        key, where = ("build.cuda", wish.cuda_where) if wish.cuda else ("build.cudnn", wish.cudnn_where)
        hint = f'Set `cuda: "{nearest.minor}"` ({nearest.tag}), or remove it and Cog will choose.'
        return Problem(where, key, f"{message} do not have", hint)
    labels = ", ".join(need.label for need in wish.needs if need.is_of_image)
    where, key = (wish.needs[0].where, wish.needs[0].key) if wish.needs else (wish.cuda_where, "build.cuda")
    return Problem(where, key, f"no nvidia/cuda image has everything that is needed together: {labels}")


def _newer_release(need: Need, tables: Tables) -> str | None:
    package = tables.packages.get(need.name)
    if package is None:
        return None
    for row in package.releases:
        candidate = Need(
            need.label, row.flavour or package.flavour or "base", "", "", "", need.name, row.cuda, cudnn=row.cudnn
        )
        if row.cuda and any(image_serves(image, candidate) for image in tables.images):
            return f"Use {need.name}>={row.version}."
    return None
