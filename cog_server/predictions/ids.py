"""`new_id`: the ids of predictions."""

from __future__ import annotations

import secrets

# Ids are base32 without look-alikes, as existing clients expect them: 26 characters, 130 bits. By table: a random byte
# has each of the 32 equally often, and one call for all of them takes a microsecond instead of thirty.
_ALPHABET = bytes(b"abcdefghjkmnpqrstvwxyz0123456789"[number % 32] for number in range(256))
_ID_CHARS = 26
# What the system's source of randomness gives at once: to ask it takes as long for many bytes as for few.
_random = bytearray()


def new_id() -> str:
    """A new id of a prediction."""
    if len(_random) < _ID_CHARS:
        _random.extend(secrets.token_bytes(256 * _ID_CHARS))
    taken = _random[-_ID_CHARS:]
    del _random[-_ID_CHARS:]
    return taken.translate(_ALPHABET).decode()
