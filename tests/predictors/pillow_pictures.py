"""PIL pictures as output."""

from typing import List

from cog import BasePredictor, Path
from PIL import Image


class Predictor(BasePredictor):
    def predict(self, picture: Path, widths: List[int]) -> List[Image.Image]:
        with Image.open(picture) as image:
            assert image.size == (1, 1)
            return [image.resize((width, 1)) for width in widths]


NEEDS = ["pillow"]
# The beginning of a PNG has its size; the rest depends on the version of zlib.
CASES = [
    (
        {
            "picture": "data:image/gif;base64,R0lGODlhAQABAPAAAAAAAAAAACwAAAAAAQABAAACAkQBADs=",
            "widths": [1, 3],
        },
        [
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB...",
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAMAAAAB...",
        ],
    ),
]
BAD_INPUTS = [({"picture": "data:,", "widths": [1.5]}, "widths.0")]
