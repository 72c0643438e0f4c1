"""`old_style_error`: what to tell the author of a predictor for the Cog of 2021, with `@cog.input` decorators."""

from __future__ import annotations

import ast

from cog.schema.spec import SignatureError
from cog_cli.source.modules import SourceModule
from cog_cli.source.reading import Reading
from cog_cli.source.values import KnownModule, Unknown

# Keyword of `@cog.input` -> keyword of `Input`.
_WORDS = {"default": "default", "min": "ge", "max": "le", "options": "choices", "help": "description"}


def old_style_error(reading: Reading, module: SourceModule, name: str) -> SignatureError | None:
    """The error for the class or function `name` of `module` if it is of that style, None if it is not."""
    node = next((item for item in module.source.tree.body if getattr(item, "name", None) == name), None)
    if node is None:
        return None
    functions = [node] if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else getattr(node, "body", [])
    for function in functions:
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inputs = [item for item in function.decorator_list if _is_old_input(reading, module, item)]
            if inputs:
                return _error("is written for the Cog of 2021", module, inputs[0], _new_signature(function, inputs))
    for base in node.bases if isinstance(node, ast.ClassDef) else []:
        value = reading.evaluate(base, module.scope)
        if isinstance(value, Unknown) and value.path == "cog.Model":
            hint = "Inherit from cog.BasePredictor, and give predict() type annotations."
            return _error("inherits from cog.Model, which is of the Cog of 2021", module, base, hint)
    return None


def _error(message: str, module: SourceModule, node: ast.AST, hint: str) -> SignatureError:
    place = module.place(node)
    return SignatureError(f"it {message}", hint=hint, file=place.file, line=place.line, column=place.column)


def _is_old_input(reading: Reading, module: SourceModule, node: ast.expr) -> bool:
    function = node.func if isinstance(node, ast.Call) else node
    if not isinstance(function, (ast.Attribute, ast.Name)):
        return False
    return bool(reading.evaluate(function, module.scope) == KnownModule("cog.input"))


def _new_signature(function: ast.FunctionDef | ast.AsyncFunctionDef, inputs: list[ast.expr]) -> str:
    parameters = [_parameter(node) for node in inputs if isinstance(node, ast.Call)]
    lines = "".join(f"\n        {item}," for item in ["self", *filter(None, parameters)])
    return (
        "Declare the inputs in predict() itself, with their types and that of the output:\n"
        f"    def {function.name}({lines}\n    ) -> Path:"
    )


def _parameter(node: ast.Call) -> str:
    words = {word.arg: word.value for word in node.keywords}
    name = node.args[0] if node.args else words.get("name")
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        return ""
    kind = words.get("type") or (node.args[1] if len(node.args) > 1 else None)
    options = [f"{new}={ast.unparse(words[old])}" for old, new in _WORDS.items() if old in words]
    return f"{name.value}: {ast.unparse(kind) if kind is not None else 'str'} = Input({', '.join(options)})"
