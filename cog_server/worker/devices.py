"""`devices_of`: which GPUs each of several workers gets, and `Place`: what a worker is told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cog_server.settings import MAX_WORKERS, Workers


@dataclass(frozen=True)
class Place:
    """One worker's place among `count`, and the GPUs that are its own; a worker that is alone is not told of any."""

    index: int = 0
    count: int = 1
    devices: tuple[str, ...] = ()

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1

    @property
    def variables(self) -> dict[str, str]:
        """What the environment of the worker says besides the server's."""
        variables = {"COG_WORKER_INDEX": str(self.index), "COG_WORKERS": str(self.count)}
        if self.devices and not self.is_alone:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices)
        return variables


def devices_of(workers: Workers, visible: Sequence[str]) -> list[tuple[str, ...]]:
    """The GPUs of each worker, in groups of neighbours; what is left over goes to the first ones.

    With more workers than GPUs, one each, dealt out in turn. `per_gpu` is as many workers as there are GPUs.
    """
    count = workers if isinstance(workers, int) else min(max(1, len(visible)), MAX_WORKERS)
    if not visible:
        return [()] * count
    if count > len(visible):
        return [(visible[index % len(visible)],) for index in range(count)]
    size, left_over = divmod(len(visible), count)
    starts = [index * size + min(index, left_over) for index in range(count + 1)]
    return [tuple(visible[start:end]) for start, end in pairwise(starts)]


def read_visible(value: str) -> tuple[str, ...]:
    """The devices that CUDA sees with this CUDA_VISIBLE_DEVICES: those before the first entry that names none.

    Source: docs.nvidia.com/cuda/cuda-c-programming-guide, CUDA environment variables.
    """
    devices = []
    for entry in value.split(","):
        if not re.fullmatch(r"[0-9]+|(?:GPU|MIG)-\S+", entry.strip()):
            break
        devices.append(entry.strip())
    return tuple(devices)
