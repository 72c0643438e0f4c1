"""`Metrics`: what is counted and timed of the predictions, for whoever scrapes /metrics."""

from __future__ import annotations

import time
from bisect import bisect_left
from itertools import accumulate

from cog_server.observe.exposition import Family, Sample, labeled, number, single
from cog_server.predictions.prediction import Prediction, Status

# From what a small model takes to what a training takes.
TIME_BOUNDS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
)
SIZE_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
MAX_NAMES = 100
MAX_NAME_CHARS = 128
# There from the start, at 0: a rate needs a value before the first rejection.
_REJECTIONS = (409, 413, 415, 422, 503, 507)


class Histogram:
    """How many observations were at most each of `bounds`, which rise, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Take one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def is_empty(self) -> bool:
        """Whether nothing was observed yet."""
        return not any(self._counts)

    def samples(self) -> tuple[Sample, ...]:
        """What there is to expose: each bucket holds those below it too."""
        *below, count = accumulate(self._counts)
        buckets = zip((*map(number, self._bounds), "+Inf"), (*below, count), strict=True)
        each = (Sample(total, (("le", bound),), "_bucket") for bound, total in buckets)
        return (*each, Sample(self._sum, suffix="_sum"), Sample(count, suffix="_count"))


# docs/decisions/029-metrics-made-when-asked.md
class Metrics:
    """All methods belong to the event loop: there is nothing to lock.

    Not prometheus-client: with its locks, a counter and two histograms take 1.8 microseconds of a prediction, here 0.3.
    """

    def __init__(self) -> None:
        self._ended = {status.value: 0 for status in Status if status.is_terminal}
        self._rejected = dict.fromkeys(_REJECTIONS, 0)
        self._queue_s = Histogram(TIME_BOUNDS_S)
        self._predict_s = Histogram(TIME_BOUNDS_S)
        self._batch_size = Histogram(SIZE_BOUNDS)
        self._recorded: dict[str, float] = {}
        self._poisoned = 0
        self._dropped_spans: int | None = None

    def count_start(self, prediction: Prediction) -> None:
        """The worker has it now: its time in the queue is over."""
        assert prediction.started_s is not None, prediction.status
        self._queue_s.observe(prediction.started_s - prediction.created_s)

    def count_end(self, prediction: Prediction, predict_time_s: float | None) -> None:
        """It has ended. Without `predict_time_s`, of a worker that was lost, it took until now."""
        self._ended[prediction.status.value] += 1
        if predict_time_s is not None:
            self._predict_s.observe(predict_time_s)
        elif prediction.started_s is not None:
            self._predict_s.observe(time.monotonic() - prediction.started_s)
        else:
            self._queue_s.observe(time.monotonic() - prediction.created_s)

    def count_rejection(self, status: int) -> None:
        """A request for predictions was refused with this status."""
        self._rejected[status] = self._rejected.get(status, 0) + 1

    def count_poisoned(self) -> None:
        """A prediction was failed without being run, since its input has crashed workers."""
        self._poisoned += 1

    def count_batch(self, size: int) -> None:
        """The model was given so many predictions at once."""
        self._batch_size.observe(size)

    def count_dropped_spans(self, count: int) -> None:
        """The collector of traces did not take so many spans. They are exposed from the first call, be it with 0."""
        self._dropped_spans = (self._dropped_spans or 0) + count

    def record(self, name: str, value: object) -> None:
        """Keep what a model measured last under this name: numbers only, `MAX_NAMES` names, the first ones."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        if name in self._recorded or (len(self._recorded) < MAX_NAMES and len(name) <= MAX_NAME_CHARS):
            self._recorded[name] = value

    def families(self) -> list[Family]:
        """What there is to expose."""
        rejected = {str(status): count for status, count in sorted(self._rejected.items())}
        return [
            Family(
                "cog_predictions_total",
                "counter",
                "Predictions that have ended, by how they did.",
                labeled("status", self._ended),
            ),
            Family(
                "cog_prediction_queue_seconds",
                "histogram",
                "From the admission of a prediction to its start, its input files included.",
                self._queue_s.samples(),
            ),
            Family(
                "cog_prediction_predict_seconds",
                "histogram",
                "What predict took.",
                self._predict_s.samples(),
            ),
            Family(
                "cog_batch_size",
                "histogram",
                "How many predictions the model was given at once.",
                () if self._batch_size.is_empty else self._batch_size.samples(),
            ),
            Family(
                "cog_poisoned_predictions_total",
                "counter",
                "Predictions that were failed without being run: their input has crashed workers.",
                single(self._poisoned),
            ),
            Family(
                "cog_rejected_requests_total",
                "counter",
                "Requests for predictions that were refused, by the status of the answer.",
                labeled("status", rejected),
            ),
            Family(
                "cog_model_metric",
                "gauge",
                "What the model recorded last with cog.record_metric, numbers only.",
                labeled("name", self._recorded),
            ),
            Family(
                "cog_trace_spans_dropped_total",
                "counter",
                "Spans that the collector of traces did not take.",
                () if self._dropped_spans is None else single(self._dropped_spans),
            ),
        ]
