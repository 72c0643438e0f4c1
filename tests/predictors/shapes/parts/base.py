from typing import List

from cog import BasePredictor, Input, Path

from ..files import text_file
from ..inputs import Inputs


class Base(BasePredictor):
    def predict(
        self,
        prompt: str = Inputs.prompt,
        guidance: float = Inputs.guidance,
        seed: int = Input(description=Inputs.prompt_text, default=None),
    ) -> List[Path]:
        return [text_file(f"{prompt} {guidance} {seed}")]
