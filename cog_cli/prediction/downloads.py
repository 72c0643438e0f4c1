"""`download`: an output that the server left behind a URL, as a file here."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from cog_cli.errors import CogError
from cog_cli.prediction.output_files import OutputFile
from cog_cli.prediction.transfer_progress import TransferProgress

_CONNECT_S = 10.0
_READ_S = 60.0
_TOTAL_S = 6 * 3600.0
_MAX_REDIRECTS = 5
_MAX_BYTES = 1024**4
_PIECE_BYTES = 256 * 1024


def download(url: str, path: Path, known: OutputFile, *, progress: str = "auto") -> None:
    """Copy `url` to `path`, whole or not at all; `progress` is the mode of the bar.

    Raises CogError if it cannot be had, or is not what is known of it.
    """
    # Into place when it is whole; what is no file, such as /dev/stdout, has no place beside it.
    part = path.with_name(f".{path.name}.part") if path.is_file() or not path.exists() else path
    try:
        with part.open("wb") as file:
            _fetch(url, file.write, path.name, known, progress)
        if part is not path:
            part.replace(path)
    except OSError as error:
        raise CogError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        if part is not path:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def _fetch(url: str, write: Callable[[bytes], object], name: str, known: OutputFile, progress: str) -> None:
    digest, size_bytes, until = hashlib.sha256(), 0, time.monotonic() + _TOTAL_S
    max_bytes = _MAX_BYTES if known.size_bytes is None else known.size_bytes
    try:
        with _open(url) as response:
            if response.status_code != 200:
                raise _failed(name, url, f"the answer was {response.status_code} {response.reason_phrase}")
            length = response.headers.get("content-length", "")
            total_bytes = int(length) if length.isdecimal() else known.size_bytes
            with TransferProgress(f"downloading {name}", total_bytes, mode=progress) as bar:
                for piece in response.iter_bytes(_PIECE_BYTES):
                    size_bytes += len(piece)
                    if size_bytes > max_bytes:
                        raise _failed(name, url, f"it is larger than {max_bytes} bytes")
                    if time.monotonic() > until:
                        raise _failed(name, url, f"it takes longer than {_TOTAL_S / 3600:.0f} hours")
                    digest.update(piece)
                    write(piece)
                    bar.advance(len(piece))
    except httpx.TimeoutException as error:
        raise _failed(name, url, "nothing came for too long") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise _failed(name, url, str(error) or type(error).__name__) from error
    known.check(name, size_bytes, digest.hexdigest())


@contextlib.contextmanager
def _open(url: str) -> Iterator[httpx.Response]:
    timeout = httpx.Timeout(_READ_S, connect=_CONNECT_S)
    with (
        httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=_MAX_REDIRECTS) as client,
        # Compressed, the size would be another than was said, and unpacking has no bound.
        client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
    ):
        yield response


def _failed(name: str, url: str, reason: str) -> CogError:
    return CogError(f"{name} cannot be downloaded: {reason}", hint=f"It is at {url}")
