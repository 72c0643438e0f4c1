"""`FileRoots`: what of this machine, and of the clouds that it has keys for, requests may name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BETWEEN = re.compile(r",|:(?!//)")
_CLOUD = re.compile(r"(s3|gs|gcs|az|abfss?)://[^/]+(/.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class FileRoots:
    """`folders` for `file:`, nothing by default. `clouds` are beginnings of URLs: everything, unless there are some."""

    folders: tuple[Path, ...] = ()
    clouds: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> FileRoots:
        """Read `/folder:/other,s3://bucket/prefix`. Raises ValueError."""
        folders: list[Path] = []
        clouds: list[str] = []
        for item in filter(None, (part.strip() for part in _BETWEEN.split(text))):
            if _CLOUD.fullmatch(item):
                clouds.append(item.rstrip("/") + "/")
            elif item.startswith("/"):
                folders.append(Path(item))
            else:
                raise ValueError(
                    f"{item!r} is neither an absolute folder nor s3://bucket, gs://bucket or az://container"
                )
        return cls(tuple(folders), tuple(clouds))

    def allow_cloud(self, url: str) -> bool:
        """Whether a request may name this URL of a cloud."""
        # A key is taken as it is written, and one with `..` is refused: a common beginning is enough.
        scheme, separator, rest = url.partition("://")
        plain = scheme.lower() + separator + rest
        return not self.clouds or any(plain.startswith(root) or plain + "/" == root for root in self.clouds)
