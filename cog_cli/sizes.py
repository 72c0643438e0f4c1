"""`show_size`: bytes as people read them."""

from __future__ import annotations


def show_size(size_bytes: int) -> str:
    """1 kB is 1000 bytes, as Docker counts."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
