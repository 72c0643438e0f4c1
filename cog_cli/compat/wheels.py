"""What the names of wheels say: the machines, the Pythons and the glibc they are for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

_OTHER_SYSTEMS = re.compile(r"win|macos|musl|ios_|android")
# The glibc that the old names of platform tags stand for.
_MANYLINUX = {"manylinux1": "2.5", "manylinux2010": "2.12", "manylinux2014": "2.17"}


def is_linux_wheel(name: str, machine: str) -> bool:
    """Whether a glibc Linux on `machine` can install the file; pure Python wheels count."""
    platform = name.rpartition("-")[2]
    if not name.endswith(".whl") or _OTHER_SYSTEMS.search(platform):
        return False
    return platform == "any.whl" or (machine in platform and "linux" in platform)


def pythons_of(names: Iterable[str], machine: str) -> tuple[str, ...]:
    """The CPythons that have a wheel: `3.12`, `3.13t` for free-threaded; `abi3:3.8` and `py3` stand for ranges."""
    found: set[str] = set()
    for name in names:
        if not is_linux_wheel(name, machine):
            continue
        try:
            tags = parse_wheel_filename(name)[3]
        except InvalidWheelFilename:
            continue
        for tag in tags:
            if tag.interpreter.startswith("py3"):
                found.add("py3")
            elif match := re.fullmatch(r"cp(\d)(\d+)", tag.interpreter):
                python = f"{match[1]}.{match[2]}"
                free_threaded = "t" if tag.abi.endswith("t") else ""
                found.add(f"abi3:{python}" if tag.abi == "abi3" else python + free_threaded)
    return tuple(sorted(found, key=_python_order))


def _python_order(python: str) -> tuple[tuple[int, ...], bool]:
    return tuple(int(part) for part in re.findall(r"\d+", python)), python.endswith("t")


def glibc_of(name: str) -> str | None:
    """The oldest glibc a Linux wheel runs on, None if its name does not say."""
    if match := re.search(r"manylinux_2_(\d+)", name):
        return f"2.{match[1]}"
    return next((glibc for tag, glibc in _MANYLINUX.items() if tag in name), None)
