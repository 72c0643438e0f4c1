"""`Workspace`: a folder for the files of each prediction, and none that outlives its prediction for long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"cog-server-(\d+)-.*")


class Workspace:
    """Folders below one of the server's own in the system's folder for temporary files."""

    def __init__(self) -> None:
        self._root: str | None = None
        self._given = 0

    def new_folder(self) -> str:
        """Give the path of a folder for a prediction; it is made by who puts the first file there. Raises OSError."""
        self._given += 1
        return f"{self._made_root()}/{self._given}"

    def cache_folder(self) -> str:
        """A folder for what outlives predictions. Raises OSError."""
        folder = os.path.join(self._made_root(), "cache")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return folder

    async def remove(self, folder: str) -> None:
        """Delete a prediction's folder and all that is in it."""
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass
        except OSError:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def close(self) -> None:
        """Delete what is left."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)

    def _made_root(self) -> str:
        if self._root is None:
            self._root = tempfile.mkdtemp(prefix=f"cog-server-{os.getpid()}-")
        return self._root

    def sweep(self) -> None:
        """Delete what killed servers left behind. To be called before the first folder is made."""
        for path in Path(tempfile.gettempdir()).glob("cog-server-*"):
            match = _NAME.fullmatch(path.name)
            # In a container the number of a killed server may be our own.
            if match is None or (int(match[1]) != os.getpid() and os.path.exists(f"/proc/{match[1]}")):
                continue
            with contextlib.suppress(OSError):
                if path.stat(follow_symlinks=False).st_uid == os.getuid():
                    shutil.rmtree(path, ignore_errors=True)
