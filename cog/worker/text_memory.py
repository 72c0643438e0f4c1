"""The memory in which a worker's text lies until it is sent: what is in it when the worker dies is not lost.

It begins with three numbers: where ends what was sent before, the last batch of texts that was taken to be sent, and
where that ends. So no text is told twice if the worker dies between having sent a batch and having cleared it. Then
come records: a byte that is in no text, a prediction's id, another such byte, and what that prediction printed. Behind
them it is filled with a third one: a record counts as soon as it is written, and needs no length beside it.
"""

import struct
from typing import Dict

SIZE_BYTES = 1 << 16
FILL = b"\xff"
_BEGIN = b"\xfe"
_END_OF_ID = b"\xfd"
_BATCH = struct.Struct("<QQQ")

START = _BATCH.size


def batch_head(sent_end: int, batch: int, end: int) -> bytes:
    """The beginning of the memory, `START` bytes."""
    return _BATCH.pack(sent_end, batch, end)


EMPTY = batch_head(START, 0, START).ljust(SIZE_BYTES, FILL)


def record_head(prediction_id: str) -> bytes:
    """What comes before the text of a prediction, in UTF-8."""
    return _BEGIN + prediction_id.encode() + _END_OF_ID


def read_texts(memory: bytes, last_batch: int = 0) -> Dict[str, bytes]:
    """What lies in the memory, by prediction, without what came in `last_batch`, the last one that came, and before."""
    sent_end, batch, end = _BATCH.unpack_from(memory)
    start = max(START, end if batch <= last_batch else sent_end)
    written = memory[START:].partition(FILL)[0]
    old, new = written[: start - START], written[start - START :]
    # Whose text the new begins with may be said in the old.
    owner = old[old.rfind(_BEGIN) :].partition(_END_OF_ID)[0] + _END_OF_ID
    found: Dict[str, bytes] = {}
    for record in (owner + new).split(_BEGIN)[1:]:
        prediction_id, _, text = record.partition(_END_OF_ID)
        if text:
            found[prediction_id.decode()] = found.get(prediction_id.decode(), b"") + text
    return found
