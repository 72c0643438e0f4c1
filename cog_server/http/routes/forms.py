"""`FormReader`: `multipart/form-data` (RFC 7578) as a request. Its files go to a folder while they come."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog.file_names import safe_name
from cog.schema.spec import PredictorSpec, TypeSpec
from cog.schema.strict_json import JSONError, loads
from cog_server.files.fetch import new_path
from cog_server.files.inputs import MAX_FILES, Upload
from cog_server.files.room import Arrival, FileRoom
from cog_server.http.routes.answers import JSON, problem
from cog_server.http.routes.text_inputs import input_of_words

FORM = "multipart/form-data"
# The part that holds the whole request as JSON, if there is one; files stand in it as upload:PART.
_REQUEST = "request"
_MAX_AT_ONCE = 64
_PIECE = 1 << 20


class FormRefused(Exception):
    """The form cannot be taken; carries the response."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


@dataclass
class Form:
    """A form that was read: `value` is the envelope. The files are deleted again, unless somebody keeps them."""

    value: dict[str, Any]
    arrival: Arrival
    is_kept: bool = False


@dataclass
class _Part:
    """One part: text, or a file that lies at `path`."""

    name: str
    filename: str | None
    media_type: str | None
    path: str = ""
    content: bytearray = field(default_factory=bytearray)
    size: int = 0

    @property
    def is_request(self) -> bool:
        return self.name == _REQUEST and self.media_type == JSON and self.filename is None


class FormReader:
    """Reads the forms of one server, a bounded number at a time. `max_text_bytes`: of all that is not a file."""

    def __init__(self, files: FileRoom, *, max_text_bytes: int) -> None:
        self._files = files
        self._max_text_bytes = max_text_bytes
        self._reading = 0

    @contextlib.asynccontextmanager
    async def read(self, request: HTTPRequest, spec: PredictorSpec) -> AsyncIterator[Form]:
        """Read the form. Raises FormRefused (413, 415, 422, 503, 507)."""
        if self._reading >= _MAX_AT_ONCE:
            raise FormRefused(problem(503, "too many uploads at once", retry_after_s=1))
        self._reading += 1
        folder = ""
        form: Form | None = None
        try:
            folder = self._files.workspace.new_folder()
            os.mkdir(folder, mode=0o700)
            parts = await self._parts(request, folder)
            form = Form(_envelope(parts, spec), Arrival(folder, _uploads(parts)))
            yield form
        except OSError as error:
            raise FormRefused(problem(507, f"the files cannot be stored: {error.strerror}")) from error
        finally:
            self._reading -= 1
            if folder and not (form is not None and form.is_kept):
                await self._files.workspace.remove(folder)

    async def _parts(self, request: HTTPRequest, folder: str) -> list[_Part]:
        _, options = parse_options_header(request.headers.get("content-type", ""))  # type: ignore[no-untyped-call]  # it has no types
        limits = self._files.options.limits
        parts: list[_Part] = []
        text_bytes = total = 0
        try:
            with PushMultipartParser(
                options.get("boundary", ""), max_segment_count=2 * MAX_FILES, strict=True
            ) as parser:
                async for chunk in request.stream():
                    for event in parser.parse(chunk) if chunk else ():
                        if isinstance(event, MultipartSegment):
                            parts.append(_begun(event, folder))
                        elif event is None:
                            await _flush(parts[-1])
                        else:
                            part = parts[-1]
                            part.content += event
                            part.size += len(event)
                            total += len(event)
                            text_bytes += 0 if part.path else len(event)
                            if part.size > limits.file_bytes or total > limits.total_bytes:
                                most = limits.file_bytes if part.size > limits.file_bytes else limits.total_bytes
                                raise FormRefused(problem(413, f"{part.name}: there are more than {most} bytes"))
                            if text_bytes > self._max_text_bytes:
                                raise FormRefused(problem(413, f"the text is larger than {self._max_text_bytes} bytes"))
                            if part.path and len(part.content) >= _PIECE:
                                await _flush(part)
        except MultipartError as error:
            raise FormRefused(_invalid(f"The body is not a valid form: {error}")) from error
        except ClientDisconnect as error:
            # Nobody reads this answer; it only ends the request in order.
            raise FormRefused(problem(400, "the client left before its request was whole")) from error
        if sum(bool(part.path) for part in parts) > MAX_FILES:
            raise FormRefused(problem(413, f"there are more than {MAX_FILES} files"))
        return parts


def _begun(segment: MultipartSegment, folder: str) -> _Part:
    if segment.name is None:
        raise FormRefused(_invalid("The body is not a valid form: a part has no name"))
    part = _Part(segment.name, segment.filename, segment.content_type)
    if part.filename is not None:
        part.path = new_path(folder, safe_name(part.filename or part.name, media_type=part.media_type))
        open(part.path, "wb").close()
    return part


async def _flush(part: _Part) -> None:
    """Append what has come to the part's file. A small file is written here: a thread would take longer."""
    if not part.path:
        return
    if part.size <= _PIECE:
        _append(part.path, part.content)
    else:
        await asyncio.to_thread(_append, part.path, part.content)
    part.content = bytearray()


def _append(path: str, content: bytearray) -> None:
    with open(path, "ab") as file:
        file.write(content)


def _uploads(parts: list[_Part]) -> dict[str, Upload]:
    return {url: Upload(part.path, part.size) for url, part in zip(_urls(parts), parts, strict=True) if part.path}


def _urls(parts: list[_Part]) -> list[str]:
    """How files are called in an input: by their part, and from the second of a name on by their number too."""
    seen: dict[str, int] = {}
    urls = []
    for part in parts:
        number = seen[part.name] = seen.get(part.name, 0) + 1
        urls.append(f"upload:{part.name}" if number == 1 else f"upload:{part.name}/{number}")
    return urls


def _envelope(parts: list[_Part], spec: PredictorSpec) -> dict[str, Any]:
    for part in parts:
        if part.is_request:
            try:
                value = loads(bytes(part.content))
            except JSONError as error:
                raise FormRefused(_invalid(f"The part `{_REQUEST}` {error}")) from error
            if not isinstance(value, dict):
                raise FormRefused(_invalid(f"The part `{_REQUEST}` should be an object"))
            return value
    return {"input": _input(parts, spec)}


def _input(parts: list[_Part], spec: PredictorSpec) -> dict[str, object]:
    types = {item.name: item.type for item in spec.inputs}
    words = []
    for url, part in zip(_urls(parts), parts, strict=True):
        kind = types.get(part.name, TypeSpec("any"))
        if part.path:
            if part.filename == "" and not part.size:
                continue  # A browser's form in which no file was chosen.
            if part.name in types and not _takes_files(kind):
                raise FormRefused(_invalid("This input takes no file", "input", part.name))
            words.append((part.name, url))
        else:
            try:
                text = part.content.decode()
            except UnicodeDecodeError as error:
                raise FormRefused(_invalid("The text is not valid UTF-8", "input", part.name)) from error
            if text or kind.kind in ("str", "secret", "any"):
                words.append((part.name, text))
    return input_of_words(spec, words)


def _takes_files(kind: TypeSpec) -> bool:
    return kind.kind in ("path", "file") or (
        kind.kind in ("list", "set", "tuple", "union") and any(map(_takes_files, kind.items))
    )


def _invalid(message: str, *place: str) -> Response:
    return problem(422, [{"loc": ["body", *place], "msg": message, "type": "form_invalid"}])
