"""`see_from_container`: this machine, which a container reaches by another name than localhost."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from cog_cli.engines.base import RunOptions

NAME = "host.docker.internal"
# Docker Desktop knows the name by itself, Docker on Linux does not.
HOSTS = {NAME: "host-gateway"}
_ALLOWED = "COG_ALLOW_PRIVATE_URLS"


def see_from_container(options: RunOptions) -> tuple[str, ...]:
    """The variables for a server in a container: where output files go, and what of this machine it may reach.

    A server that only this machine reaches may send webhooks to it, and fetch files from it.
    """
    found = (f"COG_OUTPUT_PATH={_translated(options)}",) if options.upload_url is not None else ()
    given = dict(item.partition("=")[::2] for item in options.environment)
    if not _is_loopback(options.host) or given.get(_ALLOWED, "").strip().lower() in ("*", "true", "1", "yes", "on"):
        return found
    if _ALLOWED in given and given[_ALLOWED].strip().lower() in ("", "false", "0", "no", "off"):
        return found
    return (*found, f"{_ALLOWED}={','.join(filter(None, (given.get(_ALLOWED), NAME)))}")


def _translated(options: RunOptions) -> str:
    """The options' `upload_url`, with this machine called what the container calls it."""
    url = options.upload_url or ""
    host = urlsplit(url).hostname or ""
    if not _is_loopback(host):
        return url
    options.on_notice(
        f"{host} is this machine: the container is told {NAME}, which reaches what listens on every address, not on "
        "127.0.0.1 alone"
    )
    before, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, address = place.rpartition("@")
    port = address[len(f"[{host}]" if address.startswith("[") else host) :]
    return f"{before}://{user}{at}{NAME}{port}{slash}{path}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
