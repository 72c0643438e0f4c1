"""The memory in which a worker's text lies until it is sent: what is in it when the worker dies is not lost.

It holds records: a byte that is in no text, a prediction's id, another such byte, and what that prediction printed.
Behind them it is filled with a third one. So a record counts as soon as it is written, and needs no length beside it.
"""

from typing import Dict

SIZE_BYTES = 1 << 16
FILL = b"\xff"
_BEGIN = b"\xfe"
_END_OF_ID = b"\xfd"


def record_head(prediction_id: str) -> bytes:
    """What comes before the text of a prediction, in UTF-8."""
    return _BEGIN + prediction_id.encode() + _END_OF_ID


def read_texts(memory: bytes) -> Dict[str, bytes]:
    """What lies in the memory, by prediction; nothing of those that have no text there."""
    found: Dict[str, bytes] = {}
    for record in memory.partition(FILL)[0].split(_BEGIN)[1:]:
        prediction_id, _, text = record.partition(_END_OF_ID)
        if text:
            found[prediction_id.decode()] = found.get(prediction_id.decode(), b"") + text
    return found
