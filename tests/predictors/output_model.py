"""An output object whose class is defined in the file, with Optional fields."""

from typing import Any, Dict, List, Optional

from cog import BaseModel, BasePredictor, Path


class Segment(BaseModel):
    start: float
    text: str
    words: Optional[List[str]] = None


class Output(BaseModel):
    language: Optional[str]
    segments: List[Segment]
    extra: Dict
    raw: Any
    file: Optional[Path]


class Predictor(BasePredictor):
    def predict(self, audio: Path) -> List[Output]:
        return []
