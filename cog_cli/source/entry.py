"""`describe_target`: the spec of a stand-in class or function, through the same reader as live objects."""

from __future__ import annotations

import ast
import inspect
import typing
from typing import Any

from cog.predictor import entry_method
from cog.signature import read_signature
from cog.spec import PredictorSpec, SignatureError
from cog_cli.source.finish import find_gap
from cog_cli.source.reading import FunctionRecord, LazyAnnotation, Reading
from cog_cli.source.resolve import resolve
from cog_cli.source.values import Place, StandInCalled, Undecidable, Unknown

# What of a predictor class decides its API.
_DECISIVE = ("predict", "run", "setup", "__init__", "__new__", "__init_subclass__", "__class_getitem__")


def describe_target(reading: Reading, target: Any, name: str, place: Place, *, mode: str) -> PredictorSpec:
    """The spec of `target`, which the project calls `name`. Raises SignatureError with places, or Undecidable."""
    problem = target if isinstance(target, Unknown) else reading.taint_of(target)
    if problem is None and isinstance(target, type):
        problem = _class_problem(reading, target)
    if problem is not None:
        raise problem.to_error(name)
    try:
        function = getattr(target, entry_method(target)) if isinstance(target, type) else target
    except TypeError as error:
        raise _placed(SignatureError(str(error)), place) from error
    places = _places(reading, target, function, place)
    gaps = _complete(reading, function)
    missing = [gap.to_error("output" if part == "return" else part) for part, gap in gaps.items()]
    wrong = [error for error in missing if not isinstance(error, Undecidable)]
    try:
        spec = read_signature(target, mode=mode)
    except SignatureError as error:
        found = [error, *error.others]
        for item in found:
            _placed(item, places.get(item.name.split(".")[0], place))
        raise _together([*found, *wrong]) from error
    except StandInCalled as error:
        raise Unknown("it runs code of the project", place).to_error(name) from error
    if missing:
        raise _together(wrong or missing)
    return spec


def _together(errors: list[SignatureError]) -> SignatureError:
    """The first of `errors` in the source, with the rest as its `others`."""
    errors.sort(key=lambda error: (error.line or 0, error.column or 0))
    errors[0].others = tuple(errors[1:])
    return errors[0]


def _class_problem(reading: Reading, cls: type) -> Unknown | None:
    for base in cls.__mro__:
        problem = reading.taint_of(base)
        if problem is not None:
            return problem
    for name in _DECISIVE:
        value = inspect.getattr_static(cls, name, None)
        while value is not None:
            problem = value if isinstance(value, Unknown) else reading.taint_of(value)
            if problem is not None:
                return problem
            value = getattr(value, "__wrapped__", None)
    return None


def _complete(reading: Reading, function: Any) -> dict[str, Unknown]:
    """Give the stand-in its final signature; parameters that are not known are left out of it, and named."""
    inner = getattr(function, "__func__", function)
    while hasattr(inner, "__wrapped__"):
        # Copied by functools.wraps from the stand-in; a real function has none.
        vars(inner).pop("__signature__", None)
        inner = inner.__wrapped__
    record = reading.function_record(inner)
    if record is None:
        return {}
    gaps: dict[str, Unknown] = {}
    annotations: dict[str, Any] = {}
    for name, annotation in record.annotations.items():
        value = _annotation(reading, annotation, record)
        gap = find_gap(reading, value, is_output=name == "return")
        if gap is not None:
            gaps[name] = gap
        annotations[name] = value
    for name, default in record.defaults.items():
        gap = reading.find_unknown(default)
        if gap is None and reading.find_excess(default):
            gap = reading.unknown("it is too large to evaluate", record.node, record.scope)
        if gap is not None:
            gaps[name] = gap
    before = inner.__signature__
    parameters = [
        item.replace(annotation=annotations.get(name, inspect.Parameter.empty))
        for name, item in before.parameters.items()
        if name not in gaps
    ]
    known = {name: value for name, value in annotations.items() if name not in gaps}
    returns = typing.Any if "return" in gaps else annotations.get("return", inspect.Signature.empty)
    inner.__annotations__ = known
    inner.__signature__ = _signature(parameters, returns)
    return gaps


def _signature(parameters: list[inspect.Parameter], returns: Any) -> inspect.Signature:
    """A signature, even where a parameter that was left out makes the order of the rest odd."""
    return inspect.Signature(parameters, return_annotation=returns, __validate_parameters__=False)


def _annotation(reading: Reading, annotation: LazyAnnotation | Unknown, record: FunctionRecord) -> Any:
    if isinstance(annotation, Unknown):
        return annotation
    value = reading.evaluate(annotation.node, annotation.scope)
    # Texts see the module's names only, as they are when it has been imported.
    return resolve(reading, value, record.scope.module.scope, annotation.node)


def _places(reading: Reading, target: Any, function: Any, place: Place) -> dict[str, Place]:
    """Where the things are that a SignatureError may name."""
    inner = inspect.unwrap(function)
    record = reading.function_record(getattr(inner, "__func__", inner))
    found: dict[str, Place] = {}
    if isinstance(target, type):
        for name in ("setup", "__init__"):
            method = reading.place_of(inspect.getattr_static(target, name, None))
            if method is not None:
                found[name] = method
        found[""] = found.get("__init__", place)
    if record is None:
        return found
    at = record.scope.module.place
    found.update(dict.fromkeys(("predict", "run", "train"), at(record.node)))
    arguments = record.node.args
    for part in (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg):
        if part is not None:
            found[part.arg] = at(part)
    returns = getattr(record.node, "returns", None)
    found["output"] = at(returns if isinstance(returns, ast.AST) else record.node)
    return found


def _placed(error: SignatureError, place: Place) -> SignatureError:
    if error.file is None:
        error.file, error.line, error.column = place.file, place.line, place.column
    return error
