"""Frames survive any size and any cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cog.worker import wire

_KINDS = st.sampled_from([wire.PREDICT, wire.LOG, wire.OUTPUT, wire.DONE])
_HEADS = st.dictionaries(st.text(max_size=10), st.none() | st.integers() | st.text(max_size=20), max_size=4)


@given(st.lists(st.tuples(_KINDS, _HEADS, st.binary(max_size=300)), max_size=8), st.integers(1, 50))
def test_messages_come_back_whatever_the_pieces(
    messages: list[tuple[bytes, dict[str, object], bytes]], cut: int
) -> None:
    stream = b"".join(wire.encode(kind, head, body) for kind, head, body in messages)
    reader = wire.FrameReader()

    received = [message for start in range(0, len(stream), cut) for message in reader.feed(stream[start : start + cut])]

    assert [tuple(message) for message in received] == messages
