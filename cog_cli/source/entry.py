"""`describe_target`, `old_style_error`: from a stand-in class or function to its spec, or what is told instead."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from dataclasses import dataclass
from functools import partial
from typing import Any

from cog.input import FieldInfo
from cog.predictor import entry_method
from cog.reading.signature import read_signature
from cog.schema.spec import PredictorSpec, SignatureError
from cog_cli.source.annotations import find_gap, read_type
from cog_cli.source.modules import SourceModule
from cog_cli.source.operations import find_unknown, is_too_large
from cog_cli.source.reading import FunctionRecord, Reading
from cog_cli.source.values import KnownModule, Place, StandInCalled, Undecidable, Unknown

# What of a predictor class decides its API.
_DECISIVE = ("predict", "run", "setup", "__init__", "__new__", "__init_subclass__", "__class_getitem__")
# What of an input decides no type; see _Entry.
_WORDS = ("title", "description", "examples")


Late = dict[tuple[str, str], Unknown]


@dataclass(frozen=True)
class Gap:
    """A word of an input (`default`, `description`) that the source cannot tell; `error` says where and why."""

    parameter: str
    word: str
    error: SignatureError


@dataclass(frozen=True)
class Partial:
    """A spec without the words that are `gaps`. An input whose default is one is not required."""

    spec: PredictorSpec
    gaps: tuple[Gap, ...] = ()


def describe_target(reading: Reading, target: Any, name: str, place: Place, *, mode: str) -> Partial:
    """The spec of `target`, which the project calls `name`. Raises SignatureError with places, or Undecidable."""
    decisive = [inspect.getattr_static(target, each, None) for each in _DECISIVE if isinstance(target, type)]
    for problem in [target, *decisive]:
        if isinstance(problem, Unknown):
            raise problem.to_error(name)
    try:
        function = getattr(target, entry_method(target)) if isinstance(target, type) else target
    except TypeError as error:
        raise _placed(SignatureError(str(error)), {}, place) from error
    inner = getattr(function, "__func__", function)
    while hasattr(inner, "__wrapped__"):
        vars(inner).pop("__signature__", None)  # copied by functools.wraps; a real function has none
        inner = inner.__wrapped__
    record = reading.function_record(inner)
    if record is None:
        raise Unknown(f"what {name} is made of is not followed", place).to_error(name)
    places = _places(reading, target, record, place)
    gaps, late = _complete(reading, inner, record)
    missing = [gap.to_error("output" if part == "return" else part) for part, gap in gaps.items()]
    wrong = [error for error in missing if not isinstance(error, Undecidable)]
    try:
        spec = read_signature(target, mode=mode)
    except SignatureError as error:
        found = []
        for item in (error, *error.others):
            unknown = late.get((item.name, "default"))  # then only one of its values is wrong for sure
            found.append(unknown.to_error(item.name) if unknown else _placed(item, places, place))
        raise _together([*found, *wrong]) from error
    except StandInCalled as error:
        raise Unknown("it runs code of the project", place).to_error(name) from error
    if missing:
        raise _together(wrong or missing)
    told = tuple(Gap(part, word, unknown.to_error(part)) for (part, word), unknown in late.items())
    unsure = {gap.parameter for gap in told if gap.word == "default"}
    left_out = partial(dataclasses.replace, default=None, default_is_unknown=True)
    inputs = tuple(left_out(item) if item.name in unsure else item for item in spec.inputs)
    return Partial(dataclasses.replace(spec, inputs=inputs), told)


def _together(errors: list[SignatureError]) -> SignatureError:
    """The first of `errors` in the source, with the rest as its `others`."""
    errors.sort(key=lambda error: (error.line or 0, error.column or 0))
    errors[0].others = tuple(errors[1:])
    return errors[0]


def _complete(reading: Reading, function: Any, record: FunctionRecord) -> tuple[dict[str, Unknown], Late]:
    """Give the stand-in its final signature; what is not known is left out of it.

    Returns the parameters that are missing, and the words that are: (parameter, word) -> why.
    """
    gaps: dict[str, Unknown] = {}
    late: Late = {}
    annotations: dict[str, Any] = {}
    for name, written in record.annotations.items():
        annotations[name] = read_type(reading, written)
        place = record.scope.module.place(record.node)
        gap = find_gap(reading, annotations[name], place, is_output=name == "return")
        if gap is not None:
            gaps[name] = gap
    defaults: dict[str, Any] = {}
    for name, value in record.defaults.items():
        defaults[name] = _known_words(name, value, annotations.get(name), late)
        if is_too_large(defaults[name]):
            gaps[name] = reading.unknown("it is too large to evaluate", record.node, record.scope)
        gap = find_unknown(defaults[name])
        if gap is not None:
            gaps[name] = gap
    empty = inspect.Parameter.empty
    parameters = [
        item.replace(annotation=annotations.get(name, empty), default=defaults.get(name, empty))
        for name, item in inspect.signature(function).parameters.items()
        if name not in gaps
    ]
    function.__annotations__ = {name: value for name, value in annotations.items() if name not in gaps}
    returns = typing.Any if "return" in gaps else annotations.get("return", inspect.Signature.empty)
    # Without a check: a parameter that was left out may make the order of the rest odd.
    function.__signature__ = inspect.Signature(parameters, return_annotation=returns, __validate_parameters__=False)
    return gaps, {key: value for key, value in late.items() if key[0] not in gaps}


def _known_words(name: str, default: Any, annotation: Any, late: Late) -> Any:
    """A default, or an `Input(...)`, without the words that are unknown, which are added to `late`.

    For an unknown default it has one of those that are possible, if they make the same type.
    """
    if not isinstance(default, FieldInfo):
        return _one_default(name, default, annotation, late)
    known = _one_default(name, default.default, annotation, late)
    unknown = {word: value for word in _WORDS if isinstance(value := getattr(default, word), Unknown)}
    late.update({(name, word): value for word, value in unknown.items()})
    return dataclasses.replace(default, **{**dict.fromkeys(unknown), "default": known})


def _one_default(name: str, default: Any, annotation: Any, late: Late) -> Any:
    if not isinstance(default, Unknown) or default.is_error:
        return default
    is_nullable = annotation is typing.Any or type(None) in typing.get_args(annotation)
    if len({type(option) for option in default.options}) != 1 and not is_nullable:
        return default
    late[name, "default"] = default
    return default.options[0] if default.options else None


def _places(reading: Reading, target: Any, record: FunctionRecord, place: Place) -> dict[str, Place]:
    """Where the things are that a SignatureError may name."""
    at = record.scope.module.place
    found = {"": place, **dict.fromkeys(("predict", "run", "train"), at(record.node))}
    for name in ("setup", "__init__") if isinstance(target, type) else ():
        found[name] = found[""] = reading.place_of(inspect.getattr_static(target, name, None)) or place
    found.update((part.arg, at(part)) for part in record.arguments())
    return {**found, "output": at(record.node.returns or record.node)}


def _placed(error: SignatureError, places: dict[str, Place], place: Place) -> SignatureError:
    place = places.get(error.name.split(".")[0], place)
    if error.file is None:
        error.file, error.line, error.column = place.file, place.line, place.column
    return error


# Keyword of `@cog.input` -> keyword of `Input`.
_OLD_WORDS = {"default": "default", "min": "ge", "max": "le", "options": "choices", "help": "description"}


def old_style_error(reading: Reading, module: SourceModule, name: str) -> SignatureError | None:
    """The error for the class or function `name` of `module` if it is of that style, None if it is not."""
    node = next((item for item in module.source.tree.body if getattr(item, "name", None) == name), None)
    for function in [node, *(node.body if isinstance(node, ast.ClassDef) else [])]:
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            calls = [item for item in function.decorator_list if isinstance(item, ast.Call)]
            inputs = [item for item in calls if reading.evaluate(item.func, module.scope) == KnownModule("cog.input")]
            if inputs:
                lines = "".join(f"\n        {item}," for item in ["self", *filter(None, map(_parameter, inputs))])
                hint = "Declare the inputs in predict() itself, with their types and that of the output:\n"
                hint += f"    def {function.name}({lines}\n    ) -> Path:"
                return _error("is written for the Cog of 2021", module, inputs[0], hint)
    for base in node.bases if isinstance(node, ast.ClassDef) else []:
        value = reading.evaluate(base, module.scope)
        if isinstance(value, Unknown) and value.path == "cog.Model":
            hint = "Inherit from cog.BasePredictor, and give predict() type annotations."
            return _error("inherits from cog.Model, which is of the Cog of 2021", module, base, hint)
    return None


def _error(message: str, module: SourceModule, node: ast.AST, hint: str) -> SignatureError:
    place = module.place(node)
    return SignatureError(f"it {message}", hint=hint, file=place.file, line=place.line, column=place.column)


def _parameter(node: ast.Call) -> str:
    words = {word.arg: word.value for word in node.keywords}
    name = node.args[0] if node.args else words.get("name")
    kind = node.args[1] if len(node.args) > 1 else words.get("type")
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        return ""
    options = [f"{new}={ast.unparse(words[old])}" for old, new in _OLD_WORDS.items() if old in words]
    return f"{name.value}: {ast.unparse(kind) if kind is not None else 'str'} = Input({', '.join(options)})"
