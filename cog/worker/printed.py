"""`Printed`: what predictions printed and the server has not been sent yet."""

import mmap
import os
import queue
import threading
import time
from typing import Callable, Dict, List, Optional, Tuple

from cog.scope import Scope
from cog.worker.text_memory import EMPTY, FILL, SIZE_BYTES, START, batch_head, record_head

# How long text may lie here while nothing else is sent.
_DELAY_S = 0.005
# Nobody's scope: no text of it can come.
_NOBODY = Scope("", {}, lambda name, value: None)


# docs/decisions/008-printed-text-in-shared-memory.md
class Printed:
    """Text goes together, with the worker's next message, once the memory is full, or after 5 ms: a message for each
    line would cost ten times as much as the line.

    It lies in a list, to be sent, and in memory shared with the server, which reads there what is left when this
    process dies. A line is added to the one and copied to the other without a lock, which would double what it costs.
    All else needs the channel's lock.

    The thread that sends after 5 ms needs the interpreter: text waits for C code that holds it longer.
    """

    def __init__(self, memory_fd: int, send: Callable[[], None]) -> None:
        """Without a descriptor of it, the memory is nobody else's. `send` takes and sends all that is here."""
        self._open(memory_fd)
        if memory_fd >= 0:
            os.close(memory_fd)
        self._texts: List[bytes] = []
        # First this; what is added is copied next, or skipped if that raises ValueError because it does not fit.
        self.add = self._texts.append
        self._others: Dict[str, List[bytes]] = {}
        self.batch = 0
        self.is_due = False
        self._wake: "queue.SimpleQueue[None]" = queue.SimpleQueue()
        self._has_thread = False
        self.send = send

    def _open(self, memory_fd: int) -> None:
        self._memory = mmap.mmap(memory_fd, SIZE_BYTES)
        self._memory[:] = EMPTY
        self._memory.seek(START)
        self.copy = self._memory.write
        # Whose the texts of the list are: a line of this scope may be added and copied as it is.
        self.scope = _NOBODY
        self._owner: Optional[str] = None
        self._head = b""
        # Where in the memory ends what was taken from the list, and what was sent before that. Both may lie beyond what
        # is written there: a thread may be between adding and copying.
        self._taken_end = self._sent_end = START
        self._skipped_bytes = 0

    def make_due(self) -> None:
        """Have it sent in 5 ms."""
        self.is_due = True
        if not self._has_thread:
            self._has_thread = True
            threading.Thread(target=self._send_late, name="cog-printed", daemon=True).start()
        self._wake.put(None)

    def _send_late(self) -> None:
        while True:
            self._wake.get()
            time.sleep(_DELAY_S)
            self.is_due = False
            self.send()

    def turn_to(self, prediction_id: str, scope: Optional[Scope]) -> None:
        """What is added from now on is this prediction's; with a scope, as long as that is the current one."""
        if prediction_id != self._owner:
            self.scope = _NOBODY
            self._put_aside()
            self._owner, self._head = prediction_id, record_head(prediction_id)
            try:
                self.copy(self._head)
                self._taken_end += len(self._head)
            except ValueError:
                self.send()
        if scope is not None:
            self.scope = scope

    def skip(self, text: bytes) -> None:
        """This text was added and will not be copied."""
        if any(each is text for each in reversed(self._texts)):
            self._skipped_bytes += len(text)
        else:
            self._taken_end -= len(text)
            self._sent_end = min(self._sent_end, self._taken_end)
            self._note_batch()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take or to clear."""
        return self._memory.tell() == START + len(self._head) and not self._texts

    def take(self) -> List[Tuple[str, bytes]]:
        """The texts of the next `batch`, each with its prediction, to be sent; they lie in the memory until `clear`."""
        # Whoever was between adding and copying at the last time has copied by now, or never will.
        self._taken_end = min(self._taken_end, self._memory.tell())
        self._sent_end = min(self._sent_end, self._taken_end)
        self._put_aside()
        texts, self._others = self._others, {}
        if texts:
            self.batch += 1
            self._note_batch()
        return [(prediction_id, b"".join(parts)) for prediction_id, parts in texts.items()]

    def _note_batch(self) -> None:
        self._memory[:START] = batch_head(self._sent_end, self.batch, self._taken_end)

    def clear(self) -> None:
        """What was taken is sent: leave in the memory what was printed since."""
        end = self._memory.tell()
        missing = max(self._taken_end - end, 0)
        left = self._head + self._memory[self._taken_end : end]
        self._taken_end = self._sent_end = START + len(self._head) + missing
        memory = batch_head(self._sent_end, self.batch, self._taken_end) + left
        self._memory.seek(START)
        self._memory[: max(end, len(memory))] = memory.ljust(end, FILL)
        self._memory.seek(len(memory))

    def leave(self) -> None:
        """Called in a forked child: what is here is its parent's, and the memory too."""
        self._open(-1)
        self._texts.clear()
        self._others.clear()

    def _put_aside(self) -> None:
        count = len(self._texts)
        text = b"".join(self._texts[:count])
        del self._texts[:count]
        if text and self._owner is not None:
            self._others.setdefault(self._owner, []).append(text)
            self._taken_end += len(text) - self._skipped_bytes
            self._skipped_bytes = 0
