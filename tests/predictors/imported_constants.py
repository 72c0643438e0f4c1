"""Constants from other files, through a package, a star import and an alias."""

import shapes.parts.constants
from cog import BasePredictor
from cog import Input as Field
from cog import Path as CogPath
from shapes import parts as pieces
from shapes.inputs import Inputs


class Predictor(BasePredictor):
    def predict(
        self,
        angle: int = Field(choices=pieces.EXTRA, default=shapes.parts.constants.ANGLES[0]),
        prompt: str = Inputs.prompt,
        image: CogPath = Field(default=None),
    ) -> CogPath:
        return image
