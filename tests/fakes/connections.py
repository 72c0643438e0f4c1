"""`Connections`: every connection that a server under test tries, and none of them leaves this machine."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NETWORK = Path(__file__).with_name("network")
_REPOSITORY = Path(__file__).parents[2]
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Attempt:
    """A connection that was tried, or the look-up of a name; `host` is an address, or that name."""

    event: str
    host: str
    port: int


class Connections:
    """What a server with this `environment` does on the network; `names` is the meaning of names, see sitecustomize."""

    def __init__(self, registry: Path, names: dict[str, Any] | None = None) -> None:
        self._registry = registry
        self._names = names or {}
        registry.touch()

    @property
    def environment(self) -> dict[str, str]:
        """What to start the server with."""
        return {
            "PYTHONPATH": os.pathsep.join((str(_NETWORK), str(_REPOSITORY))),
            "COG_TEST_CONNECTIONS": str(self._registry),
            "COG_TEST_NAMES": json.dumps(self._names),
            **dict.fromkeys(_PROXIES, ""),
        }

    def all(self) -> list[Attempt]:
        """Everything so far, in its order."""
        return [Attempt(**json.loads(line)) for line in self._registry.read_text().splitlines()]

    def tried(self, *but: str) -> list[Attempt]:
        """The connections so far, but for those to certain addresses."""
        return [each for each in self.all() if each.event == "connect" and each.host not in but]

    def outside(self) -> list[Attempt]:
        """The connections that would have left this machine."""
        return [each for each in self.tried() if not ipaddress.ip_address(each.host).is_loopback]

    def forget(self) -> None:
        """Begin anew."""
        self._registry.write_text("")
