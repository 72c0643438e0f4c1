"""`expose`: measurements as text that Prometheus reads, version 0.0.4 of its format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# The largest whole number up to which a double, which is what Prometheus reads, has them all.
_MAX_EXACT = 2**53


class Sample(NamedTuple):
    """One value; `suffix` follows the name of its family."""

    value: float
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """A metric with its samples. `kind` is counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def single(value: float) -> tuple[Sample, ...]:
    """The sample of a metric without labels."""
    return (Sample(value),)


def labeled(label: str, values: Mapping[str, float]) -> tuple[Sample, ...]:
    """A sample for each value of one label."""
    return tuple(Sample(value, ((label, name),)) for name, value in values.items())


def expose(families: Iterable[Family]) -> bytes:
    """The text; a family without samples is left out."""
    lines = [line for family in families if family.samples for line in _lines(family)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.help)}"
    yield f"# TYPE {family.name} {family.kind}"
    for value, labels, suffix in family.samples:
        inside = ",".join(f'{name}="{_quotable(text)}"' for name, text in labels)
        yield f"{family.name}{suffix}{f'{{{inside}}}' if inside else ''} {number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quotable(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def number(value: float) -> str:
    """A number as Prometheus reads it, however large: one that it cannot read spoils the whole page."""
    if isinstance(value, int) and abs(value) <= _MAX_EXACT:
        return str(int(value))
    try:
        text = repr(float(value))
    except OverflowError:
        text = "inf" if value > 0 else "-inf"
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text, text)
