"""Input files: the URLs in an input, fetched into the prediction's folder and replaced by paths."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from cog.spec import PredictorSpec, TypeSpec
from cog_server.files.fetch import FileFetcher


async def localize(spec: PredictorSpec, given: dict[str, Any], *, fetcher: FileFetcher, folder: str) -> dict[str, Any]:
    """Give `given` with every file's URL replaced by the path of its copy in `folder`. Raises FetchError."""
    pending: list[Coroutine[Any, Any, str]] = []
    places: list[tuple[Any, Any]] = []
    result = dict(given)
    for item in spec.inputs:
        if item.name in result:
            result[item.name] = _copy(item.type, result[item.name])
            for holder, key in _file_places(item.type, result, item.name):
                places.append((holder, key))
                pending.append(fetcher.fetch(holder[key], folder=folder, name=item.name))
    if pending:
        for (holder, key), path in zip(places, await _all(pending), strict=True):
            holder[key] = path
    return result


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


def _copy(spec: TypeSpec, value: Any) -> Any:
    """Copy the containers on the way to files, so that the request's own data stays as it came."""
    if isinstance(value, (list, tuple)):  # The validator makes tuples of what is one.
        return [_copy(spec, item) for item in value]
    if isinstance(value, dict):
        return {key: _copy(spec, item) for key, item in value.items()}
    return value


def _file_places(spec: TypeSpec, holder: Any, key: Any) -> list[tuple[Any, Any]]:
    value = holder[key]
    if value is None:
        return []
    if spec.kind in ("path", "file"):
        return [(holder, key)]
    if spec.kind in ("list", "set") and isinstance(value, list):
        return [place for index in range(len(value)) for place in _file_places(spec.items[0], value, index)]
    if spec.kind == "dict" and isinstance(value, dict):
        return [place for name in value for place in _file_places(spec.items[0], value, name)]
    if spec.kind == "object" and isinstance(value, dict):
        inner = {field.name: field.type for field in spec.fields}
        return [place for name in value if name in inner for place in _file_places(inner[name], value, name)]
    if spec.kind == "tuple" and isinstance(value, list):
        pairs = enumerate(spec.items[: len(value)])
        return [place for index, item in pairs for place in _file_places(item, value, index)]
    return []
