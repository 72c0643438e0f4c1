"""Constants from other files, through a package, a star import and an alias."""

import shapes.parts.constants
from cog import BasePredictor
from cog import Input as Field
from cog import Path as CogPath
from shapes import parts as pieces
from shapes.files import text_file
from shapes.inputs import Inputs


class Predictor(BasePredictor):
    def predict(
        self,
        angle: int = Field(choices=pieces.EXTRA, default=shapes.parts.constants.ANGLES[0]),
        prompt: str = Inputs.prompt,
        image: CogPath = Field(default=None),
    ) -> CogPath:
        return text_file(f"{angle} {prompt} {image and image.read_text()}")


CASES = [
    ({"prompt": "cat"}, "data:text/plain;base64,MCBjYXQgTm9uZQ=="),  # 0 cat None
    (
        {"angle": 270, "prompt": "cat", "image": "data:text/plain;base64,aGk="},
        "data:text/plain;base64,MjcwIGNhdCBoaQ==",  # 270 cat hi
    ),
]
BAD_INPUTS = [({"prompt": "cat", "angle": 45}, "angle"), ({"angle": 0}, "prompt")]
