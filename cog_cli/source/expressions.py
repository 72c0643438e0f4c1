"""`evaluate`: the value of an expression, Unknown where the source alone cannot tell it."""

from __future__ import annotations

import ast
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from enum import EnumMeta
from typing import Any

from cog_cli.source.budget import OutOfSteps, TooMuch
from cog_cli.source.calls import Thunk, call, call_method
from cog_cli.source.names import either
from cog_cli.source.operations import (
    compare,
    format_value,
    hashable_key,
    index,
    iterate,
    need_known,
    operate,
    truth,
    unary,
)
from cog_cli.source.reading import Reading, Scope
from cog_cli.source.values import ABSENT, Blocked, KnownModule, StandInCalled, Unknown, Unsure
from cog_cli.source.vocabulary import describe_member, find_known, package_value


def evaluate(reading: Reading, node: ast.expr, scope: Scope) -> Any:
    """The value of `node` in `scope`. Raises OutOfSteps and RecursionError only."""
    reading.budget.spend()
    rule = _RULES.get(type(node))
    try:
        reading.budget.enter()
    except TooMuch as error:
        return reading.unknown(str(error), node, scope)
    try:
        if rule is None:
            raise Unsure(f"`{_show(node)}` is not evaluated")
        return rule(reading, node, scope)
    except Blocked as error:
        return error.unknown
    except (Unsure, TooMuch) as error:
        return reading.unknown(str(error), node, scope)
    except StandInCalled:
        return reading.unknown(f"`{_show(node)}` runs code of the project", node, scope)
    except (OutOfSteps, RecursionError):
        raise
    except Exception as error:
        # What Python itself says about the operation. Not the user's error for sure: stand-ins know less than objects.
        return reading.unknown(f"`{_show(node)}` raises {type(error).__name__}: {error}", node, scope)
    finally:
        reading.budget.depth -= 1


def _known(reading: Reading, node: ast.expr, scope: Scope) -> Any:
    """The value of `node`, though what it holds may be unknown. Raises Blocked."""
    value = evaluate(reading, node, scope)
    if isinstance(value, Unknown):
        raise Blocked(value)
    return value


def _name(reading: Reading, node: ast.Name, scope: Scope) -> Any:
    value = reading.find(node.id, scope)
    return reading.failure(f"{node.id} is not defined", node, scope) if value is ABSENT else value


def _attribute(reading: Reading, node: ast.Attribute, scope: Scope) -> Any:
    value = evaluate(reading, node.value, scope)
    name, place = node.attr, scope.module.place(node)
    if isinstance(value, Unknown):
        return describe_member(value, name, place)
    if isinstance(value, KnownModule):
        found = find_known(value.path, name)
        return package_value(f"{value.path}.{name}", place) if found is ABSENT else found
    if hasattr(value, "binders"):  # a module of the project
        found = value.attribute(name, scope.module)
        return reading.failure(f"{value.source.name} has no `{name}`", node, scope) if found is ABSENT else found
    is_enum = isinstance(value, EnumMeta)
    if name.startswith("__") and name not in ("__name__", "__members__"):
        raise Unsure(f"`{name}` is not evaluated")
    if reading.class_record(value) is not None or is_enum:
        found = getattr(value, name)
        if isinstance(found, (property, types.MemberDescriptorType, types.GetSetDescriptorType)):
            raise Unsure(f"`{value.__name__}.{name}` is not a value")
        return found
    if isinstance(type(value), EnumMeta) and name in ("value", "name"):
        return getattr(value, name)
    fields = getattr(value, "_fields", ()) or (value.__dataclass_fields__ if is_dataclass(value) else ())
    if name in fields and not isinstance(value, type):
        return scope.module.trusted(name, getattr(value, name), node)
    raise Unsure(f"`.{name}` of a {type(value).__name__} is not known")


def _subscript(reading: Reading, node: ast.Subscript, scope: Scope) -> Any:
    return index(
        reading.budget,
        _known(reading, node.value, scope),
        need_known(reading.budget, evaluate(reading, node.slice, scope)),
    )


def _slice(reading: Reading, node: ast.Slice, scope: Scope) -> Any:
    return slice(
        *(None if part is None else _known(reading, part, scope) for part in (node.lower, node.upper, node.step))
    )


def _binary(reading: Reading, node: ast.BinOp, scope: Scope) -> Any:
    # A loop, not recursion: `"..." + "..." + ...` nests once for each plus.
    chain = [node]
    while isinstance(chain[-1].left, ast.BinOp):
        chain.append(chain[-1].left)
    value = _known(reading, chain[-1].left, scope)
    for part in reversed(chain):
        value = operate(reading.budget, part.op, value, _known(reading, part.right, scope))
    return value


def _boolean(reading: Reading, node: ast.BoolOp, scope: Scope) -> Any:
    value: Any = None
    for part in node.values:
        value = _known(reading, part, scope)
        if part is not node.values[-1] and truth(value) == isinstance(node.op, ast.Or):
            break
    return value


def _compare(reading: Reading, node: ast.Compare, scope: Scope) -> Any:
    left = _known(reading, node.left, scope)
    for kind, part in zip(node.ops, node.comparators, strict=True):
        right = _known(reading, part, scope)
        if not compare(reading.budget, kind, left, right):
            return False
        left = right
    return True


def _conditional(reading: Reading, node: ast.IfExp, scope: Scope) -> Any:
    test = evaluate(reading, node.test, scope)
    try:
        if not isinstance(test, Unknown):
            return evaluate(reading, node.body if truth(test) else node.orelse, scope)
        cause = test
    except Unsure as error:
        cause = reading.unknown(str(error), node.test, scope)
    values = [evaluate(reading, part, scope) for part in (node.body, node.orelse)]
    found = either(reading, values, cause.reason, node, scope)
    return Unknown(cause.reason, cause.place, options=found.options) if isinstance(found, Unknown) else found


def _text(reading: Reading, node: ast.JoinedStr, scope: Scope) -> str:
    parts: list[str] = [_known(reading, part, scope) for part in node.values]
    reading.budget.check_size(sum(len(part) for part in parts))
    return "".join(parts)


def _formatted(reading: Reading, node: ast.FormattedValue, scope: Scope) -> str:
    spec = _known(reading, node.format_spec, scope) if node.format_spec is not None else ""
    return format_value(reading.budget, evaluate(reading, node.value, scope), node.conversion, spec)


def _elements(reading: Reading, nodes: Sequence[ast.expr], scope: Scope) -> Iterator[Any]:
    for node in nodes:
        if isinstance(node, ast.Starred):
            yield from iterate(reading.budget, evaluate(reading, node.value, scope))
        elif isinstance(node, ast.GeneratorExp):
            raise Unsure("an iterator that is kept is not followed")
        else:
            yield evaluate(reading, node, scope)


def _set(reading: Reading, items: Iterable[Any]) -> set[Any]:
    return {hashable_key(reading.budget, item) for item in items}


def _dict(reading: Reading, node: ast.Dict, scope: Scope) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key, item in zip(node.keys, node.values, strict=True):
        if key is not None:
            result[hashable_key(reading.budget, evaluate(reading, key, scope))] = evaluate(reading, item, scope)
        else:
            value = _known(reading, item, scope)
            if not isinstance(value, dict):
                raise Unsure("`**` of this is not known")
            result.update(value)
    return result


def _loop(reading: Reading, parts: list[ast.comprehension], scope: Scope, names: dict[str, Any]) -> Iterator[Scope]:
    """The scopes in which the element of a comprehension is evaluated, one for each time."""
    inner = scope.inner(names)
    if not parts:
        yield inner
        return
    part = parts[0]
    if part.is_async:
        raise Unsure("an asynchronous comprehension is not evaluated")
    for item in _all_of(reading, part.iter, inner if names else scope):
        reading.budget.spend()
        bound = {**names, **_unpack(part.target, item, reading)}
        tests = (truth(_known(reading, test, scope.inner(bound))) for test in part.ifs)
        if all(tests):
            yield from _loop(reading, parts[1:], scope, bound)


def _unpack(target: ast.expr, item: Any, reading: Reading) -> dict[str, Any]:
    if isinstance(target, ast.Name):
        return {target.id: item}
    if not isinstance(target, (ast.Tuple, ast.List)):
        raise Unsure("this loop is not followed")
    items = iterate(reading.budget, item)
    if len(items) != len(target.elts):
        raise Unsure("how the items are unpacked is not followed")
    names: dict[str, Any] = {}
    for part, value in zip(target.elts, items, strict=True):
        names.update(_unpack(part, value, reading))
    return names


def _items(reading: Reading, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: Scope) -> list[Any]:
    items: list[Any] = []
    for inner in _loop(reading, node.generators, scope, {}):
        items.append(evaluate(reading, node.elt, inner))
        reading.budget.check_size(len(items))
    return items


def _dict_of(reading: Reading, node: ast.DictComp, scope: Scope) -> dict[Any, Any]:
    scopes = _loop(reading, node.generators, scope, {})
    pairs = ((evaluate(reading, node.key, inner), evaluate(reading, node.value, inner)) for inner in scopes)
    return {hashable_key(reading.budget, key): value for key, value in pairs}


def _all_of(reading: Reading, node: ast.expr, scope: Scope) -> list[Any]:
    """The items of what is used up at once, so that it may be a generator. Raises Blocked or Unsure."""
    if isinstance(node, ast.GeneratorExp):
        return _items(reading, node, scope)
    return iterate(reading.budget, evaluate(reading, node, scope))


def _call(reading: Reading, node: ast.Call, scope: Scope) -> Any:
    is_iterator = len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp)
    args = [_all_of(reading, node.args[0], scope)] if is_iterator else list(_elements(reading, node.args, scope))
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
            return call_method(reading.budget, receiver, node.func.attr, args, kwargs)
    return call(reading, evaluate(reading, node.func, scope), args, kwargs, node, scope)


def _lambda(reading: Reading, node: ast.Lambda, scope: Scope) -> Thunk:
    if ast.unparse(node.args):
        raise Unsure("a lambda with parameters is not followed")
    return Thunk(lambda: evaluate(reading, node.body, scope.module.scope))


def _show(node: ast.AST) -> str:
    try:
        text = " ".join(ast.unparse(node).split())
    except RecursionError:
        return "..."
    return text if len(text) <= 60 else text[:57] + "..."


_RULES: dict[type, Callable[[Reading, Any, Scope], Any]] = {
    ast.Constant: lambda reading, node, scope: node.value,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Slice: _slice,
    ast.BinOp: _binary,
    ast.UnaryOp: lambda reading, node, scope: unary(node.op, _known(reading, node.operand, scope)),
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.JoinedStr: _text,
    ast.FormattedValue: _formatted,
    ast.List: lambda reading, node, scope: list(_elements(reading, node.elts, scope)),
    ast.Tuple: lambda reading, node, scope: tuple(_elements(reading, node.elts, scope)),
    ast.Set: lambda reading, node, scope: _set(reading, _elements(reading, node.elts, scope)),
    ast.Dict: _dict,
    ast.ListComp: _items,
    ast.SetComp: lambda reading, node, scope: _set(reading, _items(reading, node, scope)),
    ast.DictComp: _dict_of,
    ast.Call: _call,
    ast.Lambda: _lambda,
}
