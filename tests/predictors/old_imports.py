"""Names that older models import."""

import warnings

from cog import BasePredictor, ExperimentalFeatureWarning, File, Input
from cog.types import Path, Weights
from shapes.files import text_file

warnings.filterwarnings("ignore", category=ExperimentalFeatureWarning)


class Predictor(BasePredictor):
    def setup(self, weights: Weights = None) -> None:
        self.weights = weights

    def predict(self, image: Path = Input(description="A picture"), document: File = Input(default=None)) -> File:
        assert self.weights is None
        return open(text_file(f"{image.read_text()} {document.read().decode() if document else None}"), "rb")


CASES = [
    (
        {"image": "data:text/plain;base64,aGk=", "document": "data:text/plain;base64,aG8="},
        "data:text/plain;base64,aGkgaG8=",  # hi ho
    ),
    ({"image": "data:text/plain;base64,aGk="}, "data:text/plain;base64,aGkgTm9uZQ=="),  # hi None
]
BAD_INPUTS = [({"image": "data:,", "document": "text"}, "document"), ({"image": None}, "image")]
