"""`evaluate`: the value of an expression, Unknown where the source alone cannot tell it."""

from __future__ import annotations

import ast
import re
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass, replace
from enum import EnumMeta
from functools import partial
from typing import Any

from cog_cli.source import operations
from cog_cli.source.calls import call, call_method
from cog_cli.source.execution import decide, either
from cog_cli.source.modules import SourceModule, member
from cog_cli.source.operations import hashable_key, iterate, need_known, need_plain, operate, truth
from cog_cli.source.reading import Reading, Scope
from cog_cli.source.values import ABSENT, Blocked, KnownModule, OutOfSteps, StandInCalled, Unknown, Unsure


def evaluate(reading: Reading, node: ast.expr, scope: Scope) -> Any:
    """The value of `node` in `scope`. Raises OutOfSteps and RecursionError only."""
    reading.spend()
    rule = _RULES.get(type(node))
    try:
        if rule is None:
            raise Unsure(f"`{_show(node)}` is not evaluated")
        return rule(reading, node, scope)
    except Blocked as error:
        return error.unknown
    except Unsure as error:
        return reading.unknown(str(error), node, scope)
    except (OutOfSteps, RecursionError):
        raise
    except Exception as error:
        # What Python itself says about the operation. Not the user's error for sure: stand-ins know less than objects.
        what = (
            "runs code of the project"
            if isinstance(error, StandInCalled)
            else f"raises {type(error).__name__}: {error}"
        )
        return reading.unknown(f"`{_show(node)}` {what}", node, scope)


def _known(reading: Reading, node: ast.expr, scope: Scope) -> Any:
    """The value of `node`, though what it holds may be unknown. Raises Blocked."""
    value = evaluate(reading, node, scope)
    if isinstance(value, Unknown):
        raise Blocked(value)
    return value


def _name(reading: Reading, node: ast.Name, scope: Scope) -> Any:
    value = scope.find(node.id)
    return reading.unknown(f"{node.id} is not defined", node, scope, is_error=True) if value is ABSENT else value


def _attribute(reading: Reading, node: ast.Attribute, scope: Scope) -> Any:
    value = evaluate(reading, node.value, scope)
    name = node.attr
    if isinstance(value, (Unknown, KnownModule, SourceModule)):
        return member(value, name, scope.module.place(node))
    if name.startswith("__") and name not in ("__name__", "__members__"):
        raise Unsure(f"`{name}` is not evaluated")
    if reading.class_record(value) is not None or isinstance(value, EnumMeta):
        found = getattr(value, name)
        if isinstance(found, (property, types.MemberDescriptorType, types.GetSetDescriptorType)):
            raise Unsure(f"`{value.__name__}.{name}` is not a value")
        return found
    if isinstance(type(value), EnumMeta) and name in ("value", "name"):
        return getattr(value, name)
    fields = getattr(value, "_fields", ()) or (value.__dataclass_fields__ if is_dataclass(value) else ())
    if name in fields and not isinstance(value, type):
        return scope.module.trusted(name, getattr(value, name))
    raise Unsure(f"`.{name}` of a {type(value).__name__} is not known")


def _subscript(reading: Reading, node: ast.Subscript, scope: Scope) -> Any:
    return operations.index(_known(reading, node.value, scope), need_known(evaluate(reading, node.slice, scope)))


def _unary(reading: Reading, node: ast.UnaryOp, scope: Scope) -> Any:
    value = _known(reading, node.operand, scope)
    return not truth(value) if isinstance(node.op, ast.Not) else operate(node.op, value)


def _boolean(reading: Reading, node: ast.BoolOp, scope: Scope) -> Any:
    for part in node.values[:-1]:
        value = _known(reading, part, scope)
        if truth(value) == isinstance(node.op, ast.Or):
            return value
    return _known(reading, node.values[-1], scope)


def _compare(reading: Reading, node: ast.Compare, scope: Scope) -> bool:
    values = [_known(reading, part, scope) for part in (node.left, *node.comparators)]
    return all(map(operations.compare, node.ops, values, values[1:]))


def _conditional(reading: Reading, node: ast.IfExp, scope: Scope) -> Any:
    is_true = decide(reading, node.test, scope)
    if not isinstance(is_true, Unknown):
        return evaluate(reading, node.body if is_true else node.orelse, scope)
    values = [evaluate(reading, part, scope) for part in (node.body, node.orelse)]
    found = either(reading, values, is_true.reason, node, scope)
    return replace(found, place=is_true.place) if isinstance(found, Unknown) else found


def _text(reading: Reading, node: ast.JoinedStr, scope: Scope) -> str:
    parts: list[str] = [_known(reading, part, scope) for part in node.values]
    operations.check_size(sum(map(len, parts)))
    return "".join(parts)


def _formatted(reading: Reading, node: ast.FormattedValue, scope: Scope) -> str:
    spec = _known(reading, node.format_spec, scope) if node.format_spec is not None else ""
    if re.search(r"[0-9]{4,}", spec):
        raise Unsure("its width is too large to evaluate")
    value = need_plain(evaluate(reading, node.value, scope))
    convert: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}
    return format(convert[node.conversion](value) if node.conversion in convert else value, spec)


def _elements(reading: Reading, nodes: Sequence[ast.expr], scope: Scope) -> list[Any]:
    found: list[Any] = []
    for node in nodes:
        if isinstance(node, ast.Starred):
            found += iterate(evaluate(reading, node.value, scope))
        else:
            found.append(evaluate(reading, node, scope))
    return found


def _dict(reading: Reading, node: ast.Dict, scope: Scope) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key, item in zip(node.keys, node.values, strict=True):
        if key is not None:
            result[hashable_key(evaluate(reading, key, scope))] = evaluate(reading, item, scope)
        else:
            value = _known(reading, item, scope)
            if not isinstance(value, dict):
                raise Unsure("`**` of this is not known")
            result.update(value)
    return result


def _times(reading: Reading, parts: list[ast.comprehension], scope: Scope) -> Iterator[Scope]:
    """The scopes in which the element of a comprehension is evaluated, one for each time."""
    part = parts[0]
    if len(parts) > 1 or part.is_async:
        raise Unsure("a comprehension with more than one loop is not followed")
    for item in iterate(evaluate(reading, part.iter, scope)):
        inner = scope.inner(operations.unpack(part.target, item))
        if all(truth(_known(reading, test, inner)) for test in part.ifs):
            yield inner


def _items(reading: Reading, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: Scope) -> list[Any]:
    return [evaluate(reading, node.elt, inner) for inner in _times(reading, node.generators, scope)]


def _dict_of(reading: Reading, node: ast.DictComp, scope: Scope) -> dict[Any, Any]:
    return {
        hashable_key(evaluate(reading, node.key, inner)): evaluate(reading, node.value, inner)
        for inner in _times(reading, node.generators, scope)
    }


def _call(reading: Reading, node: ast.Call, scope: Scope) -> Any:
    # A generator that is the only argument is used up at once.
    is_iterator = len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp)
    args = [_items(reading, node.args[0], scope)] if is_iterator else _elements(reading, node.args, scope)  # type: ignore[arg-type]  # as asked
    kwargs: dict[str, Any] = {}
    for word in node.keywords:
        value = evaluate(reading, word.value, scope)
        if word.arg is not None:
            kwargs[word.arg] = value
        elif type(value) is dict and all(type(key) is str for key in value):
            kwargs.update(value)
        else:
            raise Blocked(value) if isinstance(value, Unknown) else Unsure("`**` of this is not known")
    if isinstance(node.func, ast.Attribute):
        receiver = evaluate(reading, node.func.value, scope)
        if type(receiver) in (str, list, tuple, dict, OrderedDict):
            return call_method(receiver, node.func.attr, args, kwargs)
    return call(reading, evaluate(reading, node.func, scope), args, kwargs, node, scope)


def _show(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:57] + "..."


_RULES: dict[type, Callable[[Reading, Any, Scope], Any]] = {
    ast.Constant: lambda reading, node, scope: node.value,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Slice: lambda reading, node, scope: slice(
        *(part and _known(reading, part, scope) for part in (node.lower, node.upper, node.step))
    ),
    ast.BinOp: lambda reading, node, scope: operate(
        node.op, _known(reading, node.left, scope), _known(reading, node.right, scope)
    ),
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.JoinedStr: _text,
    ast.FormattedValue: _formatted,
    ast.List: lambda reading, node, scope: _elements(reading, node.elts, scope),
    ast.Tuple: lambda reading, node, scope: tuple(_elements(reading, node.elts, scope)),
    ast.Set: lambda reading, node, scope: set(map(hashable_key, _elements(reading, node.elts, scope))),
    ast.Dict: _dict,
    ast.ListComp: _items,
    ast.SetComp: lambda reading, node, scope: set(map(hashable_key, _items(reading, node, scope))),
    ast.DictComp: _dict_of,
    ast.Call: _call,
    # As a default_factory it runs when the modules have been imported.
    ast.Lambda: lambda reading, node, scope: partial(evaluate, reading, node.body, scope.module.scope),
}
