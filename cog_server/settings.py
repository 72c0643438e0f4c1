"""`Settings`: everything the environment says to the server, read once at start."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cog.webhooks import WebhookError, read_secret
from cog_server.files.destination import DestinationError, OutputPath, read_output_path
from cog_server.files.roots import FileRoots
from cog_server.network.addresses import AddressPolicy
from cog_server.observe.trace_options import TraceOptions, read_trace_options

_MAX_TOKEN_BYTES = 1 << 16
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")
_MAX_FILE_BYTES = 100 * 1024**4

# How many, or as many as there are GPUs.
Workers = int | Literal["per_gpu"]
MAX_WORKERS = 64


class SettingsError(Exception):
    """An environment variable or flag has a value that means nothing."""


@dataclass(frozen=True)
class GpuNeeds:
    """What the image asks of the machine: `cuda` x.y, the oldest `driver`, the kernels (`sm`) that `package` has."""

    cuda: str
    driver: str | None = None
    package: str | None = None
    sm: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> GpuNeeds:
        """Read the image's own description. Raises ValueError if it is none."""
        document = json.loads(text)
        if not isinstance(document, dict) or not isinstance(document.get("cuda"), str):
            raise ValueError(f"{text[:100]!r} is not an object with `cuda`")
        sm = document.get("sm") or ()
        driver, package = document.get("driver"), document.get("package")
        texts = (driver, package, *sm) if isinstance(sm, list | tuple) else (sm,)
        if not all(each is None or isinstance(each, str) for each in texts) or isinstance(sm, str):
            raise ValueError(f"{text[:100]!r} has a value that is not text")
        return cls(document["cuda"], driver, package, tuple(sm))


@dataclass(frozen=True)
class Settings:
    """Times in seconds, sizes in bytes. None switches a limit off."""

    target: str
    mode: str = "predict"
    host: str = "0.0.0.0"
    port: int = 5000
    python: str = sys.executable
    model_path: str | None = None
    folder: Path = field(default_factory=Path.cwd)
    workers: Workers = 1
    workers_quorum: int | None = None
    visible_devices: str | None = None
    max_concurrency: int | None = None
    max_queue: int = 1000
    unknown_inputs: str = "refuse"
    max_body_bytes: int = 100 * 1024 * 1024
    max_file_bytes: int = 1024 * 1024 * 1024
    max_input_bytes: int = 4 * 1024 * 1024 * 1024
    file_timeout_s: float | None = 600.0
    file_read_timeout_s: float | None = 10.0
    file_roots: FileRoots = field(default_factory=FileRoots)
    input_cache_bytes: int = 0
    output_path: OutputPath | None = field(default=None, repr=False)
    output_info: bool = False
    sign_outputs_s: int | None = None
    max_output_bytes: int = 512 * 1024 * 1024
    output_roots: tuple[Path, ...] = ()
    setup_timeout_s: float | None = None
    predict_timeout_s: float | None = None
    header_timeout_s: float | None = 10.0
    body_timeout_s: float | None = 60.0
    send_timeout_s: float | None = 60.0
    max_connections: int = 1000
    auth_tokens: tuple[bytes, ...] = field(default=(), repr=False)
    cors_origins: tuple[str, ...] = ()
    cancel_grace_s: float = 5.0
    drain_s: float = 30.0
    stream_grace_s: float = 10.0
    stream_history: int = 1024
    store: Path | None = None
    keep_predictions: int = 1000
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    webhook_token: str | None = field(default=None, repr=False)
    webhook_interval_s: float = 0.5
    webhook_timeout_s: float = 10.0
    webhook_spool: Path | None = None
    allow_private_urls: AddressPolicy = field(default_factory=AddressPolicy)
    restart_after_failures: int = 0
    max_restarts: int | None = None
    max_restart_delay_s: float = 30.0
    poison_limit: int = 3
    exit_on_defunct: bool = False
    ready_file: Path | None = None
    log_format: str = "json"
    log_level: str = "info"
    gpu_needs: GpuNeeds | None = None
    traces: TraceOptions | None = None


def read_settings(environment: Mapping[str, str], *, mode: str = "predict", **given: object) -> Settings:
    """Read the environment; `given` (from flags) wins where it is not None. Raises SettingsError.

    The names of variables that images of the existing Cog set are understood too.
    """
    reader = _Reader(environment)
    training = mode == "train"
    names = ("COG_TRAIN", "COG_TRAIN_TYPE_STUB") if training else ("COG_PREDICT", "COG_PREDICT_TYPE_STUB")
    target = reader.text(*names)
    if not target:
        raise SettingsError(f"nothing to serve: set {names[0]} to file.py:Name")
    values: dict[str, object] = {
        "target": target,
        "mode": mode,
        "port": reader.number("PORT", 5000, least=0, most=65535),
        "python": reader.text("COG_PYTHON") or sys.executable,
        "model_path": reader.text("COG_MODEL_PATH"),
        # A training has all GPUs.
        "workers": 1 if training else reader.workers("COG_WORKERS"),
        "workers_quorum": None if training else reader.quorum("COG_WORKERS_QUORUM", "COG_WORKERS"),
        "visible_devices": environment.get("CUDA_VISIBLE_DEVICES"),
        "max_concurrency": reader.number("COG_MAX_CONCURRENCY", None, least=1, most=10_000),
        "max_queue": reader.number("COG_MAX_QUEUE", 1000, least=0, most=1_000_000),
        "unknown_inputs": reader.choice("COG_UNKNOWN_INPUTS", ("refuse", "ignore"), "refuse"),
        "output_roots": tuple(map(Path, filter(None, (reader.text("COG_OUTPUT_ROOTS") or "").split(":")))),
        "max_output_bytes": reader.number("COG_MAX_OUTPUT_BYTES", Settings.max_output_bytes, least=1, most=4 * 1024**3),
        "max_file_bytes": reader.number("COG_MAX_FILE_BYTES", Settings.max_file_bytes, least=1, most=_MAX_FILE_BYTES),
        "max_input_bytes": reader.number(
            "COG_MAX_INPUT_BYTES", Settings.max_input_bytes, least=1, most=_MAX_FILE_BYTES
        ),
        "file_timeout_s": reader.seconds("COG_FILE_TIMEOUT", Settings.file_timeout_s),
        "file_read_timeout_s": reader.seconds("COG_FILE_READ_TIMEOUT", Settings.file_read_timeout_s),
        "file_roots": reader.file_roots("COG_FILE_ROOTS"),
        "input_cache_bytes": (reader.number("COG_INPUT_CACHE_MB", 0, least=0, most=10**9) or 0) * 1024**2,
        "output_path": reader.output_path("COG_OUTPUT_PATH", flag=given.pop("upload_url", None)),
        "output_info": reader.flag("COG_OUTPUT_INFO"),
        # What S3 signs for at most: a week.
        "sign_outputs_s": reader.number("COG_SIGN_OUTPUTS", None, least=1, most=7 * 24 * 3600),
        "setup_timeout_s": reader.seconds("COG_SETUP_TIMEOUT"),
        "predict_timeout_s": reader.seconds("COG_PREDICT_TIMEOUT"),
        "cancel_grace_s": reader.seconds("COG_CANCEL_GRACE", Settings.cancel_grace_s) or 0.0,
        "drain_s": reader.seconds("COG_DRAIN_TIMEOUT", Settings.drain_s) or 0.0,
        "stream_grace_s": reader.seconds("COG_STREAM_GRACE", Settings.stream_grace_s) or 0.0,
        "stream_history": reader.number(
            "COG_STREAM_HISTORY_CAPACITY", Settings.stream_history, least=0, most=1_000_000
        ),
        "store": reader.store("COG_STORE"),
        "keep_predictions": reader.number("COG_KEEP_PREDICTIONS", Settings.keep_predictions, least=1, most=10_000_000),
        "webhook_secrets": reader.webhook_secrets("COG_WEBHOOK_SECRET"),
        "webhook_token": reader.token("WEBHOOK_AUTH_TOKEN"),
        "webhook_interval_s": reader.seconds("COG_THROTTLE_RESPONSE_INTERVAL", Settings.webhook_interval_s) or 0.0,
        "webhook_timeout_s": reader.seconds("COG_WEBHOOK_TIMEOUT") or Settings.webhook_timeout_s,
        "webhook_spool": reader.path("COG_WEBHOOK_SPOOL"),
        "allow_private_urls": reader.address_policy("COG_ALLOW_PRIVATE_URLS"),
        "restart_after_failures": reader.number("COG_RESTART_AFTER_FAILURES", 0, least=0, most=1_000_000),
        "max_restarts": reader.number("COG_MAX_RESTARTS", None, least=0, most=1_000_000),
        "max_restart_delay_s": reader.seconds("COG_MAX_RESTART_DELAY", Settings.max_restart_delay_s) or 0.0,
        "poison_limit": reader.number("COG_POISON_LIMIT", Settings.poison_limit, least=0, most=1000),
        "ready_file": reader.ready_file(),
        "exit_on_defunct": reader.flag("COG_EXIT_ON_DEFUNCT"),
        "header_timeout_s": reader.seconds("COG_HEADER_TIMEOUT", Settings.header_timeout_s),
        "body_timeout_s": reader.seconds("COG_BODY_TIMEOUT", Settings.body_timeout_s),
        "send_timeout_s": reader.seconds("COG_SEND_TIMEOUT", Settings.send_timeout_s),
        "max_connections": reader.number("COG_MAX_CONNECTIONS", Settings.max_connections, least=1, most=1_000_000),
        "auth_tokens": reader.tokens("COG_AUTH_TOKEN"),
        "cors_origins": reader.origins("COG_CORS_ORIGINS"),
        "log_format": reader.choice("LOG_FORMAT", ("json", "console"), "json"),
        "gpu_needs": reader.gpu_needs("COG_GPU_NEEDS"),
        "traces": reader.traces(),
        "log_level": reader.choice("COG_LOG_LEVEL", ("debug", "info", "warning", "error"), "info"),
    }
    values.update({name: value for name, value in given.items() if value is not None})
    return Settings(**values)  # type: ignore[arg-type]  # each value was checked by its reader above


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment

    def text(self, *names: str) -> str | None:
        return next((self.environment[name] for name in names if self.environment.get(name)), None)

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = (self.text(name) or default).lower()
        if value not in allowed:
            raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
        return value

    def number(self, name: str, default: int | None, *, least: int, most: int) -> int | None:
        value = self.text(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
            raise SettingsError(f"{name} is {value!r}; it must be a whole number from {least} to {most}")
        return int(value)

    def workers(self, name: str) -> Workers:
        value = self.text(name) or "1"
        if value == "per_gpu":
            return "per_gpu"
        if not re.fullmatch(r"[0-9]{1,9}", value) or not 1 <= int(value) <= MAX_WORKERS:
            raise SettingsError(f"{name} is {value!r}; it must be a whole number from 1 to {MAX_WORKERS}, or per_gpu")
        return int(value)

    def quorum(self, name: str, of: str) -> int | None:
        quorum, workers = self.number(name, None, least=1, most=MAX_WORKERS), self.workers(of)
        if quorum is not None and isinstance(workers, int) and quorum > workers:
            raise SettingsError(f"{name} is {quorum}, but {of} is {workers}: so many will never be ready")
        return quorum

    def gpu_needs(self, name: str) -> GpuNeeds | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            return GpuNeeds.from_json(value)
        except ValueError as error:
            raise SettingsError(f"{name} is not what cog writes into an image: {error}") from error

    def traces(self) -> TraceOptions | None:
        try:
            return read_trace_options(self.environment)
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def flag(self, name: str) -> bool:
        return self.choice(name, (*_YES, *_NO), "0") in _YES

    def ready_file(self) -> Path | None:
        # The place that the existing Cog writes to, and the condition under which it does.
        default = "/var/run/cog/ready" if self.text("KUBERNETES_SERVICE_HOST") else None
        return self.path("COG_READY_FILE") or (Path(default) if default else None)

    def store(self, name: str) -> Path | None:
        value = self.text(name)
        if value is None:
            return None
        path = value.removeprefix("sqlite:///")
        if path == value or not path:
            raise SettingsError(f"{name} is {value!r}; it must be sqlite:///file, or sqlite:////folder/file")
        return Path(path)

    def tokens(self, name: str) -> tuple[bytes, ...]:
        """The tokens in the variable and in the file that `name`_FILE names. No message shows one."""
        texts = {name: self.environment[name]} if name in self.environment else {}
        file = self.text(f"{name}_FILE")
        if file is not None:
            try:
                with open(file, "rb") as stream:
                    texts[f"{name}_FILE"] = stream.read(_MAX_TOKEN_BYTES).decode("latin-1")
            except OSError as error:
                raise SettingsError(f"{name}_FILE: {file} cannot be read: {error.strerror}") from error
        found = []
        for place, text in texts.items():
            tokens = [token for token in re.split(r"\s*[,\n]\s*", text.strip()) if token]
            if not tokens:
                # An empty one is a secret that did not arrive, and no reason to let everybody in.
                raise SettingsError(f"{place} is set but holds no token; unset it to serve without one")
            if not all(re.fullmatch(r"[!-~]+", token) for token in tokens):
                raise SettingsError(f"{place}: a token has visible ASCII characters only; a comma or line ends it")
            found += [token.encode() for token in tokens]
        return tuple(found)

    def origins(self, name: str) -> tuple[str, ...]:
        found = tuple(origin.strip().lower() for origin in (self.text(name) or "").split(",") if origin.strip())
        for origin in found:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise SettingsError(f"{name} has {origin!r}; an origin is https://host, https://host:port or *")
        return found

    def path(self, name: str) -> Path | None:
        value = self.text(name)
        return None if value is None else Path(value)

    def token(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not re.fullmatch("[!-~]+", value):
            raise SettingsError(f"{name} has characters that no HTTP header can carry, such as a space or a line break")
        return value

    def webhook_secrets(self, name: str) -> tuple[str, ...]:
        text = self.environment.get(name)
        secrets = tuple(secret.strip() for secret in (text or "").split(",") if secret.strip())
        if text is not None and not secrets:
            raise SettingsError(f"{name} is set but holds no secret; unset it to send webhooks without a signature")
        try:
            for secret in secrets:
                read_secret(secret)
        except WebhookError as error:
            raise SettingsError(f"{name}: {error}") from error
        return secrets

    def address_policy(self, name: str) -> AddressPolicy:
        try:
            return AddressPolicy.read(self.environment.get(name, ""))
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from error

    def file_roots(self, name: str) -> FileRoots:
        try:
            return FileRoots.read(self.environment.get(name, ""))
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from error

    def output_path(self, name: str, *, flag: object) -> OutputPath | None:
        value = flag or self.text(name)
        if value is None:
            return None
        try:
            return read_output_path(value, is_trusted=True)
        except DestinationError as error:
            # The value may have a password in it.
            raise SettingsError(f"{'--upload-url' if flag else name}: {error}") from error

    def seconds(self, name: str, default: float | None = None) -> float | None:
        value = self.text(name)
        if value is None:
            return default
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 1e9:
            raise SettingsError(f"{name} is {value!r}; it must be a number of seconds")
        return seconds or None


def worker_environment(settings: Settings, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of the worker: the server's, less what only the server may know."""
    secrets = ("COG_AUTH_TOKEN", "COG_WEBHOOK_SECRET", "WEBHOOK_AUTH_TOKEN", "COG_AUTH_TOKEN_FILE", "COG_OUTPUT_PATH")
    result = {name: value for name, value in environment.items() if name not in secrets}
    result["PYTHONUNBUFFERED"] = "1"
    if settings.model_path:
        result["PYTHONPATH"] = os.pathsep.join(filter(None, (settings.model_path, environment.get("PYTHONPATH"))))
    return result
