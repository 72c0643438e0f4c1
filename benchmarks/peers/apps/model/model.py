"""The models that every server serves: the same few lines, whatever stands in front of them."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

SLEEP_S = 0.010
SIDE = 1024
PICTURE = random.Random(4).randbytes(1 << 20)


def greet(s: str) -> str:
    return "hello " + s


async def greet_later(s: str) -> str:
    await asyncio.sleep(SLEEP_S)
    return greet(s)


def greet_after_sleep(s: str) -> str:
    time.sleep(SLEEP_S)
    return greet(s)


def measure(file: str | os.PathLike[str]) -> str:
    """Tell a file's size and the bytes at both of its ends."""
    content = Path(file).read_bytes()
    return f"{len(content)} {content[:4].hex()} {content[-4:].hex()}"


def draw(seed: int) -> Path:
    """Write a new file of 1 MiB, as an image model does."""
    descriptor, name = tempfile.mkstemp(suffix=".bin")
    with os.fdopen(descriptor, "wb") as file:
        file.write(PICTURE)
    return Path(name)


class Matrix:
    """(n,) float → (n,) float: each is a row of 1024 equal values, times a (1024, 1024) float32 matrix of means."""

    def __init__(self) -> None:
        import numpy

        self.numpy = numpy
        self.weights = numpy.full((SIDE, SIDE), 1 / SIDE, dtype=numpy.float32)

    def multiply(self, x: list[float]) -> list[float]:
        rows: numpy.ndarray = self.numpy.repeat(self.numpy.asarray(x, dtype=self.numpy.float32)[:, None], SIDE, axis=1)
        return (rows @ self.weights)[:, 0].tolist()


# A server that knows no files gives its model a path, as cog does, and sends the file that it returns.


def measure_url(url: str) -> str:
    """Decode a data: URL into a temporary file and measure it. Raises ValueError if it is none."""
    head, comma, body = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        raise ValueError("not a data: URL")
    with tempfile.NamedTemporaryFile() as file:
        file.write(b64decode(body))
        file.flush()
        return measure(file.name)


def draw_url(seed: int) -> str:
    """Draw, and give back the file as a data: URL."""
    path = draw(seed)
    content = path.read_bytes()
    path.unlink()
    return "data:application/octet-stream;base64," + b64encode(content).decode()
