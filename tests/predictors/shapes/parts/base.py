from typing import List

from cog import BasePredictor, Input, Path

from ..files import text_file
from ..inputs import Inputs


class Base(BasePredictor):
    def predict(
        self,
        prompt: str = Inputs.prompt,
        guidance: float = Inputs.guidance_with(default=3.5, le=10),
        seed: int = Inputs.seed(),
    ) -> List[Path]:
        return [text_file(f"{prompt} {guidance} {seed}")]
