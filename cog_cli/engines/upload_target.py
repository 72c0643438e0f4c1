"""`see_from_container`: the place for output files that `--upload-url` names, as a container reaches it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cog_cli.engines.base import RunOptions

_THIS_MACHINE = "host.docker.internal"


@dataclass(frozen=True)
class UploadTarget:
    """What a container is told: variables, and hosts that its network does not know."""

    environment: tuple[str, ...] = ()
    extra_hosts: dict[str, str] = field(default_factory=dict)


def see_from_container(options: RunOptions) -> UploadTarget:
    """The options' `upload_url` for the server in a container, whose own localhost is not this machine's."""
    url = options.upload_url
    if url is None:
        return UploadTarget()
    host = urlsplit(url).hostname or ""
    if _is_loopback(host):
        options.on_notice(
            f"{host} is this machine: the container is told {_THIS_MACHINE}, which reaches what listens on every "
            "address, not on 127.0.0.1 alone"
        )
        before, _, rest = url.partition("://")
        place, slash, path = rest.partition("/")
        user, at, address = place.rpartition("@")
        port = address[len(f"[{host}]" if address.startswith("[") else host) :]
        url = f"{before}://{user}{at}{_THIS_MACHINE}{port}{slash}{path}"
        host = _THIS_MACHINE
    # Docker Desktop knows the name by itself, Docker on Linux does not.
    extra_hosts = {_THIS_MACHINE: "host-gateway"} if host == _THIS_MACHINE else {}
    return UploadTarget((f"COG_OUTPUT_PATH={url}",), extra_hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
