"""`WheelPins`: what a wheel's METADATA says of CUDA, cuDNN and torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.parser import HeaderParser

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

# From the most exact to the least. The suffix went with CUDA 13: nvidia-cuda-runtime-cu12, nvidia-cuda-runtime.
_CUDA = (re.compile(r"cuda-toolkit"), re.compile(r"nvidia-cuda-runtime(-cu\d+)?"), re.compile(r"cuda-bindings"))
_CUDNN = re.compile(r"nvidia-cudnn-cu\d+")
_MAJOR = re.compile(r"nvidia-[\w-]+-cu(\d\d)|jax-cuda(\d\d)-plugin")


@dataclass(frozen=True)
class WheelPins:
    """`cuda` is x.y, or x where only the major is told, None if no CUDA library comes along; `torch` is what it asks
    of torch, None if it does not name it."""

    cuda: str | None
    cudnn: str | None
    torch: SpecifierSet | None


@dataclass(frozen=True)
class WheelMetadata:
    """The dependencies of a wheel and the names of its extras."""

    requirements: tuple[Requirement, ...]
    extras: frozenset[str]

    def pins(self, *, python: str, machine: str, extras: frozenset[str] = frozenset()) -> WheelPins:
        """The pins that hold on Linux for a Python (`3.12`), a machine and the extras asked for."""
        applying = [item for item in self.requirements if _applies(item, python, machine, extras)]
        floors = {str(canonicalize_name(item.name)): _floor(item.specifier) for item in applying}
        torch = next((item.specifier for item in applying if item.name == "torch"), None)
        cudnn = next((floor for name, floor in floors.items() if floor and _CUDNN.fullmatch(name)), None)
        return WheelPins(_cuda(floors), cudnn, torch)


def parse_metadata(text: str) -> WheelMetadata:
    """Read METADATA; a line that is not a requirement is passed over. Raises ValueError if it is not METADATA."""
    message = HeaderParser().parsestr(text.partition("\n\n")[0])
    if not message.get("Metadata-Version") and not message.get("Name"):
        raise ValueError("not the METADATA of a wheel")
    requirements = []
    for line in message.get_all("Requires-Dist", []):
        try:
            requirements.append(Requirement(line))
        except InvalidRequirement:
            continue
    return WheelMetadata(tuple(requirements), frozenset(message.get_all("Provides-Extra", [])))


def _applies(requirement: Requirement, python: str, machine: str, extras: frozenset[str]) -> bool:
    if requirement.marker is None:
        return True
    python = python.removesuffix("t")
    environment = {
        "os_name": "posix",
        "platform_machine": machine,
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    try:
        return any(requirement.marker.evaluate({**environment, "extra": extra}) for extra in extras | {""})
    except ValueError:  # a comparison that means nothing
        return False


def _floor(specifier: SpecifierSet) -> str | None:
    """The pinned version, or the lower end of a range."""
    for operator in ("==", "~=", ">="):
        for part in specifier:
            if part.operator == operator:
                return part.version.removesuffix(".*")
    return None


def _cuda(floors: dict[str, str | None]) -> str | None:
    for pattern in _CUDA:
        for name, floor in floors.items():
            if floor and pattern.fullmatch(name) and (version := _version(floor)):
                return f"{version.major}.{version.minor}"
    return next((match[1] or match[2] for name in floors if (match := _MAJOR.fullmatch(name))), None)


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
