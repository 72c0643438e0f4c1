"""The JSON schema of cog.yaml, for editors: `python -m cog_cli.config.schema` prints what `cog.schema.json` holds.

Made from the model, so it cannot say something else; the older keys are in it as deprecated ones.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from cog_cli.config.model import Config
from cog_cli.config.older_keys import IGNORED_BUILD_KEYS, IGNORED_KEYS, INDEX_OPTIONS, OTHER_OLDER_KEYS

Schema = dict[str, Any]


def cog_yaml_schema() -> Schema:
    """The schema as JSON-able data (draft 2020-12)."""
    schema: Schema = _tidy(Config.model_json_schema())
    root = schema["properties"]
    root["run"] = {**root["predict"], "description": "The same as `predict`, under its newer name."}
    root.update({key: _deprecated(meaning) for key, meaning in {**IGNORED_KEYS, **OTHER_OLDER_KEYS}.items()})
    build = schema["$defs"]["Build"]["properties"]
    build["pre_install"]["deprecated"] = True
    build.update({key: _deprecated(meaning) for key, meaning in IGNORED_BUILD_KEYS.items()})
    build.update({key: _deprecated(f"used as {option} lines") for key, option in INDEX_OPTIONS.items()})
    schema["$defs"]["SecretMount"]["required"].insert(0, "type")  # a default in code, but always written in the file
    concurrency = schema["$defs"]["Concurrency"]
    concurrency["properties"]["default_target"] = _deprecated("ignored")
    concurrency["anyOf"] = [{"required": ["max"]}, {"required": ["workers"]}]
    schema["oneOf"] = [{"required": ["predict"]}, {"required": ["run"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "cog.yaml"}


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(cog_yaml_schema(), indent=2, ensure_ascii=False) + "\n"


def _deprecated(meaning: str) -> Schema:
    return {"description": meaning[0].upper() + meaning[1:] + ".", "deprecated": True}


def _tidy(node: Any) -> Any:
    """Without the titles and defaults that say nothing, and without null: a key with nothing behind it is refused."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: {name: _tidy(each) for name, each in value.items()} if key in ("properties", "$defs") else _tidy(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and not isinstance(value, bool))
    }
    alternatives = kept.get("anyOf", [])
    others = [each for each in alternatives if each != {"type": "null"}]
    if len(others) < len(alternatives):
        kept["anyOf"] = others
        if len(others) == 1:
            del kept["anyOf"]
            kept = {**others[0], **kept}
    return kept


if __name__ == "__main__":
    sys.stdout.write(schema_text())
