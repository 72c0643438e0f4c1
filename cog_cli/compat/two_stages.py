"""`choose_final`: the smaller image that a model runs in where nvcc is needed only to compile."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from cog_cli.compat.asked import RequestedBuild
from cog_cli.compat.images import REPOSITORY, ImageWish, smaller_image
from cog_cli.compat.needs import Need
from cog_cli.compat.run_commands import only_installs
from cog_cli.compat.tables import ImageTag, Tables

_RUN_KEY = re.compile(r"build\.run\[(\d+)\]")


@dataclass(frozen=True)
class Final:
    """The image to run in, None to run in the one that compiles; `run_count` commands of `build.run` compile too."""

    image: str | None
    reason: str | None
    run_count: int = 0


# docs/decisions/003-two-stages-only-where-nothing-stays.md
def choose_final(build: RequestedBuild, image: ImageTag, wish: ImageWish, tables: Tables) -> Final:
    """Decide whether what is compiled on `image` can be copied onto a smaller one of the same CUDA and system.

    Only the folder of Python and its packages is copied. So everything that may write elsewhere before the last
    compilation keeps the model in `image`: sound, though sometimes larger than it had to be.
    """
    compiling = [need for need in wish.needs if need.flavour.endswith("devel")]
    if not image.flavour.endswith("devel") or not compiling or any(need.final is None for need in compiling):
        return Final(None, None)
    labels = ", ".join(need.label for need in compiling)
    stay = f"{REPOSITORY}:{image.tag} is the final image too, though only {labels} needs nvcc: "
    if build.pre_install:
        return Final(None, stay + "`build.pre_install` may change more than Python's packages")
    run_count = max((_run_number(need) + 1 for need in compiling), default=0)
    for number, item in enumerate(build.run[:run_count]):
        if not only_installs(item.command):
            return Final(None, stay + f"`build.run[{number}]` may change more than Python's packages")
    rest = tuple(need if need.final is None else replace(need, flavour=need.final) for need in wish.needs)
    small = smaller_image(image, replace(wish, needs=rest), tables)
    if small is None:
        return Final(None, stay + "there is no smaller image of the same CUDA and system")
    name = f"{REPOSITORY}:{small.tag}"
    return Final(
        name, f"{name}: nvcc compiles {labels} in a stage of its own, and the model runs without it", run_count
    )


def _run_number(need: Need) -> int:
    match = _RUN_KEY.fullmatch(need.key)
    return int(match[1]) if match else -1
