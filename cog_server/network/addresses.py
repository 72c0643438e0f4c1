"""`AddressPolicy`: the addresses that the server may connect to for a URL that a client named."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The registries of special-purpose addresses (IANA, RFC 6890), and what clouds answer on. A list of our own, not
# `ipaddress.is_private`: for that 100.64.0.1, 168.63.129.16, 64:ff9b::a9fe:a9fe, ::127.0.0.1 and 224.0.0.1 are not
# private, and its answers change with Python's version.
_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers; 100.100.100.200 is a cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host
        "169.254.0.0/16",  # link-local; 169.254.169.254 is most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols; 192.0.0.192 is a cloud's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Whatever is not global unicast is not public: loopback, link-local, fc00::/7, fec0::/10, multicast, ::a.b.c.d.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocols; 2001::/32 is Teredo, whose packets go to whom they name
        "2001:db8::/32",  # documentation
        "3fff::/20",
    )
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")

# What clouds call their metadata services. Elsewhere these names are unknown, or somebody's trap.
_METADATA_NAMES = frozenset(
    ("metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal")
)

_NAME = re.compile(r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_ALL = ("*", "true", "1", "yes", "on")
_NONE = ("", "false", "0", "no", "off")


@dataclass(frozen=True)
class AddressPolicy:
    """Public addresses, and those that the operator allows: all, by name, by name and port, or by network."""

    allows_all: bool = False
    names: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[_Network, ...] = ()

    @classmethod
    def read(cls, text: str) -> AddressPolicy:
        """Read `*` or a list with commas of `name`, `name:port`, `address`, `address/bits`. Raises ValueError."""
        if text.strip().lower() in _ALL:
            return cls(allows_all=True)
        names: set[tuple[str, int | None]] = set()
        networks: list[_Network] = []
        for item in [] if text.strip().lower() in _NONE else text.lower().split(","):
            entry = _read_entry(item.strip())
            if isinstance(entry, tuple):
                names.add(entry)
            else:
                networks.append(entry)
        return cls(names=frozenset(names), networks=tuple(networks))

    def with_host(self, url: str) -> AddressPolicy:
        """The same, and the host and port of a URL that the operator gave."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return replace(self, names=self.names | {((parts.hostname or "").rstrip("."), port)})

    def allows(self, host: str, port: int, address: IPAddress) -> bool:
        """Whether a connection may go to `address`, which is what `host` has been resolved to."""
        name = host.lower().strip("[]").rstrip(".")
        if self.allows_all or (name, None) in self.names or (name, port) in self.names or is_public(address):
            return True
        forms = (address, unwrap(address))
        return any(form.version == each.version and form in each for form in forms for each in self.networks)


def is_metadata_name(host: str) -> bool:
    """Whether a name is that of a cloud's metadata service."""
    return host.lower().rstrip(".") in _METADATA_NAMES


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the whole internet, also where it wraps another one."""
    address = unwrap(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return address in _UNICAST and not any(address in network for network in _NOT_PUBLIC_V6)


def unwrap(address: IPAddress) -> IPAddress:
    """The IPv4 address to which the packets for an IPv6 address go, if they do (mapped, NAT64, 6to4)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    number = int(address)
    if address in _MAPPED or address in _NAT64:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if address in _6TO4:
        return ipaddress.IPv4Address(number >> 80 & 0xFFFFFFFF)
    return address


def _read_entry(item: str) -> tuple[str, int | None] | _Network:
    try:
        return ipaddress.ip_network(item.strip("[]"), strict=False)
    except ValueError:
        pass
    match = _NAME.fullmatch(item)
    if match is None or int(match["port"] or 0) > 65535:
        raise ValueError(f"{item!r} is neither a host, host:port, address nor network (10.0.0.0/8)")
    return match["host"].strip("[]").rstrip("."), int(match["port"]) if match["port"] else None
