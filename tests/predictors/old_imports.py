"""Names that older models import."""

import warnings

from cog import BasePredictor, ExperimentalFeatureWarning, File, Input
from cog.types import Path, Weights

warnings.filterwarnings("ignore", category=ExperimentalFeatureWarning)


class Predictor(BasePredictor):
    def setup(self, weights: Weights = None) -> None:
        self.weights = weights

    def predict(self, image: Path = Input(description="A picture"), document: File = Input(default=None)) -> File:
        return document
