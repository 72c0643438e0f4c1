"""`evaluate`: the value of an expression, Unknown where the source alone cannot tell it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from cog_cli.source.attributes import attribute
from cog_cli.source.binding import bind_target, either
from cog_cli.source.budget import OutOfSteps, TooMuch
from cog_cli.source.comprehensions import dict_comprehension, generator, list_comprehension, set_comprehension
from cog_cli.source.effects import taint_effects
from cog_cli.source.methods import call_method, has_methods
from cog_cli.source.operations import (
    check_format,
    compare,
    hashable_key,
    index,
    iterate,
    need_itself_known,
    need_known,
    need_plain,
    operate,
    truth,
    unary,
)
from cog_cli.source.reading import Reading
from cog_cli.source.scope import Scope
from cog_cli.source.values import ABSENT, Blocked, GiveUp, StandInCalled, Stream, Unknown, Unsure, force


def evaluate(reading: Reading, node: ast.expr, scope: Scope) -> Any:
    """The value of `node` in `scope`. Raises OutOfSteps, GiveUp and RecursionError only."""
    reading.budget.spend()
    begin = len(reading.operands)
    value = _value(reading, node, scope)
    if isinstance(value, Unknown) and not isinstance(node, ast.Name):
        # Whatever it is, it may be or hold any of the things it is made of.
        value = value.with_aliases(reading.operands[begin:])
    del reading.operands[begin:]
    reading.operands.append(value)
    return value


def _value(reading: Reading, node: ast.expr, scope: Scope) -> Any:
    rule = _RULES.get(type(node))
    if rule is None:
        return taint_effects(reading, node, scope, reading.unknown(f"`{_show(node)}` is not evaluated", node, scope))
    try:
        reading.budget.enter()
    except TooMuch as error:
        return taint_effects(reading, node, scope, reading.unknown(str(error), node, scope))
    try:
        return rule(reading, node, scope)
    except Blocked as error:
        return error.unknown
    except (Unsure, TooMuch) as error:
        return reading.unknown(str(error), node, scope)
    except StandInCalled:
        return reading.unknown(f"`{_show(node)}` runs code of the project", node, scope)
    except (OutOfSteps, GiveUp, RecursionError):
        raise
    except Exception as error:
        # What Python itself says about the operation. Not the user's error for sure: stand-ins know less than objects.
        return reading.unknown(f"`{_show(node)}` raises {type(error).__name__}: {error}", node, scope)
    finally:
        reading.budget.depth -= 1


def arguments(reading: Reading, node: ast.Call, scope: Scope) -> tuple[list[Any], dict[str, Any], Unknown | None]:
    """The arguments of a call, and what is unknown about their number or names."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    unknown: Unknown | None = None
    for item in node.args:
        if isinstance(item, ast.GeneratorExp):
            args.append(generator(reading, item, scope))
        elif isinstance(item, ast.Starred):
            value = evaluate(reading, item.value, scope)
            try:
                args.extend(iterate(reading, value))
            except (Blocked, Unsure) as error:
                unknown = error.unknown if isinstance(error, Blocked) else reading.unknown(str(error), item, scope)
                args.append(value)
        else:
            args.append(evaluate(reading, item, scope))
    for word in node.keywords:
        value = evaluate(reading, word.value, scope)
        if word.arg is not None:
            kwargs[word.arg] = value
        elif type(value) is dict and reading.taint_of(value) is None and all(type(key) is str for key in value):
            kwargs.update(value)
        else:
            unknown = value if isinstance(value, Unknown) else reading.unknown("`**` of this is unknown", word, scope)
            args.append(value)
    return args, kwargs, unknown


def _constant(reading: Reading, node: ast.Constant, scope: Scope) -> Any:
    return node.value


def _name(reading: Reading, node: ast.Name, scope: Scope) -> Any:
    value = force(scope.find(node.id))
    if value is ABSENT:
        return reading.failure(f"{node.id} is not defined", node, scope)
    return reading.taint_of(value) or value


def _attribute(reading: Reading, node: ast.Attribute, scope: Scope) -> Any:
    value = attribute(reading, evaluate(reading, node.value, scope), node.attr, node, scope)
    return reading.taint_of(value) or value


def _subscript(reading: Reading, node: ast.Subscript, scope: Scope) -> Any:
    value = evaluate(reading, node.value, scope)
    key = evaluate(reading, node.slice, scope)
    result = index(reading, need_itself_known(reading, value), need_known(reading, key))
    return reading.taint_of(result) or result


def _slice(reading: Reading, node: ast.Slice, scope: Scope) -> Any:
    parts = [None if part is None else evaluate(reading, part, scope) for part in (node.lower, node.upper, node.step)]
    return slice(*parts)


def _binary(reading: Reading, node: ast.BinOp, scope: Scope) -> Any:
    # A loop, not recursion: `"..." + "..." + ...` nests once for each plus.
    chain = [node]
    while isinstance(chain[-1].left, ast.BinOp):
        chain.append(chain[-1].left)
    chain.reverse()
    value = evaluate(reading, chain[0].left, scope)
    for part, right in [(part, evaluate(reading, part.right, scope)) for part in chain]:
        need_itself_known(reading, value)
        need_itself_known(reading, right)
        if isinstance(part.op, ast.Mod):
            need_known(reading, right)
        value = operate(reading, part.op, value, right)
    return value


def _unary(reading: Reading, node: ast.UnaryOp, scope: Scope) -> Any:
    return unary(node.op, need_itself_known(reading, evaluate(reading, node.operand, scope)))


def _boolean(reading: Reading, node: ast.BoolOp, scope: Scope) -> Any:
    value: Any = None
    for position, part in enumerate(node.values):
        value = evaluate(reading, part, scope)
        if position == len(node.values) - 1:
            break
        try:
            decided = truth(need_itself_known(reading, value)) == isinstance(node.op, ast.Or)
        except (Blocked, Unsure):
            for rest in node.values[position + 1 :]:
                _under_condition(reading, rest, scope)
            raise
        if decided:
            break
    return value


def _under_condition(reading: Reading, node: ast.expr, scope: Scope) -> Any:
    """Evaluate what may or may not run, for its effects."""
    before = dict(scope.names)
    with reading.maybe(scope):
        value = evaluate(reading, node, scope)
    for name, bound in scope.names.items():
        if before.get(name, ABSENT) is not bound:
            cause = reading.unknown(f"`{name}` is bound under a condition", node, scope)
            scope.names[name] = cause.with_aliases([before.get(name), bound])
    return value


def _compare(reading: Reading, node: ast.Compare, scope: Scope) -> Any:
    left = evaluate(reading, node.left, scope)
    for kind, part in zip(node.ops, node.comparators, strict=True):
        right = evaluate(reading, part, scope)
        if isinstance(kind, (ast.Is, ast.IsNot)):
            holds = compare(reading, kind, need_itself_known(reading, left), need_itself_known(reading, right))
        else:
            holds = compare(reading, kind, need_known(reading, left), need_known(reading, right))
        if not holds:
            return False
        left = right
    return True


def _conditional(reading: Reading, node: ast.IfExp, scope: Scope) -> Any:
    try:
        test = truth(need_itself_known(reading, evaluate(reading, node.test, scope)))
    except (Blocked, Unsure):
        value = either(reading, [_under_condition(reading, part, scope) for part in (node.body, node.orelse)])
        if value is ABSENT:
            raise
        return value
    return evaluate(reading, node.body if test else node.orelse, scope)


def _text(reading: Reading, node: ast.JoinedStr, scope: Scope) -> str:
    values = [evaluate(reading, part, scope) for part in node.values]
    parts: list[str] = [need_known(reading, value) for value in values]
    reading.budget.check_size(sum(len(part) for part in parts))
    return "".join(parts)


def _formatted(reading: Reading, node: ast.FormattedValue, scope: Scope) -> str:
    value = need_known(reading, evaluate(reading, node.value, scope))
    spec = need_known(reading, evaluate(reading, node.format_spec, scope)) if node.format_spec is not None else ""
    check_format(spec)
    need_plain(reading, value)
    convert: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}
    return format(convert[node.conversion](value) if node.conversion in convert else value, spec)


def _elements(reading: Reading, nodes: list[ast.expr], scope: Scope) -> list[Any]:
    values = [evaluate(reading, node.value if isinstance(node, ast.Starred) else node, scope) for node in nodes]
    items: list[Any] = []
    for node, value in zip(nodes, values, strict=True):
        if isinstance(node, ast.Starred):
            items.extend(iterate(reading, value))
        else:
            items.append(_kept(reading, value, node, scope))
    return items


def _kept(reading: Reading, value: Any, node: ast.AST, scope: Scope) -> Any:
    if isinstance(value, Stream):
        return reading.unknown("an iterator that is kept is not followed", node, scope)
    return value


def _list(reading: Reading, node: ast.List, scope: Scope) -> list[Any]:
    return _elements(reading, node.elts, scope)


def _tuple(reading: Reading, node: ast.Tuple, scope: Scope) -> tuple[Any, ...]:
    return tuple(_elements(reading, node.elts, scope))


def _set(reading: Reading, node: ast.Set, scope: Scope) -> set[Any]:
    items = _elements(reading, node.elts, scope)
    return {hashable_key(reading, item) for item in items}


def _dict(reading: Reading, node: ast.Dict, scope: Scope) -> dict[Any, Any]:
    pairs = [
        (key is None or evaluate(reading, key, scope), evaluate(reading, item, scope))
        for key, item in zip(node.keys, node.values, strict=True)
    ]
    result: dict[Any, Any] = {}
    for node_key, (key, value) in zip(node.keys, pairs, strict=True):
        if node_key is not None:
            result[hashable_key(reading, key)] = _kept(reading, value, node_key, scope)
        elif isinstance(need_itself_known(reading, value), dict):
            result.update(value)
        else:
            raise Unsure("`**` of this is not known")
    return result


def _walrus(reading: Reading, node: ast.NamedExpr, scope: Scope) -> Any:
    value = evaluate(reading, node.value, scope)
    if scope.parent is not None:
        raise GiveUp(reading.unknown("`:=` is not followed here", node, scope))
    bind_target(reading, node.target, value, scope)
    return value


def _call(reading: Reading, node: ast.Call, scope: Scope) -> Any:
    receiver: Any = ABSENT
    if not isinstance(node.func, ast.Attribute):
        function = evaluate(reading, node.func, scope)
    else:
        receiver = evaluate(reading, node.func.value, scope)
        function = None if has_methods(receiver) else _method(reading, receiver, node.func, scope)
    args, kwargs, unknown = arguments(reading, node, scope)
    if unknown is not None:
        reading.taint([receiver, function, *args, *kwargs.values()], unknown)
        return unknown
    if isinstance(node.func, ast.Attribute) and has_methods(receiver):
        need_itself_known(reading, receiver)
        return call_method(reading, receiver, node.func.attr, args, kwargs, scope.module.place(node))
    return reading.call(function, args, kwargs, node, scope)


def _method(reading: Reading, receiver: Any, node: ast.Attribute, scope: Scope) -> Any:
    """What is called by `receiver.name(...)`; never raises, for the arguments must be looked at in any case."""
    try:
        found = attribute(reading, receiver, node.attr, node, scope)
        found = reading.taint_of(found) or found
    except (Unsure, Blocked, AttributeError) as error:
        found = reading.unknown(str(error), node, scope)
    return found.with_aliases([receiver]) if isinstance(found, Unknown) else found


def _lambda(reading: Reading, node: ast.Lambda, scope: Scope) -> Any:
    return reading.make_function(node, scope)


def _show(node: ast.AST) -> str:
    try:
        text = " ".join(ast.unparse(node).split())
    except RecursionError:
        return "..."
    return text if len(text) <= 60 else text[:57] + "..."


_RULES: dict[type, Callable[[Reading, Any, Scope], Any]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Slice: _slice,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.JoinedStr: _text,
    ast.FormattedValue: _formatted,
    ast.List: _list,
    ast.Tuple: _tuple,
    ast.Set: _set,
    ast.Dict: _dict,
    ast.ListComp: list_comprehension,
    ast.SetComp: set_comprehension,
    ast.DictComp: dict_comprehension,
    ast.Lambda: _lambda,
    ast.NamedExpr: _walrus,
    ast.Call: _call,
}
