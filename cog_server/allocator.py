"""`keep_freed_memory`: what is freed stays with the process for the next request."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 64 * 1024 * 1024
_MAPPED_BYTES = 32 * 1024 * 1024  # the most that glibc takes


def keep_freed_memory() -> None:
    """Have glibc keep up to 64 MiB; nothing happens with another C library.

    It gives buffers of a megabyte back to the system as soon as they are freed. To get each page of the next one again
    is most of what an answer with a file in it takes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
