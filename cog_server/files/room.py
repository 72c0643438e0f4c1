"""`FileRoom`: all that the server does about files, and `PredictionFiles`, what it does for one prediction."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cog_server.files.cache import InputCache
from cog_server.files.destination import Destination, DestinationError, OutputPath
from cog_server.files.fetch import FileFetcher, FileLimits
from cog_server.files.inputs import InputShape, Place, Upload, localize
from cog_server.files.outputs import OutputStore, StoredOutput
from cog_server.files.roots import FileRoots
from cog_server.files.schemes import SchemeOptions, Schemes
from cog_server.files.transfer import TransferError
from cog_server.files.workspace import Workspace
from cog_server.network.addresses import AddressPolicy


@dataclass(frozen=True)
class FileOptions:
    """Sizes in bytes, times in seconds. `output_path` is where outputs go that no request sends elsewhere."""

    limits: FileLimits
    read_s: float | None
    policy: AddressPolicy
    roots: FileRoots
    cache_bytes: int
    model_folder: Path
    output_roots: tuple[Path, ...]
    output_path: OutputPath | None
    max_inline_bytes: int
    with_info: bool
    sign_s: int | None


@dataclass(frozen=True)
class Arrival:
    """Files that came with a request, in a `folder` of their own, by the URLs that its input has for them."""

    folder: str = ""
    uploads: Mapping[str, Upload] = field(default_factory=dict)


NOTHING = Arrival()


class FileRoom:
    """Belongs to one server. Nothing is opened before it is needed."""

    def __init__(self, options: FileOptions) -> None:
        self.options = options
        self.workspace = Workspace()
        self._schemes = Schemes(
            SchemeOptions(os.environ, options.policy, options.roots, options.read_s, options.sign_s)
        )
        cache = InputCache(self.workspace.cache_folder, options.cache_bytes) if options.cache_bytes else None
        self._fetcher = FileFetcher(self._schemes, options.limits, cache)
        # Where models write: the prediction's folder and others for temporary files, and the model's own.
        roots = (Path(tempfile.gettempdir()), Path("/tmp"), options.model_folder, *options.output_roots)
        self._outputs = OutputStore(roots, max_inline_bytes=options.max_inline_bytes, with_info=options.with_info)

    def files_of(
        self, prediction_id: str, arrival: Arrival = NOTHING, output_path: OutputPath | None = None
    ) -> PredictionFiles:
        """The files of a prediction, from here on to `remove`."""
        path = output_path or self.options.output_path
        destination = self._destination(path, prediction_id) if path else None
        return PredictionFiles(self.workspace, self._fetcher, self._outputs, arrival, destination)

    def check(self, path: OutputPath) -> None:
        """Raise DestinationError if outputs cannot go there, as far as that can be said without asking anybody."""
        try:
            self._destination(path, "id").check()
        except TransferError as error:
            raise DestinationError(str(error)) from error

    async def close(self) -> None:
        """Give the connections back and delete what is left."""
        await self._fetcher.close()
        self.workspace.close()

    def _destination(self, path: OutputPath, prediction_id: str) -> Destination:
        return Destination(path, self._schemes, prediction_id, total_s=self.options.limits.total_s)


class PredictionFiles:
    """One prediction's files: in, out, and away."""

    __slots__ = ("_destination", "_fetcher", "_has_files", "_outputs", "_uploads", "_workspace", "folder")

    def __init__(
        self,
        workspace: Workspace,
        fetcher: FileFetcher,
        outputs: OutputStore,
        arrival: Arrival,
        destination: Destination | None,
    ) -> None:
        self.folder = arrival.folder
        self._has_files = bool(arrival.folder)
        self._workspace = workspace
        self._fetcher = fetcher
        self._outputs = outputs
        self._uploads = arrival.uploads
        self._destination = destination

    def open(self) -> None:
        """Have a name for the folder. Raises OSError where none can be."""
        if not self.folder:
            self.folder = self._workspace.new_folder()

    async def localize(self, shape: InputShape, given: dict[str, Any]) -> tuple[dict[str, Any], list[Place]]:
        """Fetch the files of an input: see `inputs.localize`. Raises FetchError, and OSError where no folder can be."""
        self.open()
        if not shape.with_files:
            return given, []
        self._has_files = True
        local, places = await localize(shape, given, fetcher=self._fetcher, folder=self.folder, uploads=self._uploads)
        self._has_files = bool(places or self._uploads)
        return local, places

    async def store(self, body: bytes, files: list[list[Any]]) -> StoredOutput:
        """Store the files of one output: see `OutputStore.store`. Raises OutputError."""
        self._has_files = True
        return await self._outputs.store(body, files, self._destination)

    def is_clean(self, *, is_sure: bool) -> bool:
        """Whether nothing is here. Unless it is sure that the worker told of all its files, there may be others."""
        return not self.folder or (is_sure and not self._has_files)

    async def remove(self, *, is_sure: bool) -> None:
        """Delete what is here."""
        if not self.is_clean(is_sure=is_sure):
            await self._workspace.remove(self.folder)
