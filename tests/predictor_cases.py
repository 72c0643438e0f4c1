"""The small predictors of tests/predictors, each with what goes in and what comes out, read without importing them.

Some need a newer Python than ours, or packages. A file says of itself, in literals of its module:

- `CASES = [(input, output), (input, output, metrics), ...]`: inputs and outputs as JSON data. A file is a `data:` URL; a
  text of the output that ends with `...` gives its beginning. Text that begins with `secret-` must not be shown again.
- `BAD_INPUTS = [(input, place), ...]`: what is refused, and the dotted place of the first error in it.
- `NEEDS = ["pydantic>=2"]`: requirements that the model's environment must meet; none if it is left out.
- `PYTHON = "3.12"`: the oldest Python it runs on; 3.8 if it is left out.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PREDICTORS = Path(__file__).parent / "predictors"
_NAMES = ("Predictor", "predict", "run", "train")


@dataclass(frozen=True)
class Case:
    """One input and what it gives; `metrics` are the predictor's own."""

    given: dict[str, Any]
    output: Any
    metrics: dict[str, Any]


@dataclass(frozen=True, eq=False)
class PredictorFile:
    """One predictor. `reference` is what cog.yaml says, `mode` is "predict" or "train"."""

    name: str
    reference: str
    mode: str
    cases: tuple[Case, ...]
    bad_inputs: tuple[tuple[dict[str, Any], str], ...]
    needs: tuple[Requirement, ...]
    python: tuple[int, int]

    def runs_with(self, python: tuple[int, int], packages: dict[str, str]) -> bool:
        """Whether it runs on that Python with those packages, by name and version."""
        version = {"python_version": f"{python[0]}.{python[1]}"}
        needs = [item for item in self.needs if item.marker is None or item.marker.evaluate(version)]
        return python >= self.python and all(
            item.name in packages and item.specifier.contains(packages[item.name], prereleases=True) for item in needs
        )


def load_predictors() -> list[PredictorFile]:
    """Every predictor of tests/predictors, in the order of their names."""
    return list(_read_all())


def is_like(expected: Any, output: Any) -> bool:
    """Whether an output is what a case expects: 1, 1.0 and true are three things, as in JSON."""
    if isinstance(expected, str) and expected.endswith("..."):
        return isinstance(output, str) and output.startswith(expected[:-3])
    if isinstance(expected, list) and isinstance(output, list):
        return len(expected) == len(output) and all(map(is_like, expected, output))
    if isinstance(expected, dict) and isinstance(output, dict):
        return expected.keys() == output.keys() and all(is_like(expected[key], output[key]) for key in expected)
    return json.dumps(expected) == json.dumps(output)


def _read_all() -> Iterator[PredictorFile]:
    for path in sorted(PREDICTORS.rglob("*.py")):
        tree = ast.parse(_without_new_syntax(path.read_text()))
        literals = dict(_literals(tree))
        if "CASES" not in literals:
            assert path.parent != PREDICTORS, f"{path.name} has no CASES"
            continue
        relative = path.relative_to(PREDICTORS)
        target = next(name for name in _NAMES if name in _bound(tree))
        # In a package it is named as a module, at the top as a file.
        place = ".".join(relative.with_suffix("").parts) if len(relative.parts) > 1 else relative.name
        python = literals.get("PYTHON", "3.8").split(".")
        yield PredictorFile(
            name=relative.with_suffix("").as_posix().replace("/", "-"),
            reference=f"{place}:{target}",
            mode="train" if target == "train" else "predict",
            cases=tuple(Case(item[0], item[1], item[2] if len(item) > 2 else {}) for item in literals["CASES"]),
            bad_inputs=tuple(literals["BAD_INPUTS"]),
            needs=tuple(Requirement(item) for item in literals.get("NEEDS", ())),
            python=(int(python[0]), int(python[1])),
        )


def _without_new_syntax(text: str) -> str:
    """Without `type X = ...`, which only Python 3.12 can parse."""
    return "\n".join("" if line.startswith("type ") else line for line in text.splitlines())


def _literals(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("CASES", "BAD_INPUTS", "NEEDS", "PYTHON"):
                yield name, ast.literal_eval(node.value)


def _bound(tree: ast.Module) -> set[str]:
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return names | {target.id for target in targets if isinstance(target, ast.Name)}
