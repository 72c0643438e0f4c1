"""`find_releases`: the Python of the image, and the releases of the GPU packages that fit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cog_cli.compat.asked import AskedPackages, RequestedBuild, packages_asked
from cog_cli.compat.base_images import base_image_python
from cog_cli.compat.images import minor_of
from cog_cli.compat.releases import PYTHONS, Selection, select_releases
from cog_cli.compat.tables import Tables
from cog_cli.errors import StackError
from cog_cli.requirements.packages import Requirements


@dataclass(frozen=True)
class Found:
    """The Python (`3.12`, `3.12.4` or `3.13t`), what is asked on it, and the releases that fit."""

    python: str
    asked: AskedPackages
    selection: Selection
    reason: str

    @property
    def minor(self) -> str:
        return minor_of(self.python)


def find_releases(
    build: RequestedBuild,
    requirements: Requirements,
    *,
    machine: str,
    tables: Tables,
    locate: Callable[[str], str],
) -> Found:
    """The Python that was asked for or, if none was, 3.12 or the newest that the pinned packages have wheels for.

    Raises StackError with every clash, on the Python asked for or on 3.12.
    """

    def on(python: str, reason: str = "") -> Found:
        asked = packages_asked(build, requirements, python=python, machine=machine, tables=tables, locate=locate)
        selection = select_releases(asked, python=minor_of(python), machine=machine, tables=tables)
        return Found(python, asked, selection, reason)

    own = base_image_python(build.base_image)
    if build.python_version is not None:
        found = on(build.python_version, f"Python {build.python_version}, as `python_version` says")
    elif own is not None:
        found = on(own, f"Python {own}, which {build.base_image} brings")
    else:
        found = _first_that_fits(on)
    if found.selection.problems:
        raise StackError(list(found.selection.problems))
    return found


def _first_that_fits(on: Callable[[str], Found]) -> Found:
    first = found = on(PYTHONS[0])
    for python in PYTHONS[1:]:
        if not found.selection.problems:
            break
        found = on(python)
    if found.selection.problems:
        return first
    if found is first:
        return replace(found, reason=f"Python {found.python}: no `python_version` is given, and every package has it")
    why = first.selection.problems[0].message
    return replace(found, reason=f"Python {found.python}: no `python_version` is given, and {why}")
