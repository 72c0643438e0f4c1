"""`read_inputs`: what `-i` and `--json` say, as the JSON input of a prediction, checked before anything is started."""

from __future__ import annotations

import base64
import json
import mimetypes
import os
import stat
import sys
from pathlib import Path
from typing import Any

from pydantic_core import SchemaValidator, ValidationError

from cog.json_values import is_value_of
from cog.spec import CONTAINERS, FieldSpec, PredictorSpec, TypeSpec
from cog.strict_json import JSONError, loads
from cog.validation import clean_errors, input_schema
from cog_cli.errors import CogError, UsageError

# The server takes bodies of 100 MiB; base64 makes a third more of a file.
MAX_FILE_BYTES = 70 * 1024 * 1024
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_inputs(pairs: tuple[str, ...], document: str | None, spec: PredictorSpec | None) -> dict[str, Any]:
    """The input that `-i name=value` pairs, or a JSON document, come to.

    `spec` is None for an image of another tool: then values stay what they look like, and the server checks them.
    Raises UsageError for words that cannot be read, CogError for values that the predictor does not take.
    """
    split = [_split(pair) for pair in pairs]
    if document is not None:
        given = _read_document(document)
    elif spec is None:
        given = {name: _guess(name, text) for name, text in split}
    else:
        given = _from_pairs(split, spec)
    if spec is not None:
        _check(given, spec)
    return given


def check_words(pairs: tuple[str, ...], document: str | None) -> None:
    """Refuse words that mean nothing whatever the predictor is. Raises UsageError."""
    if pairs and document is not None:
        raise UsageError("-i and --json exclude each other")
    for pair in pairs:
        _split(pair)


def _split(pair: str) -> tuple[str, str]:
    name, equals, text = pair.partition("=")
    if not equals:
        raise UsageError(f"-i {pair}: the form is name=value")
    if not name.strip():
        raise UsageError(f"-i {pair}: the name of the input is empty")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    return name.strip(), text


def _from_pairs(pairs: list[tuple[str, str]], spec: PredictorSpec) -> dict[str, Any]:
    fields = {field.name: field for field in spec.inputs}
    result: dict[str, Any] = {}
    for name, text in pairs:
        field = fields.get(name)
        if field is None:
            result[name] = text
            continue
        is_list = field.type.kind in ("list", "set", "tuple")
        if is_list and not text.startswith("["):
            items = field.type.items or (TypeSpec("any"),)
            position = min(len(result.get(name, ())), len(items) - 1)
            result.setdefault(name, []).append(_value(field, items[position], text))
        elif name in result:
            raise CogError(f"the input {name} is given twice, and it is no list")
        else:
            result[name] = _value(field, field.type, text)
    return result


def _value(field: FieldSpec, spec: TypeSpec, text: str) -> Any:
    """One value of `-i`, read as its type. What cannot be read stays text, and the check that follows says so."""
    kind = spec.kind
    if kind in ("path", "file") or (kind == "any" and text.startswith("@")):
        return _file_url(field.name, text)
    if text == "" and spec.nullable and kind not in ("str", "secret", "any"):
        return None
    if kind in CONTAINERS and kind not in ("union", "literal", "enum"):
        return _json_or_text(text)
    values = field.choices or spec.values
    if values:
        return _chosen(values, text)
    if kind == "bool":
        return _BOOLEANS.get(text.lower(), text)
    if kind in ("str", "secret", "datetime", "date"):
        return text
    if kind == "union":
        return _union_value(field, spec, text)
    return _json_or_text(text)


def _chosen(values: tuple[Any, ...], text: str) -> Any:
    """The value that the text names, as Python writes it or as the type is read: `1.0` is 1, `yes` is true."""
    number = _json_or_text(text)
    for item in values:
        if isinstance(item, bool):
            is_named = _BOOLEANS.get(text.lower()) is item and text not in ("0", "1")
        else:
            is_named = not isinstance(item, str) and not isinstance(number, bool) and item == number
        if is_named or str(item) == text:
            return item
    return text


def _union_value(field: FieldSpec, spec: TypeSpec, text: str) -> Any:
    """What the text says in JSON, if a member takes that; otherwise the text itself."""
    if text.startswith("@") and any(item.kind in ("path", "file") for item in spec.items):
        return _file_url(field.name, text)
    value = _json_or_text(text)
    return text if not is_value_of(spec, value) and is_value_of(spec, text) else value


def _json_or_text(text: str) -> Any:
    try:
        return loads(text.encode())
    except (JSONError, UnicodeEncodeError):
        return text


def _guess(name: str, text: str) -> Any:
    return _file_url(name, text) if text.startswith("@") else _json_or_text(text)


def _file_url(name: str, text: str) -> str:
    """`@path` as a data URL; a URL as it is."""
    if not text.startswith("@"):
        return text
    path = Path(text[1:]).expanduser()
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CogError(f"the input {name}: {path} is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise CogError(
                f"the input {name}: {path} is larger than {MAX_FILE_BYTES // 1024**2} MiB",
                hint="Put it where the model can fetch it, and give its URL.",
            )
        content = _read(path)
    except OSError as error:
        raise CogError(f"the input {name}: {path} cannot be read: {error.strerror}") from error
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _read(path: Path) -> bytes:
    """The whole file; no more than the limit and without waiting, whatever /proc calls a regular file."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        return file.read(MAX_FILE_BYTES) or b""


def _read_document(given: str) -> dict[str, Any]:
    if given in ("-", "@-"):
        text = sys.stdin.buffer.read()
    elif given.startswith("@"):
        try:
            text = Path(given[1:]).expanduser().read_bytes()
        except OSError as error:
            raise CogError(f"--json: {given[1:]} cannot be read: {error.strerror}") from error
    else:
        text = given.encode("utf-8", "surrogateescape")
    try:
        document = loads(text)
    except JSONError as error:
        raise UsageError(f"--json {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"--json: expected an object, got {json.dumps(document)[:60]}")
    return document


def _check(given: dict[str, Any], spec: PredictorSpec) -> None:
    names = [field.name for field in spec.inputs]
    try:
        SchemaValidator(input_schema(spec)).validate_python(given)
    except ValidationError as error:
        found = clean_errors(error.errors(include_url=False, include_input=False), names)  # type: ignore[arg-type]  # TypedDicts as dicts
        lines = [f"- {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found]
        raise CogError("the input is not valid:\n" + "\n".join(lines)) from error
