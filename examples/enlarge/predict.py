import tempfile

import cog
from cog import Path
from PIL import Image
from pydantic import Field


class Predictor(cog.Predictor):
    def setup(self) -> None:
        """Prepare the model; here it is only a filter."""
        self.filter = Image.Resampling.LANCZOS

    def predict(
        self,
        input: Path = Field(..., title="Image to enlarge"),
        scale: float = Field(1.5, description="Factor to scale image by", gt=0, le=8),
    ) -> Path:
        """Enlarge a picture.  (height, width) → (height·scale, width·scale)."""
        with Image.open(input) as picture:
            size = (round(picture.width * scale), round(picture.height * scale))
            print(f"enlarging {picture.width} x {picture.height} to {size[0]} x {size[1]}")
            enlarged = picture.convert("RGB").resize(size, self.filter)
        path = Path(tempfile.mkdtemp()) / "enlarged.jpg"
        enlarged.save(path, quality=90)
        return path
