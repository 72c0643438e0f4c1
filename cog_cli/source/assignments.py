"""`assign` and `delete`: what `=` and `del` do to names, attributes and items."""

from __future__ import annotations

import ast
from typing import Any

from cog_cli.source.binding import unpack
from cog_cli.source.operations import hashable_key
from cog_cli.source.reading import Reading, is_module
from cog_cli.source.scope import Scope
from cog_cli.source.values import GiveUp, KnownModule, Stream, Unknown


def assign(reading: Reading, target: ast.expr, value: Any, scope: Scope) -> None:
    """Bind `value` to any kind of target."""
    if isinstance(value, Stream):
        value = reading.unknown("an iterator that is kept is not followed", target, scope).with_aliases(value.items)
    if isinstance(target, ast.Name):
        bind(reading, target.id, value, scope)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for part, item in zip(target.elts, unpack(reading, target, value, scope), strict=True):
            assign(reading, part.value if isinstance(part, ast.Starred) else part, item, scope)
    elif isinstance(target, ast.Attribute):
        _set_attribute(reading, target, value, scope)
    elif isinstance(target, ast.Subscript):
        _set_item(reading, target, value, scope)


def bind(reading: Reading, name: str, value: Any, scope: Scope) -> None:
    """Bind a name in `scope`, or in the module for one that is declared `global`."""
    if reading.uncertain:
        reading.bound.append(value)
    if name in scope.global_names:
        scope.module.rebind(name, value)
    else:
        scope.names[name] = value


def _set_attribute(reading: Reading, target: ast.Attribute, value: Any, scope: Scope) -> None:
    owner = reading.evaluate(target.value, scope)
    cause = reading.unknown(f"`{ast.unparse(target)}` is assigned", target, scope)
    if isinstance(owner, KnownModule):
        return
    if isinstance(owner, Unknown):
        reading.taint([owner, value], cause)
    elif is_module(owner):
        owner.rebind(target.attr, cause if reading.uncertain else value)
    elif reading.class_record(owner) is not None and not target.attr.startswith("__") and not reading.uncertain:
        setattr(owner, target.attr, value)
    elif reading.function_record(owner) is not None and not target.attr.startswith("__"):
        vars(owner)[target.attr] = cause if reading.uncertain else value
    else:
        reading.taint([owner, value], cause)


def _set_item(reading: Reading, target: ast.Subscript, value: Any, scope: Scope) -> None:
    owner = reading.evaluate(target.value, scope)
    key = reading.evaluate(target.slice, scope)
    cause = reading.unknown(f"`{ast.unparse(target)}` is assigned", target, scope)
    is_plain = isinstance(owner, (list, dict)) and not isinstance(key, slice) and reading.find_unknown(key) is None
    if reading.uncertain or not is_plain:
        reading.taint([owner, value], cause)
    elif isinstance(owner, list):
        reading.changing(owner, cause.place)
        owner[key] = value
    else:
        reading.changing(owner, cause.place)
        owner[hashable_key(reading, key)] = value
        reading.budget.check_size(len(owner))


def delete(reading: Reading, node: ast.Delete, scope: Scope) -> None:
    """Run a `del` statement."""
    for target in node.targets:
        if isinstance(target, ast.Name) and not reading.uncertain:
            scope.owner(target.id).names.pop(target.id, None)
        elif isinstance(target, ast.Subscript):
            _delete_item(reading, target, scope)
        else:
            raise GiveUp(reading.unknown(f"`del {ast.unparse(target)}` is not followed", node, scope))


def _delete_item(reading: Reading, target: ast.Subscript, scope: Scope) -> None:
    owner = reading.evaluate(target.value, scope)
    key = reading.evaluate(target.slice, scope)
    if isinstance(owner, (list, dict)) and not reading.uncertain and reading.find_unknown(key) is None:
        reading.changing(owner, scope.module.place(target))
        del owner[hashable_key(reading, key) if isinstance(owner, dict) else key]
    else:
        reading.taint([owner], reading.unknown(f"`del {ast.unparse(target)}`", target, scope))
