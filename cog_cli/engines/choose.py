"""`choose_engine`: which engine runs, and a word about it when it is not the expected one."""

from __future__ import annotations

import os
from collections.abc import Callable

from cog_cli.engines.base import Engine
from cog_cli.engines.local import LocalEngine
from cog_cli.errors import CogError, UsageError

ENGINES = ("auto", "docker", "local")


def choose_engine(asked: str | None, *, python: str | None, on_notice: Callable[[str], None]) -> Engine:
    """The engine of this name; `auto` (the default, or COG_ENGINE): Docker if it answers, otherwise local.

    Raises CogError if Docker was asked for and does not answer.
    """
    name = asked or os.environ.get("COG_ENGINE") or "auto"
    if name not in ENGINES:
        raise UsageError(f"COG_ENGINE is {name!r}; it must be one of {', '.join(ENGINES)}")
    if name == "local" or (python is not None and name == "auto"):
        return LocalEngine(python)
    # Here, not above: Docker's client takes 0.2 s to import, and the local engine needs none of it.
    from cog_cli.engines.docker import DockerEngine

    try:
        return DockerEngine()
    except CogError as error:
        if name == "docker":
            raise
        on_notice(f"{error.message}: using the local engine")
        return LocalEngine(python)
