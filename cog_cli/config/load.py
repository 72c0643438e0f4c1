"""`load_config`: a cog.yaml as a Config, or everything that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from cog_cli.config.checks import check_requirements_file, check_together, prepare
from cog_cli.config.draft import Draft, Locator
from cog_cli.config.model import Config
from cog_cli.config.nodes import Document, Mapping, describe, parse_document, plain
from cog_cli.config.older_keys import fold_older_keys
from cog_cli.config.report import as_problems, translate
from cog_cli.config.source import read_config_text
from cog_cli.config.syntax import SyntaxFault
from cog_cli.errors import ConfigError, Problem

Locate = Callable[[str], str]


@dataclass(frozen=True)
class LoadedConfig:
    """A config, what its author should know, and where each key stands.

    `warnings` are lines that name file, line, column and key. `locate("build.cuda")` gives `cog.yaml:3:9`: the place
    of the value, or of the key when the value begins on another line; of the nearest parent when there is no such
    key; the bare file name when there is none.
    """

    config: Config
    warnings: tuple[str, ...]
    locate: Locate


def load_config(path: Path, *, predict_is_required: bool = True) -> LoadedConfig:
    """The checked content of the cog.yaml at `path`; files that it names are looked for beside it.

    Raises ConfigError with every problem, in file order. Reads nothing but the two files, executes nothing.
    """
    document = _read(path)
    locator = Locator(path.name, cast(Mapping, document.root))
    draft = Draft(cast("dict[str, object]", plain(document.root)), locator, findings=document.findings)
    fold_older_keys(draft)
    prepare(draft)
    config: Config | None = None
    try:
        config = Config.model_validate(draft.data)
    except ValidationError as error:
        known = {(finding.path, finding.position) for finding in draft.findings}
        found = (translate(each, locator) for each in error.errors())
        draft.findings += [finding for finding in found if (finding.path, finding.position) not in known]
    check_together(draft, predict_is_required=predict_is_required)
    check_requirements_file(draft, path.parent)
    if draft.findings or config is None:
        raise ConfigError(as_problems(draft.findings, locator))
    return LoadedConfig(config, tuple(text for _, text in sorted(draft.warnings)), locator.locate)


def _read(path: Path) -> Document:
    name = path.name
    try:
        document = parse_document(read_config_text(path))
    except SyntaxFault as fault:
        where = f"{name}:{fault.position.line}:{fault.position.column}" if fault.position else name
        raise ConfigError([Problem(where, "", fault.message, fault.hint)]) from fault
    if document is None:
        raise ConfigError(
            [Problem(name, "", "the file is empty", "Run `cog init` in an empty folder to see what it can hold.")]
        )
    if not isinstance(document.root, Mapping):
        where = f"{name}:{document.root.position.line}:{document.root.position.column}"
        message = f"expected a mapping (`key: value` lines), got {describe(document.root)}"
        raise ConfigError([Problem(where, "(root)", message, 'Begin with e.g. predict: "predict.py:Predictor".')])
    return document
