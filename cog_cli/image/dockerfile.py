"""`render`: a BuildPlan as the text of a Dockerfile."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cog_cli.image.plan import BuildPlan

_KEY_COMMENT = re.compile(r"# cog\.yaml: (\S+)")


def render(plan: BuildPlan) -> str:
    """The Dockerfile of a plan; the same plan gives the same bytes. Ends with a newline.

    No value can become an instruction: commands of the user are JSON in exec form, values of variables are quoted,
    shell words too; everything else has a grammar in `cog_cli.config` that leaves nothing to quote.
    """
    return _environment().get_template("Dockerfile.j2").render(plan=plan)


def find_key(dockerfile: str, line: int) -> str | None:
    """The key of cog.yaml (`build.run[0]`) that line `line` (from 1) of a rendered Dockerfile stems from, if any."""
    for text in reversed(dockerfile.splitlines()[:line]):
        if not text:
            return None
        if match := _KEY_COMMENT.fullmatch(text):
            return match[1]
    return None


def templates_folder() -> Path:
    """Where the templates are: inside the package, in a checkout by a link to `templates/`."""
    return Path(__file__).resolve().parent.parent / "templates"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_folder()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"assignments": _assignments, "exec_form": _exec_form, "shell": shlex.quote}
    return environment


def _assignments(pairs: tuple[tuple[str, str], ...]) -> str:
    """The rest of an ENV or ARG, one variable a line."""
    return " \\\n    ".join(f"{name}={_quoted(value)}" for name, value in pairs)


def _quoted(value: str) -> str:
    """A value of ENV or ARG. In double quotes only `\\`, `"` and `$` mean something to Docker."""
    _refuse_line_breaks(value)
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'


# docs/decisions/004-build-run-in-exec-form.md
def _exec_form(command: str) -> str:
    """A command as RUN's JSON form: no line breaks, here-documents or variables for Docker to find in it."""
    # hadolint ends the string at the quote of `\\"`, so a backslash before a quote is written by its number.
    pieces = re.split(r'\\(?="|\Z)', command)
    text = r"\u005c".join(json.dumps(piece, ensure_ascii=False)[1:-1] for piece in pieces)
    return f'["/bin/sh", "-c", "{text}"]'


def _refuse_line_breaks(value: str) -> None:
    # There is no way to write one in ENV. The grammar of cog.yaml refuses them with a better message.
    if "\n" in value or "\r" in value:
        raise ValueError(f"line break in {value!r}")
