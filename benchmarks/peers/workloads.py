"""The workloads: what is sent, what has to come back, and with how many connections."""

from __future__ import annotations

import base64
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass

MIB = 1 << 20
_FILE = random.Random(3).randbytes(MIB)


@dataclass(frozen=True)
class Workload:
    """`model` names what the apps call it; `wrong` is an input of the wrong type."""

    name: str
    what: str
    model: str
    connections: tuple[int, ...]
    given: Callable[[], dict[str, object]]
    wrong: dict[str, object]
    is_right: Callable[[object], bool]


def _text(size: int) -> Callable[[], dict[str, object]]:
    return lambda: {"s": "x" * size}


def _greets(size: int) -> Callable[[object], bool]:
    return lambda output: output == "hello " + "x" * size


@functools.cache
def _file_url() -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(_FILE).decode()


def _file() -> dict[str, object]:
    return {"file": _file_url()}


def _is_measured(output: object) -> bool:
    return output == f"{MIB} {_FILE[:4].hex()} {_FILE[-4:].hex()}"


def _is_drawn(output: object) -> bool:
    head, _, body = str(output).partition(",")
    return head.startswith("data:") and base64.b64decode(body) == random.Random(4).randbytes(MIB)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", "small JSON in and out", "Text", (1, 16), _text(5), {"s": 5}, _greets(5)),
        Workload("W2", "100 KiB text in and out", "Text", (1, 16), _text(100 << 10), {"s": 5}, _greets(100 << 10)),
        Workload(
            "W3",
            "1 MiB file in, as data: URL",
            "FileIn",
            (1, 8),
            _file,
            {"file": 5},
            _is_measured,
        ),
        Workload(
            "W4", "1 MiB file out, as data: URL", "FileOut", (1, 8), lambda: {"seed": 4}, {"seed": "four"}, _is_drawn
        ),
        Workload("W5", "async predict, sleeps 10 ms", "Sleep", (32,), _text(5), {"s": 5}, _greets(5)),
        Workload(
            "W6",
            "(1, 1024) x (1024, 1024) matmul, batched where the server can",
            "Matmul",
            (32,),
            lambda: {"x": 0.5},
            {"x": "half"},
            lambda output: output == 0.5,
        ),
    )
}
