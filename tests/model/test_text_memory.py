"""What is read from the memory that a worker shares, in whatever state it died."""

from __future__ import annotations

import pytest

from cog.worker.text_memory import EMPTY, FILL, SIZE_BYTES, START, batch_head, read_texts, record_head


def memory_of(*parts: bytes, sent: int = 0, batch: int = 0, taken: int = 0) -> bytes:
    return b"".join((batch_head(START + sent, batch, START + taken), *parts)).ljust(SIZE_BYTES, FILL)


def test_texts_are_read_by_prediction_in_their_order() -> None:
    memory = memory_of(record_head("a"), b"1\n", "é\x00\n".encode(), record_head("b"), b"2\n", record_head("a"), b"3")

    assert read_texts(memory) == {"a": "1\né\x00\n3".encode(), "b": b"2\n"}


@pytest.mark.parametrize("memory", [EMPTY, bytes(SIZE_BYTES), memory_of(record_head("a")), memory_of(b"\xfea")])
def test_memory_in_which_nothing_was_written_holds_nothing(memory: bytes) -> None:
    assert read_texts(memory) == {}


def test_memory_that_is_full_is_read_to_its_end() -> None:
    head = record_head("a")
    text = b"x" * (SIZE_BYTES - START - len(head))

    assert read_texts(memory_of(head, text)) == {"a": text}


def test_what_came_and_was_not_cleared_is_not_read_again() -> None:
    head = record_head("a")
    memory = memory_of(head, b"1\n", b"2\n", record_head("b"), b"3\n", batch=7, taken=len(head) + 2)

    assert read_texts(memory, last_batch=6) == {"a": b"1\n2\n", "b": b"3\n"}
    assert read_texts(memory, last_batch=7) == {"a": b"2\n", "b": b"3\n"}


def test_what_is_said_to_have_come_may_not_be_written_yet() -> None:
    head = record_head("a")

    assert read_texts(memory_of(head, b"1", batch=1, taken=len(head) + 2), last_batch=1) == {}


def test_what_came_before_the_last_batch_is_never_read_again() -> None:
    head = record_head("a")
    memory = memory_of(head, b"1\n", b"2\n", b"3\n", sent=len(head) + 2, batch=7, taken=len(head) + 4)

    assert read_texts(memory, last_batch=6) == {"a": b"2\n3\n"}
    assert read_texts(memory, last_batch=7) == {"a": b"3\n"}
