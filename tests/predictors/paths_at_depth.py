"""Files at any depth of the output."""

from typing import Dict, List, Optional

from cog import BasePredictor, Path
from shapes.files import text_file


class Predictor(BasePredictor):
    def predict(self, words: Dict[str, List[str]]) -> Dict[str, List[Optional[Path]]]:
        return {key: [text_file(word) if word else None for word in found] for key, found in words.items()}


CASES = [
    ({"words": {"a": ["hi", ""], "b": []}}, {"a": ["data:text/plain;base64,aGk=", None], "b": []}),
    ({"words": {}}, {}),
]
BAD_INPUTS = [({"words": {"a": "hi"}}, "words.a"), ({"words": {"a": ["hi", 1]}}, "words.a.1"), ({"words": []}, "words")]
