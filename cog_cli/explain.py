"""`explain`: the resolved stack and its reasons, for people or for programs."""

from __future__ import annotations

import json
from collections.abc import Callable

from cog_cli.compat.drivers import Host
from cog_cli.compat.stack import Stack
from cog_cli.console import console
from cog_cli.errors import CogError, ConfigError, StackError
from cog_cli.project import Project, resolve


def explain(
    load: Callable[[], Project],
    *,
    as_json: bool,
    platform: str | None = None,
    host: Host | None = None,
    is_offline: bool = False,
) -> int:
    """Print the stack of the project that `load` reads; give the exit code. With `as_json` errors are JSON too."""
    try:
        project = load()
        stack = resolve(project, platform=platform, host=host, is_offline=is_offline).stack
    except CogError as error:
        if not as_json:
            raise
        console.result(json.dumps({"errors": _errors(error)}, indent=2, ensure_ascii=False))
        return error.exit_code
    if as_json:
        document = stack.to_json()
        document["warnings"] = [*project.warnings, *stack.warnings]
        console.result(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    for warning in (*project.warnings, *stack.warnings):
        console.warn(warning)
    console.result(_as_text(stack))
    return 0


def _errors(error: CogError) -> list[dict[str, str | None]]:
    if isinstance(error, (ConfigError, StackError)):
        return [
            {"where": item.where, "key": item.key, "message": item.message, "hint": item.hint}
            for item in error.problems
        ]
    return [{"where": None, "key": None, "message": error.message, "hint": error.hint}]


def _as_text(stack: Stack) -> str:
    rows = [
        ("base image", stack.base_image),
        ("final image", stack.final_image),
        ("flavour", stack.flavour),
        ("python", stack.python),
        ("cuda", stack.cuda),
        ("cudnn", stack.cudnn),
        ("torch", stack.torch and f"{stack.torch.version} from {stack.torch.index_url or 'PyPI'}"),
        ("oldest driver", stack.min_driver),
    ]
    lines = [f"{name + ':':<15}{value}" for name, value in rows if value]
    lines += ["", "packages:", *(f"  {line}" for line in stack.packages)] if stack.packages else []
    lines += ["", "why:", *(f"  - {reason}" for reason in stack.reasons)]
    return "\n".join(lines)
