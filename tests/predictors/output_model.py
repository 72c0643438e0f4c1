"""An output object whose class is defined in the file, with Optional fields."""

from typing import Any, Dict, List, Optional

from cog import BaseModel, BasePredictor, Path
from shapes.files import text_file


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
        text = audio.read_text()
        segments = [Segment(start=0.5, text=text), Segment(start=1, text=text, words=text.split())]
        return [
            Output(language="en", segments=segments, extra={"a": [1]}, raw=(1, 2), file=text_file(text)),
            Output(segments=[], extra={}),
        ]


CASES = [
    (
        {"audio": "data:text/plain;base64,aGkgaG8="},
        [
            {
                "language": "en",
                "segments": [
                    {"start": 0.5, "text": "hi ho", "words": None},
                    {"start": 1, "text": "hi ho", "words": ["hi", "ho"]},
                ],
                "extra": {"a": [1]},
                "raw": [1, 2],
                "file": "data:text/plain;base64,aGkgaG8=",
            },
            {"language": None, "segments": [], "extra": {}, "raw": None, "file": None},
        ],
    ),
]
BAD_INPUTS = [({"audio": {}}, "audio")]
