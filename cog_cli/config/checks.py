"""What a cog.yaml must hold beyond the grammar of single values: how things were written, and what fits together."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from cog_cli.config import grammar
from cog_cli.config.draft import Draft
from cog_cli.config.grammar import GrammarError
from cog_cli.config.key_paths import KeyPath, escape, quote
from cog_cli.config.model import Build, Concurrency, Config
from cog_cli.config.nodes import Scalar
from cog_cli.config.source import Unreadable, read_text

MAX_REQUIREMENTS_BYTES = 16 * 1024 * 1024

_LIST_KEYS = frozenset({"python_packages", "system_packages", "run", "pre_install", "environment", "weights"})
_VERSION_KEYS = ("python_version", "cuda", "cudnn")
_RUN_OPTION = re.compile(r"\s*--mount=(\S+)\s+")
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW(?:OR)?D|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL")


def prepare(draft: Draft) -> None:
    """Settle what depends on how a value was written, before the model sees it."""
    build = draft.section("build")
    if build is not None:
        for key in _VERSION_KEYS:
            _settle_version(draft, build, key)
        for key in ("run", "pre_install"):
            _settle_commands(draft, build, key)
    _refuse_nothing(draft, (), draft.data, Config.model_fields.keys())
    _refuse_nothing(draft, ("build",), build, Build.model_fields.keys())
    _refuse_nothing(draft, ("concurrency",), draft.section("concurrency"), Concurrency.model_fields.keys())


def check_together(draft: Draft, *, predict_is_required: bool) -> None:
    """Note what single values cannot show: repeated names, keys that exclude or need each other."""
    has_predictor = any(draft.locator.root.values.get(key) for key in ("predict", "run"))
    is_2021_form = any(finding.path == ("model",) for finding in draft.findings)
    if predict_is_required and not has_predictor and not is_2021_form:
        draft.find(
            ("predict",),
            "required: it names the class that predicts, for build, predict and serve alike",
            'Write e.g. predict: "predict.py:Predictor".',
        )
    build = draft.section("build") or {}
    if _has_entries(draft, ("build", "python_packages")) and build.get("python_requirements"):
        draft.find(
            ("build", "python_packages"),
            "`python_packages` and `python_requirements` exclude each other",
            "Move the packages into the requirements file.",
            at_key=True,
        )
    if build.get("gpu", False) is False:
        for key in ("cuda", "cudnn", "cuda_flavor"):
            if key in build:
                draft.warn(("build", key), "has no effect without `gpu: true`")
        if (draft.section("concurrency") or {}).get("workers") == "per_gpu":
            draft.warn(("concurrency", "workers"), "per_gpu is one worker without `gpu: true`")
    _check_environment(draft)
    _check_weights(draft)
    for key in ("run", "pre_install"):
        commands = build.get(key)
        for index, command in enumerate(commands if isinstance(commands, list) else []):
            _check_mounts(draft, ("build", key, index), command)
    _check_packages(draft)


def check_requirements_file(draft: Draft, root: Path) -> None:
    """Note why the requirements file cannot be read, if it cannot. Follows no link out of `root`."""
    path: KeyPath = ("build", "python_requirements")
    name = (draft.section("build") or {}).get("python_requirements")
    if not isinstance(name, str) or any(finding.path == draft.locator.written(path) for finding in draft.findings):
        return
    file = root / name
    inside = os.path.realpath(root)
    target = os.path.realpath(file)
    if target != inside and not target.startswith(os.path.join(inside, "")):
        draft.find(
            path, f"{quote(name)} must stay inside the project: a symlink leaves it", "Copy the file into the project."
        )
        return
    try:
        read_text(file, max_bytes=MAX_REQUIREMENTS_BYTES)
    except Unreadable as error:
        hint = error.hint
        if error.reason == "does not exist":
            hint = _nearest_file(file) or "Create the file, or remove the line."
        draft.find(path, f"{escape(name)} {error.reason}", hint)


def _settle_version(draft: Draft, build: dict[str, object], key: str) -> None:
    """Give an unquoted version its digits back, unless YAML has already lost some (3.10 is 3.1)."""
    path = ("build", key)
    node = draft.locator.node(path)
    if not isinstance(node, Scalar) or node.kind != "number" or not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", node.text):
        return
    shown = repr(node.value)
    if shown == node.text:
        build[key] = node.text
        draft.warn(path, f'unquoted; write "{node.text}", because YAML reads 3.10 as 3.1')
        return
    del build[key]
    draft.find(path, f'unquoted {escape(node.text)} is the number {shown} for YAML; write "{escape(node.text)}"')


def _settle_commands(draft: Draft, build: dict[str, object], key: str) -> None:
    commands = build.get(key)
    if not isinstance(commands, list):
        return
    for index, item in enumerate(commands):
        path: KeyPath = ("build", key, index)
        if isinstance(item, str):
            text, mounts = _settle_command(draft, path, item)
            commands[index] = {"command": text, "mounts": mounts} if mounts else text
        elif isinstance(item, dict) and isinstance(item.get("command"), str):
            text, mounts = _settle_command(draft, (*path, "command"), item["command"])
            item["command"] = text
            if mounts:
                item["mounts"] = [*(item.get("mounts") or []), *mounts]


def _settle_command(draft: Draft, path: KeyPath, command: str) -> tuple[str, list[dict[str, str]]]:
    """The command without the line break a block ends with and without Dockerfile options, and the secrets of those."""
    node = draft.locator.node(path)
    style = node.style if isinstance(node, Scalar) else None
    if style in ("'", '"') and "\n" in command:
        hint = "For several lines use a `|` block, or join them with `&&`."
        draft.find(path, f"a newline in {quote(command)} is refused", hint)
        return "true", []  # reported: something harmless in its place, so that the rest is checked too
    if style in ("|", ">"):
        command = command.rstrip("\n")
    mounts: list[dict[str, str]] = []
    while len(command) <= grammar.MAX_TEXT_BYTES and (option := _RUN_OPTION.match(command)):
        settings = dict(part.partition("=")[::2] for part in option[1].split(","))
        kind, name = settings.get("type"), settings.get("id")
        if kind == "cache":
            draft.warn(path, f"--mount={escape(option[1])} is left out: packages are cached between builds anyway")
        elif kind == "secret" and name:
            target = settings.get("target") or settings.get("dst") or f"/run/secrets/{name}"
            mounts.append({"type": "secret", "id": name, "target": target})
            draft.warn(path, "--mount=type=secret is used as an entry of `mounts`; write it there")
        else:
            break
        command = command[option.end() :]
    return command, mounts


def _refuse_nothing(draft: Draft, path: KeyPath, section: dict[str, object] | None, known: Collection[str]) -> None:
    """`cuda:` with nothing behind it: left blank by mistake, not a value. A list may be empty."""
    if section is None:
        return
    for key in [key for key, value in section.items() if value is None]:
        if key in _LIST_KEYS or key not in known:
            continue
        del section[key]
        draft.find((*path, key), "has no value", "Write one, or remove the line.", at_key=True)


def _check_environment(draft: Draft) -> None:
    variables = draft.data.get("environment")
    if not isinstance(variables, list):
        return
    _note(draft, ("environment",), grammar.find_repeated_variables(variables))
    for index, variable in enumerate(variables):
        name, _, value = str(variable).partition("=")
        if value and _SECRET_NAME.search(name.upper()):
            draft.warn(
                ("environment", index),
                f"{escape(name)} looks like a secret: it is stored in the image; use `-e` at run time",
            )


def _check_weights(draft: Draft) -> None:
    weights = draft.data.get("weights")
    if not isinstance(weights, list):
        return
    entries = [weight if isinstance(weight, dict) else {} for weight in weights]
    _note(draft, ("weights",), grammar.find_repeated_names([entry.get("name") for entry in entries]))
    targets = [entry.get("target") for entry in entries]
    _note(draft, ("weights",), grammar.find_repeated_targets(targets, may_nest=False))


def _check_mounts(draft: Draft, path: KeyPath, command: object) -> None:
    mounts = command.get("mounts") if isinstance(command, dict) else None
    if not isinstance(mounts, list):
        return
    entries = [mount if isinstance(mount, dict) else {} for mount in mounts]
    for index, mount in enumerate(mounts):
        if isinstance(mount, dict) and "type" not in mount:
            draft.find((*path, "mounts", index, "type"), "required", "Write type: secret.")
    targets = [entry.get("target") for entry in entries]
    _note(draft, (*path, "mounts"), grammar.find_repeated_targets(targets, may_nest=True))


def _check_packages(draft: Draft) -> None:
    for path, node in draft.items(("build", "system_packages")):
        if isinstance(node, Scalar) and len(node.text.split()) > 1:
            draft.warn(path, "several packages in one entry; write each as an entry of its own")


def _has_entries(draft: Draft, path: KeyPath) -> bool:
    return next(draft.items(path), None) is not None


def _note(draft: Draft, path: KeyPath, errors: list[GrammarError]) -> None:
    for error in errors:
        draft.find((*path, *error.below), error.message, error.hint)


def _nearest_file(file: Path) -> str | None:
    try:
        names = [entry.name for entry in os.scandir(file.parent) if entry.is_file()]
    except OSError:
        return None
    near = get_close_matches(file.name, names, n=1)
    return f"Did you mean {escape(near[0])}?" if near else None
