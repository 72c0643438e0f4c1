"""What is read from the memory that a worker shares, in whatever state it died."""

from __future__ import annotations

import pytest

from cog.text_memory import FILL, SIZE_BYTES, read_texts, record_head


def memory_of(*parts: bytes) -> bytes:
    return b"".join(parts).ljust(SIZE_BYTES, FILL)


def test_texts_are_read_by_prediction_in_their_order() -> None:
    memory = memory_of(record_head("a"), b"1\n", "é\x00\n".encode(), record_head("b"), b"2\n", record_head("a"), b"3")

    assert read_texts(memory) == {"a": "1\né\x00\n3".encode(), "b": b"2\n"}


@pytest.mark.parametrize(
    "memory", [b"", bytes(SIZE_BYTES), memory_of(), memory_of(record_head("a")), memory_of(record_head("a")[:-1])]
)
def test_memory_in_which_nothing_was_written_holds_nothing(memory: bytes) -> None:
    assert read_texts(memory) == {}


def test_memory_that_is_full_is_read_to_its_end() -> None:
    head = record_head("a")
    text = b"x" * (SIZE_BYTES - len(head))

    assert read_texts(head + text) == {"a": text}
