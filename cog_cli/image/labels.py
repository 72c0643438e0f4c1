"""`image_labels`: what an image says about itself."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from cog.schema.openapi import openapi_document
from cog.schema.spec import PredictorSpec
from cog.version import __version__
from cog_cli.config import Config
from cog_cli.console import console

LABEL_VERSION = "run.cog.version"
LABEL_CONFIG = "run.cog.config"
LABEL_SCHEMA = "run.cog.openapi_schema"
LABEL_SIGNATURE = "run.cog.signature"
LABEL_TRAIN_SIGNATURE = "run.cog.train_signature"
LABEL_FREEZE = "run.cog.pip_freeze"
LABEL_CREATED = "org.opencontainers.image.created"
_GIT_S = 10
# Linux takes no longer argument of a command (MAX_ARG_STRLEN is 128 KiB), and labels are arguments of buildx.
_MAX_BYTES = 120_000


def image_labels(
    config: Config, spec: PredictorSpec | None, train_spec: PredictorSpec | None, freeze: str, root: Path
) -> dict[str, str]:
    """The labels of an image, without those of the command line. `freeze` is what `pip freeze` gives in it."""
    labels = {
        LABEL_VERSION: __version__,
        LABEL_CONFIG: json.dumps(config.model_dump(mode="json", exclude_defaults=True), separators=(",", ":")),
        LABEL_FREEZE: freeze.strip(),
        LABEL_CREATED: _created(),
    }
    if spec is not None:
        labels[LABEL_SCHEMA] = schema_json(spec)
        labels[LABEL_SIGNATURE] = json.dumps(spec.to_json(), separators=(",", ":"))
    if train_spec is not None:
        labels[LABEL_TRAIN_SIGNATURE] = json.dumps(train_spec.to_json(), separators=(",", ":"))
    revision = os.environ.get("GITHUB_SHA") or _git(root, "rev-parse", "HEAD")
    version = os.environ.get("GITHUB_REF_NAME") or _git(root, "describe", "--tags", "--dirty")
    if revision:
        labels["org.opencontainers.image.revision"] = revision
    if version:
        labels["org.opencontainers.image.version"] = version
    for name in [name for name, text in labels.items() if len(text.encode()) > _MAX_BYTES]:
        console.warn(f"the label {name} is left out: it would be longer than {_MAX_BYTES} bytes")
        del labels[name]
    return labels


def schema_json(spec: PredictorSpec) -> str:
    """The OpenAPI document, as an image carries it."""
    return json.dumps(openapi_document(spec), separators=(",", ":"))


def _created() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch.isdigit() else datetime.now(timezone.utc)
    return moment.replace(microsecond=0).isoformat()


def _git(root: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
