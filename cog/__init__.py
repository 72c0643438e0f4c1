"""What a predictor imports. Standard library only: it lives beside the model's own packages, whatever they are."""

from cog.input import Input
from cog.model import BaseModel
from cog.predictor import BasePredictor, BaseRunner, Predictor, batch, concurrent, streaming
from cog.scope import current_scope, emit_metric, record_metric
from cog.types import (
    AsyncConcatenateIterator,
    CancelationException,
    ConcatenateIterator,
    ExperimentalFeatureWarning,
    File,
    Opaque,
    Path,
    Secret,
    URLFile,
    URLPath,
)
from cog.version import __version__


class TrainingOutput(BaseModel):
    """What `train()` gives back: the file with the trained weights."""

    weights: Path


__all__ = [
    "AsyncConcatenateIterator",
    "BaseModel",
    "BasePredictor",
    "BaseRunner",
    "CancelationException",
    "ConcatenateIterator",
    "ExperimentalFeatureWarning",
    "File",
    "Input",
    "Opaque",
    "Path",
    "Predictor",
    "Secret",
    "TrainingOutput",
    "URLFile",
    "URLPath",
    "__version__",
    "batch",
    "concurrent",
    "current_scope",
    "emit_metric",
    "record_metric",
    "streaming",
]
