"""`read_source`: a predictor's spec from its source text. Nothing of the project is imported or run.

Statements are followed in their order, and expressions to values (docs/decisions/033-source-followed-in-order.md).
Real typing objects stand for types, real classes and functions without bodies for the project's; these go through the
reader of live objects (`cog.reading.signature`), so that both roads end in one translator. What cannot be known
without running the code is Undecidable, never a guess.

Taken for granted: importing the module succeeds; packages, and text that is executed, change no objects of the project
that they are not given; and a function that nothing but its definition mentions does not run.

To be read in this order:

1. `source_file.py`, `reading.py`: what everything is made of.
2. `execution.py`, with `modules.py`: what statements bind to names; files, and what they import of each other.
3. `expressions.py`, with `operations.py` and `calls.py`: the value of an expression; `vocabulary.py`: what is known
   without the project.
4. `definitions.py` and `annotations.py`: stand-ins for functions and classes, and their types.
5. `changes.py`: which names' objects may be changed by code that is not followed.
6. `entry.py`: from the stand-in to the spec, and what is told instead.
"""

from __future__ import annotations

import ast
from functools import partial
from pathlib import Path

from cog.schema.spec import PredictorSpec, SignatureError
from cog_cli.source.changes import Changes
from cog_cli.source.definitions import define
from cog_cli.source.entry import Gap, Partial, describe_target, old_style_error
from cog_cli.source.expressions import evaluate
from cog_cli.source.modules import Modules, SourceModule, Sources
from cog_cli.source.reading import Reading
from cog_cli.source.source_file import SourceFile, load_source
from cog_cli.source.values import ABSENT, OutOfSteps, Undecidable


def read_source(reference: str, root: Path, *, mode: str = "predict") -> PredictorSpec:
    """As `read_partly`, but whatever is missing is Undecidable."""
    partial = read_partly(reference, root, mode=mode)
    for gap in partial.gaps:
        raise gap.error
    return partial.spec


def read_partly(reference: str, root: Path, *, mode: str = "predict") -> Partial:
    """The spec of `file.py:Name`, or `package.module:Name`, in the project folder `root`.

    Raises SignatureError, with file, line and column, if the signature cannot be an API or is not there; Undecidable,
    one of these, if only live objects can tell.
    """
    place, _, name = reference.partition(":")
    if not place or not name.isidentifier():
        hint = "Write `predict.py:Predictor`: file, colon, name."
        raise SignatureError(f"{reference!r} does not name a class or function", hint=hint)
    try:
        return _read(place, name, root, mode)
    except (OutOfSteps, RecursionError) as error:
        reason = error if isinstance(error, OutOfSteps) else "it is nested too deeply"
        raise Undecidable(f"cannot be known without running the code: {reason}", name=name, file=place) from error


def _read(place: str, name: str, root: Path, mode: str) -> Partial:
    # Twice: what may happen to objects is known when all modules have been seen.
    sources: Sources = {}
    _, module = _load(place, root, sources, Changes([]))
    seen = [item for item in module.modules.by_path.values() if isinstance(item, SourceModule)]
    reading, module = _load(place, root, sources, Changes(seen))
    old = old_style_error(reading, module, name)
    if old is not None:
        raise old
    file, target = module.source.name, module.attribute(name)
    if target is ABSENT:
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        names = [item.name for item in module.source.tree.body if isinstance(item, kinds)]
        has = f"it has {', '.join(names)}" if names else "it has none"
        raise SignatureError(f"{file} has no class or function named {name}; {has}", file=file)
    if not isinstance(target, type) and not callable(target) and not hasattr(target, "to_error"):
        raise SignatureError(f"{name} is a {type(target).__name__}, not a class or function", file=file)
    node = next((item for item in module.source.tree.body if getattr(item, "name", None) == name), None)
    return describe_target(reading, target, name, reading.place_of(target) or module.place(node), mode=mode)


def _load(place: str, root: Path, sources: Sources, changes: Changes) -> tuple[Reading, SourceModule]:
    reading = Reading(root)
    reading.evaluate = partial(evaluate, reading)
    reading.define = partial(define, reading) if changes.modules else partial(reading.unknown, "")
    if not place.endswith(".py"):
        found = Modules(reading, [root], sources, changes).find_file(place)
        if found is ABSENT:
            hint = f"It would be {place.replace('.', '/')}.py."
            raise SignatureError(f"the project has no module {place}", hint=hint)
        if not isinstance(found, SourceModule):
            raise SignatureError(found.reason, file=found.place.file, line=found.place.line, column=found.place.column)
        return reading, found
    if ".." in Path(place).parts or Path(place).is_absolute():
        raise SignatureError("the file must be inside the project", file=place)
    path = root / place
    source = sources.setdefault(path, sources.get(path) or load_source(path, Path(place).as_posix()))
    folders = [*_added(source, root, "insert"), path.parent, root, *_added(source, root, "append")]
    return reading, Modules(reading, folders, sources, changes).add(path, path.stem)


def _added(source: SourceFile, root: Path, method: str) -> list[Path]:
    """The folders that the file itself puts on `sys.path`, as far as they are plain texts."""
    calls = [item.value for item in source.tree.body if isinstance(item, ast.Expr) and isinstance(item.value, ast.Call)]
    texts = [call.args[-1] for call in calls if call.args and ast.unparse(call.func) == f"sys.path.{method}"]
    plain = [text.value for text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str)]
    return [root / text.removeprefix("/src/").removeprefix("./") for text in plain]


__all__ = ["Gap", "Partial", "Undecidable", "read_partly", "read_source"]
