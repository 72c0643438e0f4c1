"""`make_class`: a stand-in for a class of the project: a real class of the same kind, with stand-in methods."""

from __future__ import annotations

import abc
import ast
import types
import typing
from enum import EnumMeta
from typing import Any

from cog_cli.source.packages import is_harmless_decorator
from cog_cli.source.reading import ClassRecord, LazyAnnotation, Reading
from cog_cli.source.resolve import resolve
from cog_cli.source.scope import Scope
from cog_cli.source.values import StandInCalled, Unknown
from cog_cli.source.vocabulary import PydanticBase

_MAX_BASES = 100
_METACLASSES = (type, abc.ABCMeta)
# Set by us, or with a meaning for Python that a stand-in must not have.
_KEPT_OUT = frozenset({"__module__", "__classcell__", "__qualname__", "__slots__", "__annotations__", "__dict__"})


def make_class(reading: Reading, node: ast.ClassDef, scope: Scope) -> Any:
    """The value that a `class` statement binds; Unknown if its bases or decorators are."""
    decorators = [(item, reading.evaluate(item, scope)) for item in node.decorator_list]
    bases = [reading.evaluate(base, scope) for base in node.bases]
    keywords = {word.arg or "**": reading.evaluate(word.value, scope) for word in node.keywords}
    inner = Scope(scope.module, scope, is_class=True)
    reading.execute(node.body, inner)
    value = _build(reading, node, bases, keywords, inner)
    for item, decorator in reversed(decorators):
        if isinstance(decorator, Unknown) and not is_harmless_decorator(decorator):
            reading.taint([value], decorator)
            text = ast.unparse(item)
            return reading.unknown(f"the decorator @{text} may change the class: {decorator.reason}", item, scope)
        value = reading.call(decorator, [value], {}, item, scope)
    return value


def _build(reading: Reading, node: ast.ClassDef, bases: list[Any], keywords: dict[str, Any], inner: Scope) -> Any:
    problem = _problem(reading, node, bases, keywords, inner)
    if problem is not None:
        reading.taint(inner.names.values(), problem)
        return problem
    names = {name: value for name, value in inner.names.items() if name not in _KEPT_OUT}
    options = {
        name: value
        for name, value in keywords.items()
        if name == "total" or (name == "metaclass" and value is not type)
    }

    def fill(namespace: Any) -> None:
        namespace["__module__"] = __name__
        if inner.annotations:
            namespace["__annotations__"] = {name: _early(reading, item) for name, item in inner.annotations.items()}
        for name, value in names.items():
            namespace[name] = value

    try:
        made = types.new_class(node.name, tuple(bases), options, fill)
    except StandInCalled:
        cause = reading.unknown(f"making the class {node.name} runs code of the project", node, inner)
    except Exception as error:
        cause = reading.unknown(f"making the class {node.name} raises {type(error).__name__}: {error}", node, inner)
    else:
        reading.classes[id(made)] = (made, ClassRecord(node, inner, tuple(bases), dict(inner.annotations)))
        return made
    reading.taint([*bases, *inner.names.values()], cause)
    return cause


def _problem(
    reading: Reading, node: ast.ClassDef, bases: list[Any], keywords: dict[str, Any], inner: Scope
) -> Unknown | None:
    """Why this class cannot have a stand-in."""
    if getattr(node, "type_params", ()):
        return reading.unknown(f"the type parameters of {node.name} are not followed", node, inner)
    for base_node, base in zip(node.bases, bases, strict=False):
        if len(getattr(base, "__mro__", ())) > _MAX_BASES:
            return reading.unknown(f"{node.name} has too many base classes", base_node, inner)
        if isinstance(base_node, ast.Starred):
            return reading.unknown("bases given with * are not followed", base_node, inner)
        unknown = base if isinstance(base, Unknown) else reading.taint_of(base)
        if unknown is not None and unknown.path:
            text = ast.unparse(base_node)
            return reading.unknown(f"{node.name} inherits from {text}, which comes from a package", base_node, inner)
        if unknown is not None:
            return unknown
    if "__signature__" in inner.names:
        return reading.unknown(f"{node.name}.__signature__ is not followed", node, inner)
    metaclass = keywords.get("metaclass", type)
    if metaclass not in _METACLASSES:
        return reading.unknown(f"the metaclass of {node.name} is not followed", node, inner)
    is_pydantic = any(isinstance(base, type) and issubclass(base, PydanticBase) for base in bases)
    extra = set(keywords) - {"metaclass", "total"}
    if extra and not is_pydantic:
        return reading.unknown(
            f"{node.name} is made with {', '.join(sorted(extra))}=, which is not followed", node, inner
        )
    if any(isinstance(base, EnumMeta) for base in bases):
        # Its members are made of the values at once.
        return reading.find_unknown([value for name, value in inner.names.items() if not name.startswith("__")])
    return None


def _early(reading: Reading, annotation: LazyAnnotation | Unknown) -> Any:
    """The annotation as far as it is known while the class is made; only ClassVar and the like count by then."""
    if isinstance(annotation, Unknown):
        return typing.Any
    value = reading.evaluate(annotation.node, annotation.scope)
    if isinstance(value, str):
        value = resolve(reading, value, annotation.scope, annotation.node)
    return typing.Any if isinstance(value, Unknown) else value
