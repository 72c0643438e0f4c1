"""Input files: the URLs in an input, fetched into the prediction's folder and replaced by paths."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

from cog.json_values import is_value_of
from cog.spec import PredictorSpec, TypeSpec
from cog.validation import URL_PATTERN
from cog_server.files.fetch import FileFetcher

Place = list[Any]


async def localize(
    spec: PredictorSpec, given: dict[str, Any], *, fetcher: FileFetcher, folder: str
) -> tuple[dict[str, Any], list[Place]]:
    """Give `given` with every file's URL replaced by the path of its copy in `folder`, and the places of these files.

    A place is the keys and indexes that lead to it. Raises FetchError.
    """
    result = {name: _copy(value) for name, value in given.items()}
    places = [
        [item.name, *place]
        for item in spec.inputs
        if item.name in result
        for place in _file_places(item.type, result[item.name])
    ]
    for item in spec.inputs:
        # A default that is a URL is fetched like one that was sent; any other is a file of the model's own.
        if item.name not in result and item.default is not None:
            default = {item.name: item.default}
            found = [[item.name, *place] for place in _file_places(item.type, item.default)]
            fetched = [place for place in found if _is_fetched(_holder(default, place)[place[-1]])]
            if fetched:
                result.update(_copy(default))
                places += fetched
    urls = [_holder(result, place)[place[-1]] for place in places]
    paths = await _all([fetcher.fetch(url, folder=folder, name=at[0]) for url, at in zip(urls, places, strict=True)])
    for place, path in zip(places, paths, strict=True):
        _holder(result, place)[place[-1]] = path
    return result, places


def redact(spec: PredictorSpec, given: dict[str, Any]) -> dict[str, Any]:
    """Give `given` as it may be shown: secrets as stars."""
    return {item.name: _redacted(item.type, given[item.name]) for item in spec.inputs if item.name in given}


def _redacted(spec: TypeSpec, value: Any) -> Any:
    if spec.kind == "secret" and isinstance(value, str):
        return "**********"
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
        for task in tasks:
            task.cancel()
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
    return re.match("(https?|data):", text, re.IGNORECASE) is not None


def _is_url(text: str) -> bool:
    return re.match(URL_PATTERN, text) is not None
