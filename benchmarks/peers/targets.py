"""What this server has to be beside its peers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`ours` over `peer` has to be `least` or more of good answers a second, or `most` or less of `figure`.

    Without a peer `figure` itself is meant. With `connections` 0 the figure is one of the run.
    """

    workload: str
    ours: str
    peer: str
    connections: int
    bound: float
    figure: str = "good_per_s"

    @property
    def is_least(self) -> bool:
        return self.figure == "good_per_s"


TARGETS = (
    Target("W1", "ours", "cog", 1, 3.0),
    Target("W1", "ours", "mosec", 1, 1.0),
    Target("W1", "ours", "cog-async", 16, 4.0),
    Target("W1", "ours", "mosec", 16, 1.2),
    Target("W1", "ours", "fastapi-async", 16, 1.3),
    Target("W1", "ours", "mosec", 16, 1.0, "p99_ms"),
    Target("W2", "ours", "cog", 1, 4.0),
    Target("W2", "ours", "cog", 16, 4.0),
    Target("W3", "ours", "cog", 1, 4.0),
    Target("W3", "ours", "cog", 8, 4.0),
    Target("W3", "ours", "fastapi-async", 1, 1.3),
    Target("W3", "ours", "fastapi-async", 8, 1.3),
    Target("W4", "ours", "cog", 1, 2.0),
    Target("W4", "ours", "cog", 8, 2.0),
    Target("W5", "ours-async", "cog-async", 32, 2.0),
    Target("W5", "ours-async", "fastapi-async", 32, 0.9),
    Target("W6", "ours-batched", "mosec", 32, 1.0),
    Target("W1", "ours", "cog", 0, 1.0, "start_s"),
    Target("W1", "ours", "", 0, 80.0, "pss_mb"),
)
