"""Goes before every other module of a server under test: no connection leaves this machine, and each is written down.

To be put on PYTHONPATH. Connections and look-ups go to the file $COG_TEST_CONNECTIONS, one JSON object a line (see
`tests.fakes.connections`). $COG_TEST_NAMES is what names mean: {"name": ["address", ...]}, or lists of such lists that
take turns, a look-up each. Other names are not known; numbers mean what they mean to libc.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import socket
import sys
from typing import Any

_REGISTRY = os.environ.get("COG_TEST_CONNECTIONS", "")
_LOCALHOST = {"localhost": ["127.0.0.1", "::1"]}
_ANSWERS = {
    name: itertools.cycle(answers if answers and isinstance(answers[0], list) else [answers])
    for name, answers in {**_LOCALHOST, **json.loads(os.environ.get("COG_TEST_NAMES", "{}"))}.items()
}
_ask_libc = socket.getaddrinfo


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host, port = arguments[1][:2]
    _write({"event": "connect", "host": host, "port": port})
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise ConnectionRefusedError(f"a test connects to {host}:{port}")


def _look_up(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
    _write({"event": "lookup", "host": str(host), "port": port})
    name = host.decode() if isinstance(host, bytes) else host
    if isinstance(name, str) and name.rstrip(".").lower() in _ANSWERS:
        found: list[Any] = []
        for address in next(_ANSWERS[name.rstrip(".").lower()]):
            found += _ask_libc(address, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        return found
    return list(_ask_libc(host, port, family, type, proto, flags | (socket.AI_NUMERICHOST if host else 0)))


def _write(line: dict[str, Any]) -> None:
    if _REGISTRY:
        handle = os.open(_REGISTRY, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, json.dumps(line).encode() + b"\n")
        os.close(handle)


sys.addaudithook(_watch)
socket.getaddrinfo = _look_up
