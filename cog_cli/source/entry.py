"""`describe_target`: the spec of a stand-in class or function, through the same reader as live objects."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from dataclasses import dataclass
from typing import Any

from cog.input import MISSING, FieldInfo
from cog.predictor import entry_method
from cog.reading.signature import read_signature
from cog.schema.spec import FieldSpec, PredictorSpec, SignatureError
from cog_cli.source.annotations import find_gap, resolve
from cog_cli.source.budget import MAX_SIZE
from cog_cli.source.operations import find_unknown, parts
from cog_cli.source.reading import FunctionRecord, Reading
from cog_cli.source.values import Place, StandInCalled, Undecidable, Unknown

# What of a predictor class decides its API.
_DECISIVE = ("predict", "run", "setup", "__init__", "__new__", "__init_subclass__", "__class_getitem__")
# What of an input decides no type; see _Entry.
_WORDS = ("default", "title", "description", "examples")


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
    problem = target if isinstance(target, Unknown) else _class_problem(target)
    if problem is not None:
        raise problem.to_error(name)
    try:
        function = getattr(target, entry_method(target)) if isinstance(target, type) else target
    except TypeError as error:
        raise _placed(SignatureError(str(error)), place) from error
    inner = getattr(function, "__func__", function)
    while hasattr(inner, "__wrapped__"):
        # Copied by functools.wraps from the stand-in; a real function has none.
        vars(inner).pop("__signature__", None)
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
        found = [error, *error.others]
        for item in found:
            _placed(item, places.get(item.name.split(".")[0], place))
        raise _together([*found, *wrong]) from error
    except StandInCalled as error:
        raise Unknown("it runs code of the project", place).to_error(name) from error
    if missing:
        raise _together(wrong or missing)
    return _without(spec, late, lambda: read_signature(target, mode=mode), inner)


def _class_problem(cls: Any) -> Unknown | None:
    for name in _DECISIVE if isinstance(cls, type) else ():
        value = inspect.getattr_static(cls, name, None)
        if isinstance(value, Unknown):
            return value
    return None


def _together(errors: list[SignatureError]) -> SignatureError:
    """The first of `errors` in the source, with the rest as its `others`."""
    errors.sort(key=lambda error: (error.line or 0, error.column or 0))
    errors[0].others = tuple(errors[1:])
    return errors[0]


Late = dict[tuple[str, str], Unknown]


def _complete(reading: Reading, function: Any, record: FunctionRecord) -> tuple[dict[str, Unknown], Late]:
    """Give the stand-in its final signature; what is not known is left out of it.

    Returns the parameters that are missing, and the words that are: (parameter, word) -> why.
    """
    gaps: dict[str, Unknown] = {}
    late: Late = {}
    annotations: dict[str, Any] = {}
    for name, written in record.annotations.items():
        if isinstance(written, Unknown):
            gaps[name] = written
            continue
        # Texts see the module's names only, as they are when it has been imported.
        value = reading.evaluate(written.node, written.scope)
        annotations[name] = resolve(reading, value, record.scope.module.scope, written.node)
        gap = find_gap(reading, annotations[name], is_output=name == "return")
        if gap is not None:
            gaps[name] = gap
    defaults = {name: _known_words(name, value, late) for name, value in record.defaults.items()}
    for (name, _), unknown in late.items():
        if any(_is_too_large(reading, option) or find_unknown(reading.budget, option) for option in unknown.options):
            gaps[name] = unknown
    for name, default in defaults.items():
        gap = find_unknown(reading.budget, default)
        if gap is None and _is_too_large(reading, default):
            gap = reading.unknown("it is too large to evaluate", record.node, record.scope)
        if gap is not None:
            gaps[name] = gap
    parameters = [
        item.replace(
            annotation=annotations.get(name, inspect.Parameter.empty),
            default=defaults.get(name, inspect.Parameter.empty),
        )
        for name, item in function.__signature__.parameters.items()
        if name not in gaps
    ]
    returns = typing.Any if "return" in gaps else annotations.get("return", inspect.Signature.empty)
    function.__annotations__ = {name: value for name, value in annotations.items() if name not in gaps}
    function.__signature__ = _signature(parameters, returns)
    return gaps, {key: value for key, value in late.items() if key[0] not in gaps}


def _is_too_large(reading: Reading, value: Any) -> bool:
    """Whether `value`, written out, is larger than a default can sensibly be."""
    stack, count = [value], 0
    while stack and count <= MAX_SIZE:
        stack += parts(stack.pop())
        count += 1
    reading.budget.spend(count // 8)
    return count > MAX_SIZE


def _known_words(name: str, default: Any, late: Late) -> Any:
    """A default, or an `Input(...)`, without the words that are unknown, which are added to `late`."""
    if isinstance(default, Unknown) and not default.is_error:
        late[name, "default"] = default
        return inspect.Parameter.empty
    if not isinstance(default, FieldInfo):
        return default
    unknown = {word: value for word in _WORDS if isinstance(value := getattr(default, word), Unknown)}
    late.update({(name, word): value for word, value in unknown.items()})
    return dataclasses.replace(default, **{word: MISSING if word == "default" else None for word in unknown})


def _signature(parameters: list[inspect.Parameter], returns: Any) -> inspect.Signature:
    """A signature, even where a parameter that was left out makes the order of the rest odd."""
    return inspect.Signature(parameters, return_annotation=returns, __validate_parameters__=False)


def _without(spec: PredictorSpec, late: Late, read: typing.Callable[[], PredictorSpec], function: Any) -> Partial:
    """The spec with its missing words told. Raises Undecidable where one of them may decide a type after all."""
    inputs = {item.name: item for item in spec.inputs}
    for (name, word), unknown in late.items():
        if word != "default":
            continue
        expected = dataclasses.replace(inputs[name], required=False, default_is_unknown=True)
        # A default of None makes an input nullable, so that much must be known.
        for option in unknown.options or (None,):
            if _with_default(function, name, option, read) != expected:
                raise unknown.to_error(name)
        inputs[name] = expected
    gaps = tuple(Gap(name, word, unknown.to_error(name)) for (name, word), unknown in late.items())
    return Partial(dataclasses.replace(spec, inputs=tuple(inputs.values())), gaps)


def _with_default(function: Any, name: str, default: Any, read: typing.Callable[[], PredictorSpec]) -> FieldSpec | None:
    """The input `name` as it is with that default, which is then taken out of it; None if it cannot be one."""
    before = function.__signature__
    parameters = []
    for item in before.parameters.values():
        if item.name == name:
            is_info = isinstance(item.default, FieldInfo)
            item = item.replace(default=dataclasses.replace(item.default, default=default) if is_info else default)
        parameters.append(item)
    function.__signature__ = _signature(parameters, before.return_annotation)
    try:
        found = next(item for item in read().inputs if item.name == name)
    except SignatureError:
        return None
    finally:
        function.__signature__ = before
    return dataclasses.replace(found, default=None, default_is_unknown=True)


def _places(reading: Reading, target: Any, record: FunctionRecord, place: Place) -> dict[str, Place]:
    """Where the things are that a SignatureError may name."""
    found: dict[str, Place] = {}
    if isinstance(target, type):
        for name in ("setup", "__init__"):
            method = reading.place_of(inspect.getattr_static(target, name, None))
            if method is not None:
                found[name] = method
        found[""] = found.get("__init__", place)
    at = record.scope.module.place
    found.update(dict.fromkeys(("predict", "run", "train"), at(record.node)))
    arguments = record.node.args
    for part in (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg):
        if part is not None:
            found[part.arg] = at(part)
    found["output"] = at(record.node.returns or record.node)
    return found


def _placed(error: SignatureError, place: Place) -> SignatureError:
    if error.file is None:
        error.file, error.line, error.column = place.file, place.line, place.column
    return error
