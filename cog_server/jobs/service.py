"""`Service`: the predictions of the model on this machine, and their life from start to shutdown."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from cog.schema.spec import PredictorSpec
from cog_server.files.fetch import FileLimits
from cog_server.files.room import FileOptions, FileRoom
from cog_server.gpu import GpuCheck
from cog_server.jobs.archive import Archive
from cog_server.jobs.health import health_report, health_status
from cog_server.jobs.metric_families import of_gpus, of_runner, of_workers
from cog_server.jobs.port import PredictionService, Request
from cog_server.jobs.runner import JobRunner
from cog_server.observe.exposition import Family
from cog_server.observe.gpu_usage import GpuUsage
from cog_server.observe.logs import ModelLog
from cog_server.predictions.prediction import Prediction
from cog_server.predictions.store.base import Record, Store
from cog_server.ready_file import ReadyFile
from cog_server.settings import Settings
from cog_server.webhooks.sender import WebhookSender
from cog_server.worker.pool import WorkerPool
from cog_server.worker.supervisor import State

if TYPE_CHECKING:
    from cog_server.observe.traces.tracer import CallMiddleware, Tracer

# For webhooks of predictions that ended only when their time to drain was over.
_LAST_CALLS_S = 1.0
_LAST_SPANS_S = 5.0


class Service(PredictionService):
    """Keeps the port of fronts. It is opened once, and closed; before that, `refuse` and `drain` end it in peace.

    The store is open, and the pool may have been started. `shut_down` makes the process drain, and end with an exit
    code. Needs a running event loop.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        pool: WorkerPool,
        model_log: ModelLog,
        *,
        shut_down: Callable[[int], None],
    ) -> None:
        self.files = FileRoom(_file_options(settings))
        self._settings = settings
        self._pool = pool
        self._tracer = tracer = _tracer(settings, lambda count: self._runner.metrics.count_dropped_spans(count))
        self._shut_down = shut_down
        self._webhooks = WebhookSender(settings, store)
        self._archive = Archive(store)
        steps_of = tracer.steps_of if tracer else None
        self._runner = JobRunner(
            settings, pool, self.files, self._archive, self._webhooks, on_end=model_log.finish, steps_of=steps_of
        )
        self._gpu = GpuCheck(settings.gpu_needs) if settings.gpu_needs else None
        self._gpus = GpuUsage()
        self._ready_file = ReadyFile(settings.ready_file) if settings.ready_file else None
        if tracer is not None:
            model_log.trace_of = tracer.trace_of
            self._runner.metrics.count_dropped_spans(0)
        pool.listeners.append(self._on_state)

    @property
    def middleware(self) -> tuple[type[CallMiddleware], ...]:
        """ASGI middleware for whatever front asks for predictions, so that traces know the request at hand."""
        return () if self._tracer is None else (self._tracer.middleware,)

    # Its life.

    async def open(self) -> None:
        """Clear up after an earlier server, and start the model. Raises StoreError."""
        self.files.workspace.sweep()
        await self._archive.restore()
        await self._webhooks.open()
        if self._gpu is not None:
            self._gpu.start()
        await self._pool.start()
        # What became of it before anybody listened.
        self._on_state(self._pool.state)

    def refuse(self) -> None:
        """Take nothing new from now on."""
        self._runner.is_draining = True
        if self._ready_file is not None:
            self._ready_file.set(False)

    async def drain(self) -> bool:
        """Let what runs end, and tell of it; false if some did not end in time."""
        until = time.monotonic() + self._settings.drain_s
        await self._webhooks.secure()
        have_ended = await self._runner.drain(self._settings.drain_s)
        await self._webhooks.drain(until - time.monotonic())
        if self._tracer is not None:
            await self._tracer.exporter.flush(min(until - time.monotonic(), _LAST_SPANS_S))
        return have_ended

    def abandon(self) -> None:
        """For when there is no time to drain: the workers are killed, their files are deleted."""
        self._pool.kill("the server was told to end at once")
        self.files.workspace.close()

    async def close(self) -> None:
        """End everything that is left."""
        if self._gpu is not None:
            await self._gpu.stop()
        await self._gpus.stop()
        await self._runner.drain(0.0)
        await self._pool.stop(self._settings.cancel_grace_s)
        await self._webhooks.close(_LAST_CALLS_S)
        if self._tracer is not None:
            await self._tracer.exporter.close(_LAST_CALLS_S)
        await self.files.close()

    def _on_state(self, state: State) -> None:
        if self._ready_file is not None:
            self._ready_file.set(state is State.READY and not self._runner.is_draining)
        if self._settings.exit_on_defunct and state in (State.DEFUNCT, State.SETUP_FAILED):
            self._shut_down(1)

    # The port.

    @property
    def spec(self) -> PredictorSpec | None:
        return self._pool.spec

    @property
    def reason(self) -> str:
        return self._pool.reason or ("the server is shutting down" if self.is_draining else "")

    @property
    def is_ready(self) -> bool:
        return self._pool.state is State.READY and not self.is_draining

    @property
    def is_defunct(self) -> bool:
        return self._pool.state is State.DEFUNCT

    @property
    def is_draining(self) -> bool:
        return self._runner.is_draining

    def submit_now(self, given: dict[str, Any]) -> Prediction | None:
        return self._runner.submit_now(given)

    async def submit(self, request: Request, *, is_detached: bool = False) -> Prediction:
        return await self._runner.submit(request, is_detached=is_detached)

    def cancel(self, prediction_id: str) -> bool:
        return self._runner.cancel(prediction_id)

    def watching(self, prediction: Prediction, *, grace_s: float = 0.0) -> AbstractContextManager[None]:
        return self._runner.watching(prediction, grace_s=grace_s)

    def watch(self, prediction: Prediction) -> None:
        self._runner.watch(prediction)

    def unwatch(self, prediction: Prediction, *, grace_s: float = 0.0) -> None:
        self._runner.unwatch(prediction, grace_s=grace_s)

    def live(self, prediction_id: str) -> Prediction | None:
        return self._archive.live(prediction_id)

    async def find(self, prediction_id: str) -> bytes | None:
        return await self._archive.find(prediction_id)

    async def page(self, *, status: str | None, before: tuple[str, str] | None, limit: int) -> list[Record]:
        return await self._archive.page(status=status, before=before, limit=limit)

    async def delete(self, prediction_id: str) -> bool:
        return await self._archive.delete(prediction_id)

    async def health(self) -> dict[str, Any]:
        is_healthy, error = await self._pool.healthcheck()
        status = health_status(self._pool.state, is_busy=self._runner.is_busy) if is_healthy else "UNHEALTHY"
        report = health_report(self._pool, status, error)
        return report | {"gpu": self._gpu.to_json()} if self._gpu is not None else report

    def figures(self) -> list[Family]:
        runner = self._runner
        return [*runner.metrics.families(), *of_runner(runner), *of_workers(self._pool), *of_gpus(self._gpus.latest())]

    def count_rejection(self, status: int) -> None:
        self._runner.metrics.count_rejection(status)


def _tracer(settings: Settings, on_drop: Callable[[int], None]) -> Tracer | None:
    if settings.traces is None:
        return None
    # Imported here: without traces nothing of them costs anything.
    from cog_server.observe.traces.tracer import Tracer

    return Tracer(settings.traces, settings.allow_private_urls, on_drop)


def _file_options(settings: Settings) -> FileOptions:
    return FileOptions(
        limits=FileLimits(settings.max_file_bytes, settings.max_input_bytes, settings.file_timeout_s),
        read_s=settings.file_read_timeout_s,
        policy=settings.allow_private_urls,
        roots=settings.file_roots,
        cache_bytes=settings.input_cache_bytes,
        model_folder=settings.folder,
        output_roots=settings.output_roots,
        output_path=settings.output_path,
        max_inline_bytes=settings.max_output_bytes,
        with_info=settings.output_info,
        sign_s=settings.sign_outputs_s,
    )
