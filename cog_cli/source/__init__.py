"""`read_source`: a predictor's spec from its source text. Nothing of the project is imported or run.

Names are followed to the statements that bind them, and expressions to values; real typing objects stand for types,
real classes and functions without bodies for the project's. These go through the reader of live objects
(`cog.reading.signature`), so that both roads end in one translator. What cannot be known without running the code is
Undecidable, never a guess: no statement is executed, and a container counts only if nothing that may run changes it.

Taken for granted: importing the module succeeds, and packages do not reach into the project's modules by themselves.

To be read in this order:

1. `values.py`, `budget.py`, `source_file.py`, `reading.py`: what everything is made of.
2. `names.py`, with `statements.py`: the value of a name at a place.
3. `expressions.py`, with `operations.py` and `calls.py`: the value of an expression; `vocabulary.py`: what is known
   without the project.
4. `definitions.py` and `annotations.py`: stand-ins for functions and classes, and their types.
5. `modules.py`, with `imports.py`: files, and what they import of each other.
6. `usage.py`, `escapes.py`: which names' objects may be changed by code that is not followed.
7. `entry.py`, `old_style.py`: from the stand-in to the spec, and what is told instead.
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cog.schema.spec import PredictorSpec, SignatureError
from cog_cli.source.budget import OutOfSteps
from cog_cli.source.definitions import define
from cog_cli.source.entry import Gap, Partial, describe_target
from cog_cli.source.expressions import evaluate
from cog_cli.source.modules import Modules, SourceModule
from cog_cli.source.names import Names
from cog_cli.source.old_style import old_style_error
from cog_cli.source.reading import Reading
from cog_cli.source.source_file import SourceFile, load_source
from cog_cli.source.values import ABSENT, Undecidable


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
        raise SignatureError(
            f"{reference!r} does not name a class or function", hint="Write `predict.py:Predictor`: file, colon, name."
        )
    with _without_collector():
        return _read(Reading(root), place, name, root, mode)


def _read(reading: Reading, place: str, name: str, root: Path, mode: str) -> Partial:
    try:
        module = _load(reading, place, root)
        old = old_style_error(reading, module, name)
        if old is not None:
            raise old
        target = module.attribute(name)
        if target is ABSENT:
            raise SignatureError(
                f"{module.source.name} has no class or function named {name}; {_names(module)}", file=module.source.name
            )
        if not isinstance(target, type) and not callable(target) and not hasattr(target, "to_error"):
            kind = type(target).__name__
            raise SignatureError(f"{name} is a {kind}, not a class or function", file=module.source.name)
        node = next((item for item in module.source.tree.body if getattr(item, "name", None) == name), None)
        return describe_target(reading, target, name, reading.place_of(target) or module.place(node), mode=mode)
    except RecursionError as error:
        reason = "cannot be known without running the code: it is nested too deeply"
        raise Undecidable(reason, name=name, file=place) from error
    except OutOfSteps as error:
        raise Undecidable(f"cannot be known without running the code: {error}", name=name, file=place) from error


@contextmanager
def _without_collector() -> Iterator[None]:
    """Syntax trees are many small objects that all stay: looking for garbage among them takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load(reading: Reading, place: str, root: Path) -> SourceModule:
    names = Names(reading)
    reading.find = names.find
    reading.evaluate = lambda node, scope: evaluate(reading, node, scope)
    reading.define = lambda node, scope: define(reading, names, node, scope)
    if not place.endswith(".py"):
        modules = Modules(reading, [root])
        found = modules.find_file(place)
        if found is ABSENT:
            raise SignatureError(
                f"the project has no module {place}", hint=f"It would be {place.replace('.', '/')}.py."
            )
        if not isinstance(found, SourceModule):
            raise SignatureError(found.reason, file=found.place.file, line=found.place.line, column=found.place.column)
        return found
    path = root / place
    if ".." in Path(place).parts or Path(place).is_absolute():
        raise SignatureError("the file must be inside the project", file=place)
    source = load_source(path, Path(place).as_posix())
    own = [path.parent, root]
    modules = Modules(reading, [*_added(source, root, "insert"), *own, *_added(source, root, "append")])
    return modules.add(path, source, path.stem)


def _added(source: SourceFile, root: Path, method: str) -> list[Path]:
    """The folders that the file itself puts on `sys.path`, as far as they are plain texts."""
    found = []
    for node in source.tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            text = node.value.args[-1] if node.value.args else None
            is_call = ast.unparse(node.value.func) == f"sys.path.{method}"
            if is_call and isinstance(text, ast.Constant) and isinstance(text.value, str):
                found.append(root / text.value.removeprefix("/src/").removeprefix("./"))
    return found


def _names(module: SourceModule) -> str:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = [item.name for item in module.source.tree.body if isinstance(item, kinds)]
    return f"it has {', '.join(names)}" if names else "it has none"


__all__ = ["Gap", "Partial", "Undecidable", "read_partly", "read_source"]
