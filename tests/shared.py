"""What all test processes of this machine share: things made once for a run, and ports that no two of them take."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# Below the ports that Linux gives to connections (32768 and up): one of those may be taken between the look and the use.
_FIRST_PORT = 12_000
_BLOCKS = 100
_BLOCK_PORTS = 200


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that a file is, among processes too; it ends with the process that holds it."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(folder: Path, make: Callable[[], None]) -> Path:
    """`folder`, once `make` has filled it: in the first process that asks; the others wait for it.

    Where it fails, it fails for who asked, and the next tries again.
    """
    done = folder.with_name(f"{folder.name}.done")
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not done.exists():
            make()
            done.touch()
    return folder


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no other test process is given."""
    for _ in range(_BLOCK_PORTS):
        port = _first_port() + next(_used) % _BLOCK_PORTS
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers bind: a connection that ended a moment ago is nobody's.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"all {_BLOCK_PORTS} ports from {_first_port()} are in use")


_used = itertools.count()
_block: list[int] = []


def _first_port() -> int:
    """The first port of the block that is ours as long as this process lives."""
    if not _block:
        folder = Path(tempfile.gettempdir()) / f"cog-test-ports-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        for number in range(_BLOCKS):
            # Not handed to the processes that tests start: the lock ends with this one.
            descriptor = os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            _block.append(_FIRST_PORT + number * _BLOCK_PORTS)
            break
        else:
            raise AssertionError(f"{_BLOCKS} test processes run here already")
    return _block[0]
