"""Input files: the URLs in an input, fetched into the prediction's folder and replaced by paths."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from cog.schema.json_values import is_value_of
from cog.schema.spec import FieldSpec, PredictorSpec, TypeSpec
from cog.schema.validation import URL_PATTERN
from cog_server.files.cancellation import stop
from cog_server.files.fetch import FetchError, FileFetcher
from cog_server.files.schemes import SCHEMES, scheme_of

Place = list[Any]
MAX_FILES = 10_000
# `name:password@` in an http URL.
_CREDENTIALS = re.compile(r"^(https?://)[^/?#]*@", re.IGNORECASE)


@dataclass(frozen=True)
class Upload:
    """A file that came with the request: where it lies, and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class InputShape:
    """What of a predictor's inputs needs a look at every value: `with_files` may hold files, `hidden` secrets too."""

    with_files: tuple[FieldSpec, ...]
    hidden: tuple[FieldSpec, ...]

    @classmethod
    def of(cls, spec: PredictorSpec) -> InputShape:
        """Of most predictors it is little, or nothing."""
        with_files = tuple(item for item in spec.inputs if _may_hold(item.type, ("path", "file")))
        hidden = tuple(item for item in spec.inputs if item in with_files or _may_hold(item.type, ("secret",)))
        return cls(with_files, hidden)

    def is_plain(self, given: dict[str, Any]) -> bool:
        """Whether there is nothing to fetch for this input, and nothing to hide in it."""
        return not self.hidden or not any(item.name in given or item.default is not None for item in self.hidden)


async def localize(
    shape: InputShape,
    given: dict[str, Any],
    *,
    fetcher: FileFetcher,
    folder: str,
    uploads: Mapping[str, Upload],
) -> tuple[dict[str, Any], list[Place]]:
    """Give `given` with every file's URL replaced by the path of its copy in `folder`, and the places of these files.

    A place is the keys and indexes that lead to it. `uploads` are there already. `folder` is made if there are files.
    Raises FetchError and OSError.
    """
    result = dict(given)
    places: list[Place] = []
    for item in shape.with_files:
        if item.name in given:
            result[item.name] = _copy(given[item.name])
            places += [[item.name, *place] for place in _file_places(item.type, result[item.name])]
        # A default that is a URL is fetched like one that was sent; any other is a file of the model's own.
        elif item.default is not None:
            default = {item.name: item.default}
            found = [[item.name, *place] for place in _file_places(item.type, item.default)]
            fetched = [place for place in found if _is_fetched(_holder(default, place)[place[-1]])]
            if fetched:
                result.update(_copy(default))
                places += fetched
    if len(places) > MAX_FILES:
        raise FetchError(f"{places[MAX_FILES][0]}: an input has at most {MAX_FILES} files, not {len(places)}")
    if not places:
        return result, []
    os.makedirs(folder, mode=0o700, exist_ok=True)
    budget = fetcher.limits.budget()
    for upload in uploads.values():
        budget.take(upload.size)

    async def path_of(url: str, name: str) -> str:
        if url in uploads:
            return uploads[url].path
        return await fetcher.fetch(url, folder=folder, name=name, budget=budget)

    paths = await _all([path_of(_holder(result, place)[place[-1]], place[0]) for place in places])
    for place, path in zip(places, paths, strict=True):
        _holder(result, place)[place[-1]] = path
    return result, places


def redact(shape: InputShape, given: dict[str, Any]) -> dict[str, Any]:
    """Give `given` as it may be shown: secrets as stars, also those in the URL of a file."""
    if not shape.hidden:
        return given
    shown = {item.name: _redacted(item.type, given[item.name]) for item in shape.hidden if item.name in given}
    return {**given, **shown}


def _may_hold(spec: TypeSpec, kinds: tuple[str, ...]) -> bool:
    inner = (*spec.items, *(field.type for field in spec.fields))
    return spec.kind in kinds or any(_may_hold(item, kinds) for item in inner)


def _redacted(spec: TypeSpec, value: Any) -> Any:
    if spec.kind == "secret" and isinstance(value, str):
        return "**********"
    if spec.kind in ("path", "file") and isinstance(value, str):
        return _CREDENTIALS.sub(r"\1**********@", value) if value[:4].lower() == "http" else value
    if spec.kind == "union":
        # By every member: what may be a secret is not shown.
        for member in spec.items:
            value = _redacted(member, value)
        return value
    if isinstance(value, (list, tuple)) and spec.kind in ("list", "set", "tuple"):
        items = spec.items if spec.kind == "tuple" else spec.items * len(value)
        return [_redacted(member, item) for member, item in zip(items, value, strict=False)]
    if isinstance(value, dict) and spec.kind == "dict":
        return {name: _redacted(spec.items[0], item) for name, item in value.items()}
    if isinstance(value, dict) and spec.kind == "object":
        inner = {field.name: field.type for field in spec.fields}
        return {name: _redacted(inner[name], item) if name in inner else item for name, item in value.items()}
    return value


async def _all(pending: list[Coroutine[Any, Any, str]]) -> list[str]:
    """Wait for all, or for the first failure; then stop the rest."""
    tasks = [asyncio.ensure_future(item) for item in pending]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        await stop(tasks)
        # Asked for their errors, or asyncio says that nobody did.
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _copy(value: Any) -> Any:
    """Copy the containers, so that the request's own data stays as it came."""
    if isinstance(value, (list, tuple)):  # The validator makes tuples of what is one.
        return [_copy(item) for item in value]
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return value


def _holder(result: Any, place: Place) -> Any:
    for key in place[:-1]:
        result = result[key]
    return result


def _file_places(spec: TypeSpec, value: Any) -> list[Place]:
    if spec.kind in ("path", "file") and value is not None:
        return [[]]
    if spec.kind == "union":
        # The first member that it fits; for a file, that is a URL.
        fitting = (item for item in spec.items if is_value_of(item, value, is_file=_is_url))
        return _file_places(next(fitting, TypeSpec("any")), value)
    inner: list[tuple[Any, TypeSpec]] = []
    if isinstance(value, list) and spec.kind in ("list", "set", "tuple"):
        inner = list(enumerate(spec.items if spec.kind == "tuple" else spec.items * len(value)))
    elif isinstance(value, dict) and spec.kind == "dict":
        inner = [(name, spec.items[0]) for name in value]
    elif isinstance(value, dict) and spec.kind == "object":
        inner = [(field.name, field.type) for field in spec.fields if field.name in value]
    return [[key, *place] for key, item in inner for place in _file_places(item, value[key])]


def _is_fetched(text: str) -> bool:
    return scheme_of(text) in SCHEMES


def _is_url(text: str) -> bool:
    return re.match(URL_PATTERN, text) is not None
