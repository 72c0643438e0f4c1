"""`read_inputs`: what `-i` and `--json` say, as the JSON input of a prediction, checked before anything is started."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import SchemaValidator

from cog.schema.json_values import is_value_of
from cog.schema.spec import CONTAINERS, FieldSpec, PredictorSpec, TypeSpec
from cog.schema.strict_json import JSONError, loads
from cog.schema.validation import check_input, make_validator
from cog_cli.errors import CogError, UsageError
from cog_cli.prediction.uploads import Upload, find_upload

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class Inputs:
    """The JSON input of a prediction. Where a file belongs, `values` have the reference of one of `uploads`."""

    values: dict[str, Any]
    uploads: tuple[Upload, ...] = ()


def read_inputs(pairs: tuple[str, ...], document: str | None, spec: PredictorSpec | None) -> Inputs:
    """The input that `-i name=value` pairs, or a JSON document, come to.

    `spec` is None for an image of another tool: then values stay what they look like, and the server checks them.
    Raises UsageError for words that cannot be read, CogError for values that the predictor does not take.
    """
    split = [_split(pair) for pair in pairs]
    files = _Files([text for _, text in split])
    if document is not None:
        given = _read_document(document)
    elif spec is None:
        given = {name: _guess(name, text, files) for name, text in split}
    else:
        given = _from_pairs(split, spec, files)
    if spec is not None:
        _check(given, spec)
    return Inputs(given, tuple(files.uploads))


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


class _Files:
    """The files that `@path` names. `texts` are all that the person typed."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self.uploads: list[Upload] = []

    def send(self, name: str, text: str) -> str:
        """What stands for `@path` where the server puts a file in its place; any other text is a URL as it is."""
        if not text.startswith("@"):
            return text
        upload = find_upload(name, Path(text[1:]).expanduser(), self._new_part())
        self.uploads.append(upload)
        return upload.reference

    def embed(self, name: str, text: str) -> str:
        """`@path` as a data: URL, for where the server takes any text as it is."""
        return find_upload(name, Path(text[1:]).expanduser(), "").data_url() if text.startswith("@") else text

    def _new_part(self) -> str:
        """A name that nobody typed: what looks like its reference must not become the file."""
        part = f"file{len(self.uploads)}"
        while any(f"upload:{part}" in text for text in self._texts):
            part += "-"
        return part


def _from_pairs(pairs: list[tuple[str, str]], spec: PredictorSpec, files: _Files) -> dict[str, Any]:
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
            result.setdefault(name, []).append(_value(field, items[position], text, files))
        elif name in result:
            raise CogError(f"the input {name} is given twice, and it is no list")
        else:
            result[name] = _value(field, field.type, text, files)
    return result


def _value(field: FieldSpec, spec: TypeSpec, text: str, files: _Files) -> Any:
    """One value of `-i`, read as its type. What cannot be read stays text, and the check that follows says so."""
    kind = spec.kind
    if kind in ("path", "file"):
        return files.send(field.name, text)
    if kind == "any" and text.startswith("@"):
        return files.embed(field.name, text)
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
        return _union_value(field, spec, text, files)
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


def _union_value(field: FieldSpec, spec: TypeSpec, text: str, files: _Files) -> Any:
    """What the text says in JSON, if a member takes that; otherwise the text itself."""
    if text.startswith("@") and any(item.kind in ("path", "file") for item in spec.items):
        # The server takes the first member that fits: where that is a text, a reference would stay one.
        first = next(item for item in spec.items if is_value_of(item, text))
        return files.send(field.name, text) if first.kind in ("path", "file") else files.embed(field.name, text)
    value = _json_or_text(text)
    return text if not is_value_of(spec, value) and is_value_of(spec, text) else value


def _json_or_text(text: str) -> Any:
    try:
        return loads(text.encode())
    except (JSONError, UnicodeEncodeError):
        return text


def _guess(name: str, text: str, files: _Files) -> Any:
    return files.send(name, text) if text.startswith("@") else _json_or_text(text)


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
    _, found = check_input(make_validator(SchemaValidator, spec).validate_python, given, names)
    if found:
        lines = [f"- {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found]
        raise CogError("the input is not valid:\n" + "\n".join(lines))
