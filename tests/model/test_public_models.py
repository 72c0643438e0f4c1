"""The inputs of public models get the schema that other tools give them; where not, the difference is a decision.

The decisions are listed in docs/python.md.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cog.schema.openapi import openapi_document
from cog_cli.source import read_source

MODELS = json.loads((Path(__file__).parent / "public_models.json").read_text(encoding="utf-8"))["models"]
HEAD = "from typing import *\nimport cog\nfrom cog import BasePredictor, Input, Path, Secret\n\nCogPath = Path\n\n"

# Keys of a property that must be the same. `title` of an enumeration is not shown anywhere.
KEYS = (
    "type",
    "format",
    "default",
    "description",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "x-order",
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_the_inputs_get_the_schema_they_always_had(model: dict[str, Any], tmp_path: Path) -> None:
    answer = model["answers"].get("legacy") or model["answers"]["modern"]
    (tmp_path / "predict.py").write_text(source(model, answer), encoding="utf-8")

    schemas = openapi_document(read_source("predict.py:Predictor", tmp_path))["components"]["schemas"]

    ours = {name: flat(item, schemas) for name, item in schemas["Input"]["properties"].items()}
    theirs = {name: flat(item, answer["enums"]) for name, item in answer["Input"]["properties"].items()}
    assert ours == theirs
    assert list(ours) == sorted(theirs, key=lambda name: theirs[name]["x-order"])
    if "legacy" in model["answers"]:
        assert sorted(schemas["Input"].get("required", [])) == sorted(answer["Input"].get("required", []))


def flat(item: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A property with what it refers to; numbers equal whatever their spelling."""
    result = {key: item[key] for key in KEYS if key in item}
    for reference in item.get("allOf", ()):
        target = schemas[reference["$ref"].rpartition("/")[2]]
        result.update(type=target["type"], enum=target["enum"])
    return result


def source(model: dict[str, Any], answer: dict[str, Any]) -> str:
    """A predictor whose signature is the model's: its types, with the values that the answer shows."""
    parameters = []
    for name, declared in model["inputs"].items():
        item = answer["Input"]["properties"].get(name)
        if item is None:
            continue  # Declared under a condition that did not hold when the answer was made.
        words = {}
        for key, word in (("description", "description"), ("minimum", "ge"), ("maximum", "le"), ("default", "default")):
            if key in item:
                words[word] = item[key]
        if "minLength" in item:
            words["min_length"] = item["minLength"]
        for reference in item.get("allOf", ()):
            words["choices"] = answer["enums"][reference["$ref"].rpartition("/")[2]]["enum"]
        if declared["has_default"]:
            words.setdefault("default", None)  # A default that the answer does not show is None.
        call = "cog.Input" if declared["form"] == "cog.Input" else "Input"
        if declared["form"] == "bare":
            parameters.append(f"{name}: {declared['type']},")
        elif declared["form"] == "plain default":
            parameters.append(f"{name}: {declared['type']} = {words.get('default')!r},")
        else:
            inside = ", ".join(f"{word}={value!r}" for word, value in words.items())
            parameters.append(f"{name}: {declared['type']} = {call}({inside}),")
    # A bare parameter may follow one with a default in these signatures only if it is keyword-only here.
    body = "class Predictor(BasePredictor):\n    def predict(\n        self,\n" + "        *,\n" * bool(parameters)
    return HEAD + body + textwrap.indent("\n".join(parameters), " " * 8) + "\n    ) -> str:\n        return ''\n"
