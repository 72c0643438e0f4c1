"""`read_signature`: a `PredictorSpec` from live objects."""

import dataclasses
import inspect
import sys
import types
import typing
from typing import Any, Dict, List, Optional, Tuple

from cog.input import MISSING, FieldInfo
from cog.predictor import entry_method
from cog.reading.annotations import ITERATORS, split_annotated, type_spec
from cog.reading.batching import item_type
from cog.reading.fields import field_info, field_spec
from cog.reading.objects import undefined_name
from cog.schema.spec import FieldSpec, OutputSpec, PredictorSpec, SignatureError, TypeSpec


def read_signature(target: Any, *, mode: str = "predict") -> PredictorSpec:
    """Describe `target`, a predictor class or a function. Raises SignatureError."""
    try:
        method = entry_method(target)
    except TypeError as error:
        raise SignatureError(str(error)) from error
    function = getattr(target, method) if method else target
    if method and _needs_arguments(target):
        raise SignatureError(f"{target.__name__}.__init__ takes an argument: cog makes the predictor without any")
    try:
        inputs = input_parameters(target, method)
        returns = inspect.signature(function).return_annotation
        hints = _resolve_hints(function)
    except NameError as error:  # Python 3.14 evaluates annotations only now
        raise SignatureError(undefined_name(error), name=method or mode) from error
    except (TypeError, ValueError) as error:
        raise SignatureError(f"its signature cannot be read: {error}", name=method or mode) from error
    is_async = _is_async(inspect.unwrap(function))
    setup: Any = getattr(target, "setup", None)
    if method and not is_async and _is_async(inspect.unwrap(setup)):
        raise SignatureError(
            f"async setup() needs an async {method}()",
            name="setup",
            hint=f"Write `def setup(self)`, or make both async: `async def {method}(self, ...)`.",
        )
    return describe(
        inputs,
        _resolved(returns, "return", getattr(_innermost(function), "__annotations__", {}), hints),
        mode=mode,
        is_async=is_async,
        max_concurrency=getattr(function, "__cog_max_concurrency__", 1),
        batch=getattr(function, "__cog_batch__", None),
    )


def input_parameters(target: Any, method: str) -> List[Tuple[inspect.Parameter, Any]]:
    """The parameters that are inputs, each with its resolved annotation; `method` is "" for a function.

    Raises TypeError, ValueError, NameError or SignatureError if they cannot be known.
    """
    function = getattr(target, method) if method else target
    parameters = list(inspect.signature(function).parameters.values())
    if method and not isinstance(inspect.getattr_static(target, method), (staticmethod, classmethod)):
        parameters = parameters[1:]
    hints = _resolve_hints(function)
    written = getattr(_innermost(function), "__annotations__", {})
    return [(item, _resolved(item.annotation, item.name, written, hints)) for item in parameters]


def describe(
    parameters: List[Tuple[inspect.Parameter, Any]],
    returns: Any,
    *,
    mode: str,
    is_async: bool,
    max_concurrency: int,
    batch: Optional[Tuple[int, float]] = None,
) -> PredictorSpec:
    """Make the spec from parameters with their resolved annotations. Both the live and the static reader end here.

    `batch` is the size and the wait in milliseconds of a predict that takes lists.
    Raises the SignatureError of the first parameter that has a problem; those of the others are its `others`.
    """
    inputs: List[Tuple[int, FieldSpec]] = []
    errors: List[SignatureError] = []
    for position, (parameter, annotation) in enumerate(parameters):
        try:
            info = _parameter_info(parameter, annotation)
            if batch is not None and annotation is not inspect.Parameter.empty:
                annotation = item_type(annotation, parameter.name, may_be_none=parameter.default is None)
            order = position if info.order is None else info.order
            inputs.append((order, input_spec(parameter.name, annotation, info)))
        except SignatureError as error:
            errors.append(error)
    try:
        output = _batched_output(returns, mode) if batch is not None else output_spec(returns, mode)
    except SignatureError as error:
        errors.append(error)
    if max_concurrency > 1 and not is_async:
        errors.append(SignatureError("@cog.concurrent(max > 1) needs an async predict()", name="predict"))
    if batch is not None and is_async:
        errors.append(
            SignatureError(
                "@cog.batch needs a predict() that is not async",
                name="predict",
                hint="Write `def predict(self, ...)`; async predictions run at once with @cog.concurrent.",
            )
        )
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]
    return PredictorSpec(
        inputs=tuple(spec for _, spec in sorted(inputs, key=lambda item: item[0])),
        output=output,
        mode=mode,
        is_async=is_async,
        max_concurrency=max_concurrency,
        batch_size=batch[0] if batch is not None else None,
        batch_wait_ms=batch[1] if batch is not None else 0,
    )


def _parameter_info(parameter: inspect.Parameter, annotation: Any) -> FieldInfo:
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise SignatureError("*args and **kwargs cannot be inputs: name each one", name=parameter.name)
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise SignatureError("positional-only parameters cannot be inputs", name=parameter.name)
    info = field_info(parameter.default, annotation, parameter.name)
    if info.order is not None and (isinstance(info.order, bool) or not isinstance(info.order, int)):
        raise SignatureError(f"order must be a whole number, not {info.order!r}", name=parameter.name)
    return info


def input_spec(name: str, annotation: Any, info: FieldInfo) -> FieldSpec:
    """One input from its annotation and FieldInfo. Raises SignatureError where the two contradict each other."""
    if name.startswith("_"):
        raise SignatureError("the name of an input cannot begin with an underscore", name=name)
    if annotation is inspect.Parameter.empty:
        raise SignatureError("it needs a type annotation", name=name, hint=f"For example `{name}: str`.")
    return field_spec(name, type_spec(annotation, name), none_if_optional(name, annotation, info))


def none_if_optional(name: str, annotation: Any, info: FieldInfo) -> FieldInfo:
    """`Optional[X]` without a default may be left out, and is None then."""
    is_open = info.default is MISSING and type_spec(annotation, name).nullable
    return dataclasses.replace(info, default=None) if is_open else info


def output_spec(returns: Any, mode: str) -> OutputSpec:
    """The output from the return annotation."""
    if returns is inspect.Signature.empty:
        raise SignatureError("it needs a return annotation", name=mode, hint="For example `-> str` or `-> Path`.")
    annotation, _ = split_annotated(returns)
    origin = typing.get_origin(annotation) or annotation
    try:
        iterator = ITERATORS.get(origin)
    except TypeError:
        iterator = None
    if iterator is None:
        return OutputSpec(type_spec(returns, "output", is_output=True))
    arguments = typing.get_args(annotation)
    element = arguments[0] if arguments and not isinstance(arguments[0], typing.TypeVar) else None
    concatenated = iterator[1]
    if element is None:
        spec = TypeSpec("str" if concatenated else "any")
    else:
        spec = type_spec(element, "output", is_output=True)
    if concatenated and spec.kind != "str":
        raise SignatureError("a ConcatenateIterator yields str", name="output", hint="Use Iterator for other types.")
    return OutputSpec(spec, is_iterator=True, is_concatenated=concatenated)


def _batched_output(returns: Any, mode: str) -> OutputSpec:
    """The output that one of a batch gets."""
    output = output_spec(returns, mode)
    if output.is_iterator:
        raise SignatureError(
            "@cog.batch needs a predict() that gives back a list, not an iterator",
            name="output",
            hint="Write `-> List[...]` with one output for each item.",
        )
    return OutputSpec(type_spec(item_type(returns, "output", is_output=True), "output", is_output=True))


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _needs_arguments(cls: Any) -> bool:
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return False
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(item.default is inspect.Parameter.empty and item.kind not in variadic for item in parameters)


def _resolved(annotation: Any, name: str, written: Dict[str, Any], hints: Dict[str, Any]) -> Any:
    """The annotation of the signature with its strings evaluated; a rewritten `__signature__` counts as it stands."""
    if name in hints and (isinstance(annotation, str) or written.get(name) is annotation):
        return hints[name]
    return annotation


def _innermost(function: Any) -> Any:
    """The function as it was written, out of its decorators and functools.partial."""
    function = inspect.unwrap(function)
    return inspect.unwrap(getattr(function, "func", function))


def _resolve_hints(function: Any) -> Dict[str, Any]:
    """Annotations with their strings evaluated (`from __future__ import annotations`)."""
    function = _innermost(function)
    try:
        return _evaluate(function)
    except Exception as error:
        raise _culprit(function) or SignatureError(f"an annotation cannot be evaluated: {error}") from error


def _evaluate(annotated: Any, namespace: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    if sys.version_info >= (3, 9):
        return typing.get_type_hints(annotated, globalns=namespace, include_extras=True)
    return typing.get_type_hints(annotated, globalns=namespace)


def _culprit(function: Any) -> Optional[SignatureError]:
    """Which annotation it is that cannot be evaluated."""
    function = getattr(function, "__func__", function)
    for name, annotation in getattr(function, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            _evaluate(alone, getattr(function, "__globals__", {}))
        except NameError as error:
            return SignatureError(undefined_name(error), name="output" if name == "return" else name)
        except Exception as error:
            return SignatureError(f"its annotation {annotation!r} cannot be evaluated: {error}", name=name)
    return None


__all__ = [
    "describe",
    "field_info",
    "input_parameters",
    "input_spec",
    "none_if_optional",
    "output_spec",
    "read_signature",
]
