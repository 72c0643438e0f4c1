"""`Lookout`: has a synchronous `predict` looked past while it runs, for what cannot wait."""

from typing import Any, Callable, List, Optional, Sequence, Tuple

from cog.types import CancelationException
from cog.worker import wire
from cog.worker.channel import Channel
from cog.worker.logs import must_not_break_off


class Lookout:
    """All of it happens on the main thread, `on_signal` between two of the model's own steps."""

    def __init__(self, channel: Channel, on_health: Callable[[str], None]) -> None:
        self._channel = channel
        self.on_health = on_health
        # Told of canceled predictions that do not break off what runs: others go on in it, or it has not begun.
        self.on_canceled: Callable[[List[str]], None] = lambda prediction_ids: None
        # What the main thread is in, without what was canceled. It is changed there only, also by the signal's
        # handler: a cancel never strikes another prediction.
        self.running: Tuple[str, ...] = ()
        # Whether the last of them was canceled.
        self.is_broken_off = False
        self._only: Optional[str] = None
        self._is_looking = False
        self._must_look_again = False

    @property
    def only_running(self) -> Optional[str]:
        """The prediction that runs, if it began by itself: what is left of a batch is not alone."""
        return self._only if self.running else None

    def begin(self, prediction_ids: Sequence[str]) -> None:
        """From now on these run."""
        self._only = prediction_ids[0] if len(prediction_ids) == 1 else None
        self.is_broken_off = False
        self.running = tuple(prediction_ids)

    def end(self) -> None:
        """Nothing runs any more."""
        self.running = ()

    def on_signal(self, number: int, frame: Any) -> None:
        """The handler of SIGUSR1, which the server sends behind what cannot wait."""
        if not self.running:
            return  # Whatever has come is read next.
        if self._channel.is_sending or must_not_break_off(frame):
            self._channel.signal_later()
        elif self._is_looking:
            self._must_look_again = True
        else:
            self.look()

    def look(self) -> None:
        """Take what has come while predictions run. Raises CancelationException if the last of them is canceled."""
        canceled: List[str] = []
        withdrawn: List[str] = []
        self._is_looking = True
        try:
            self._must_look_again = True
            while self._must_look_again:
                self._must_look_again = False
                for message in self._channel.arrived():
                    if message.kind == wire.HEALTH:
                        self.on_health(message.head["id"])
                    elif message.kind != wire.CANCEL:
                        self._channel.put_back(message)
                    elif message.head["id"] in self.running:
                        canceled.append(message.head["id"])
                    elif self._channel.withdraw(message.head["id"]):
                        withdrawn.append(message.head["id"])
        finally:
            self._is_looking = False
        self.running = tuple(each for each in self.running if each not in canceled)
        # The last ones have not ended before predict obeys: if it does not, the server must kill it.
        self.on_canceled(withdrawn + (canceled if self.running else []))
        if canceled and not self.running:
            self.is_broken_off = True
            raise CancelationException("the prediction was canceled")
