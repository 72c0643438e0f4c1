"""What the model says about a value, in plain words at the place in the file."""

from __future__ import annotations

from difflib import get_close_matches

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from cog_cli.config.draft import Locator
from cog_cli.config.grammar import GrammarError
from cog_cli.config.key_paths import KeyPath, escape, format_key
from cog_cli.config.model import Build, Concurrency, Config, RunItem, SecretMount, Weight, WeightSource
from cog_cli.config.nodes import Finding, Mapping, Node, Scalar, Sequence, describe
from cog_cli.errors import Problem

MAX_PROBLEMS = 50
_MAX_NAME_CHARACTERS = 40

_EXPECTED = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "tuple_type": "a list",
    "model_type": "a mapping (`key: value` lines)",
    "dict_type": "a mapping (`key: value` lines)",
}
_COMMAND_LISTS = (("build", "run"), ("build", "pre_install"))
_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Config,
    ("build",): Build,
    ("concurrency",): Concurrency,
    ("weights",): Weight,
    ("weights", "source"): WeightSource,
    **dict.fromkeys(_COMMAND_LISTS, RunItem),
    **{(*path, "mounts"): SecretMount for path in _COMMAND_LISTS},
}


def translate(error: ErrorDetails, locator: Locator) -> Finding:
    """One error of the model as a finding; its path is the one the file uses."""
    path = _path_in_file(tuple(error["loc"]), locator)
    node = locator.node(path)
    kind = error["type"]
    context = error.get("ctx", {})
    fault = context.get("error")
    if isinstance(fault, GrammarError):
        path, message, hint = (*path, *fault.below), fault.message, fault.hint
    elif kind == "extra_forbidden":
        return _unknown_key(path, locator)
    elif kind == "missing":
        message, hint = "required", f"Write {escape(str(path[-1]))}: ..."
    elif kind in _EXPECTED:
        message = f"expected {_expected(kind, path)}, got {describe(node)}"
        hint = _type_hint(kind, path, node)
    elif kind == "literal_error":
        message, hint = f"only secret is supported, got {describe(node)}", "Write type: secret."
    elif kind in ("greater_than_equal", "less_than_equal"):
        bound = "at least" if kind == "greater_than_equal" else "at most"
        message = f"must be {bound} {context.get('ge', context.get('le')):,}, got {describe(node)}"
        hint = None
    elif kind == "too_short":
        message, hint = "an empty list", "Write at least one entry."
    else:
        message, hint = f"cannot be used ({error['msg'].lower()}), got {describe(node)}", None
    return Finding(locator.written(path), message, hint, locator.position(path))


def as_problems(findings: list[Finding], locator: Locator) -> list[Problem]:
    """The findings in file order, each once, 50 at most (the last one then says how many more)."""
    unique = {(finding.path, finding.message): finding for finding in reversed(findings)}
    ordered = sorted(unique.values(), key=lambda finding: (finding.position or (0, 0), str(finding.path)))
    problems = [
        Problem(locator.where(finding.position), format_key(finding.path), finding.message, finding.hint)
        for finding in ordered[:MAX_PROBLEMS]
    ]
    if len(ordered) > MAX_PROBLEMS:
        problems.append(Problem(locator.file, "", f"and {len(ordered) - MAX_PROBLEMS} more problems"))
    return problems


def _path_in_file(path: tuple[int | str, ...], locator: Locator) -> KeyPath:
    """The model's path without the steps that its own normalising added.

    A command given as a string is a RunItem for the model, a single source a list of one.
    """
    kept: list[str | int] = []
    for index, step in enumerate(path):
        node = locator.node(tuple(kept))
        if isinstance(step, int) and isinstance(node, Mapping):
            continue
        if isinstance(node, Scalar) and index > 0:
            break
        kept.append(step)
    return tuple(kept)


def _names(path: KeyPath) -> tuple[str, ...]:
    return tuple(step for step in path if isinstance(step, str))


def _expected(kind: str, path: KeyPath) -> str:
    names = _names(path)
    if names == ("environment",):
        return "a list of KEY=VALUE" if kind == "tuple_type" else "KEY=VALUE"
    if kind in ("model_type", "dict_type") and names in _COMMAND_LISTS:
        return "a command (a string), or {command, mounts}"
    return _EXPECTED[kind]


def _type_hint(kind: str, path: KeyPath, node: Node | None) -> str | None:
    key = escape(str(path[-1])) if path else ""
    names = _names(path)
    if names == ("environment",) and isinstance(node, Mapping) and node.values:
        name, value = next(iter(node.values.items()))
        return f"Write - {escape(name)}={escape(value.text) if isinstance(value, Scalar) else '...'}"
    if names in (("predict",), ("train",)) and isinstance(node, Sequence):
        return "Write file.py:Name; commands of the build go under `build.run`."
    match kind, node:
        case "string_type", Scalar(kind="null"):
            return "Remove the empty entry, or write a value."
        case "string_type", Scalar(text=text):
            return f'Put it in quotes: "{escape(text)}"'
        case "string_type", Mapping():
            return "If the value holds `: `, put all of it in quotes."
        case "bool_type", _:
            return f"Write {key}: true or {key}: false, without quotes."
        case "tuple_type", Scalar(text=text) if text:
            return f"Write it as a list: [{escape(text)}], or a line `- {escape(text)}`."
        case "model_type" | "dict_type", Scalar(text=text) if ":" in text and ": " not in text:
            return "A space is needed after the colon."
    return None


def _unknown_key(path: KeyPath, locator: Locator) -> Finding:
    key = str(path[-1])
    names = _names(path[:-1])
    model = _MODELS.get(names, Config)
    known = [*model.model_fields, *(["run"] if model is Config else [])]
    hint: str | None
    near = get_close_matches(key.lower(), known, n=1) if len(key) <= _MAX_NAME_CHARACTERS else []
    if near:
        hint = f"Did you mean {near[0]}?"
    elif model is Config and key in Build.model_fields:
        hint = f"It belongs under `build`: indent it there as `build.{key}`."
    elif model is Build and key in Config.model_fields:
        hint = "It belongs at the top level, without indentation."
    else:
        hint = f"Known keys: {', '.join(known)}."
    return Finding(locator.written(path), "unknown key", hint, locator.key_position(path))
