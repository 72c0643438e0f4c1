"""`Lookout`: has a synchronous `predict` looked past while it runs, for what cannot wait."""

from typing import Any, Callable, List, Tuple

from cog import wire
from cog.types import CancelationException
from cog.worker.channel import Channel


class Lookout:
    """All of it happens on the main thread, `on_signal` between two of the model's own steps."""

    def __init__(self, channel: Channel, on_health: Callable[[str], None]) -> None:
        self._channel = channel
        self._on_health = on_health
        # What the main thread is in, without what was canceled. It is read and changed there only, also by the
        # signal's handler: a cancel never strikes another prediction.
        self.running: Tuple[str, ...] = ()
        self._is_looking = False
        self._must_look_again = False

    def on_signal(self, number: int, frame: Any) -> None:
        """The handler of SIGUSR1, which the server sends behind what cannot wait."""
        if not self.running:
            return  # Whatever has come is read next.
        if self._channel.is_sending:
            self._channel.must_signal = True
        elif self._is_looking:
            self._must_look_again = True
        else:
            self.look()

    def look(self) -> None:
        """Take what has come while a prediction runs. Raises CancelationException if that is canceled."""
        canceled: List[str] = []
        self._is_looking = True
        try:
            self._must_look_again = True
            while self._must_look_again:
                self._must_look_again = False
                for message in self._channel.arrived():
                    if message.kind == wire.HEALTH:
                        self._on_health(message.head["id"])
                    elif message.kind != wire.CANCEL:
                        self._channel.put_back(message)
                    elif message.head["id"] in self.running:
                        canceled.append(message.head["id"])
        finally:
            self._is_looking = False
        if canceled:
            self.running = ()
            raise CancelationException("the prediction was canceled")
