"""`find_files`: which places of a prediction's output are files, and what is known of each."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from cog.schema.json_values import is_value_of
from cog.schema.spec import OutputSpec, TypeSpec
from cog_cli.errors import CogError

# Keys and indexes into the output.
Place = tuple[str | int, ...]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AGAIN = "It was not written. Run the prediction again."
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class OutputFile:
    """A file in an output. `name` is its own, as somebody else wrote it; None is what nobody said."""

    name: str | None = None
    media_type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None

    def check(self, name: str, size_bytes: int, sha256: str) -> None:
        """Raise CogError if a file that came has another size or digest than was said."""
        if self.size_bytes not in (None, size_bytes):
            raise CogError(f"{name} came with {size_bytes} bytes, and the model wrote {self.size_bytes}", hint=_AGAIN)
        if self.sha256 not in (None, sha256):
            raise CogError(f"{name} came with other content than the model wrote: its sha256 differs", hint=_AGAIN)


def find_files(document: Mapping[str, Any], spec: OutputSpec | None) -> dict[Place, OutputFile]:
    """The files of a prediction: what its `output_info` says, and URLs where the spec has files."""
    result: dict[Place, OutputFile] = {}
    if spec is not None:
        output = TypeSpec("list", items=(spec.type,)) if spec.is_iterator else spec.type
        for place, url in _urls(output, document.get("output"), ()):
            result[place] = OutputFile(name=_name_in(url))
    said = document.get("output_info")
    for item in said if isinstance(said, list) else []:
        parts = item.get("place") if isinstance(item, dict) else None
        if isinstance(parts, list) and all(isinstance(part, str | int) for part in parts):
            result[tuple(parts)] = _read(item)
    return result


def _read(item: dict[str, Any]) -> OutputFile:
    """What is not as it should be was not said: it comes from whatever server the image has."""
    name, media_type, size, digest = (item.get(key) for key in ("name", "media_type", "size", "sha256"))
    return OutputFile(
        name=name if isinstance(name, str) else None,
        media_type=media_type if isinstance(media_type, str) else None,
        size_bytes=size if isinstance(size, int) and size >= 0 else None,
        sha256=digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None,
    )


def _urls(spec: TypeSpec, value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if spec.kind in ("path", "file"):
        if isinstance(value, str) and _is_url(value):
            yield place, value
    elif spec.kind == "union":
        fitting = (item for item in spec.items if is_value_of(item, value, is_file=_is_url))
        yield from _urls(next(fitting, TypeSpec("any")), value, place)
    elif isinstance(value, list) and spec.kind in ("list", "set", "tuple"):
        items = spec.items if spec.kind == "tuple" else spec.items * len(value)
        for index, (inner, item) in enumerate(zip(items, value, strict=False)):
            yield from _urls(inner, item, (*place, index))
    elif isinstance(value, dict) and spec.kind == "dict":
        for key, item in value.items():
            yield from _urls(spec.items[0], item, (*place, key))
    elif isinstance(value, dict) and spec.kind == "object":
        for field in spec.fields:
            if field.name in value:
                yield from _urls(field.type, value[field.name], (*place, field.name))


def _is_url(text: str) -> bool:
    return _URL.match(text) is not None


def _name_in(url: str) -> str | None:
    if url.startswith("data:"):
        return None
    with contextlib.suppress(ValueError):
        return unquote(urlsplit(url).path).rpartition("/")[2] or None
    return None
