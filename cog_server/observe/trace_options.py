"""`read_trace_options`: OpenTelemetry's own variables, as far as they mean something here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

SAMPLERS = ("always_on", "always_off", "traceidratio")
_PREFIX = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True)
class TraceOptions:
    """Where spans go, and which: with `follows_parent`, the caller's decision comes before the sampler's."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout_s: float = 10.0
    resource: tuple[tuple[str, str], ...] = (("service.name", "cog"),)
    sampler: str = "always_on"
    ratio: float = 1.0
    follows_parent: bool = True


def read_trace_options(environment: Mapping[str, str]) -> TraceOptions | None:
    """What the environment asks, None for no traces. Raises ValueError, which shows no header's value."""
    base, own = environment.get(f"{_PREFIX}ENDPOINT", ""), environment.get(f"{_PREFIX}TRACES_ENDPOINT", "")
    url = own or (base.rstrip("/") + "/v1/traces" if base else "")
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not url or is_disabled or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    _check_url(f"{_PREFIX}TRACES_ENDPOINT" if own else f"{_PREFIX}ENDPOINT", own or base)
    _check_protocol(environment.get(f"{_PREFIX}TRACES_PROTOCOL") or environment.get(f"{_PREFIX}PROTOCOL"))
    sampler = environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    kind = sampler.removeprefix("parentbased_")
    if kind not in SAMPLERS:
        raise ValueError(
            f"OTEL_TRACES_SAMPLER is {sampler!r}; it must be {', '.join(SAMPLERS)}, or parentbased_ and one"
        )
    headers = _pairs(environment, f"{_PREFIX}TRACES_HEADERS") or _pairs(environment, f"{_PREFIX}HEADERS")
    if not all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) and value.isprintable() for name, value in headers):
        raise ValueError(f"{_PREFIX}HEADERS has what no HTTP header can carry")
    resource = {"service.name": "cog", **dict(_pairs(environment, "OTEL_RESOURCE_ATTRIBUTES"))}
    resource["service.name"] = environment.get("OTEL_SERVICE_NAME") or resource["service.name"]
    timeout_name = f"{_PREFIX}TRACES_TIMEOUT" if environment.get(f"{_PREFIX}TRACES_TIMEOUT") else f"{_PREFIX}TIMEOUT"
    return TraceOptions(
        url,
        headers,
        _number(environment, timeout_name, 10_000, most=600_000) / 1000 or 10.0,
        tuple(resource.items()),
        kind,
        _number(environment, "OTEL_TRACES_SAMPLER_ARG", 1.0, most=1) if kind == "traceidratio" else 1.0,
        sampler != kind,
    )


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.username
    except ValueError:
        is_fine = False
    if not is_fine or not re.fullmatch("[!-~]+", url):
        raise ValueError(f"{name} must be http://host:port or https://host:port, such as http://collector:4318")


def _check_protocol(protocol: str | None) -> None:
    if protocol not in (None, "", "http/json", "http/protobuf"):
        raise ValueError(
            f"{_PREFIX}PROTOCOL is {protocol!r}; spans are sent as http/json, which a collector takes at its port 4318"
        )


def _pairs(environment: Mapping[str, str], name: str) -> tuple[tuple[str, str], ...]:
    """`key=value,key=value`, the values with percent signs."""
    found = []
    for item in filter(None, map(str.strip, environment.get(name, "").split(","))):
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{name} must be key=value pairs with commas between")
        found.append((key.strip(), unquote(value.strip())))
    return tuple(found)


def _number(environment: Mapping[str, str], name: str, default: float, *, most: float) -> float:
    text = environment.get(name)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", text) or float(text) > most:
        raise ValueError(f"{name} is {text!r}; it must be a number from 0 to {most:g}")
    return float(text)
