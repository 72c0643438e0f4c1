"""pydantic's Field in the signature, alone and inside Annotated (pydantic 2)."""

from typing import List, Optional

from cog import BasePredictor
from pydantic import Field
from typing_extensions import Annotated


class Predictor(BasePredictor):
    def predict(
        self,
        prompt: str = Field(description="Say this", min_length=1, max_length=9, pattern="^[a-z]*$"),
        steps: int = Field(default=3, ge=1, lt=10, title="Steps"),
        scale: Annotated[float, Field(gt=0, multiple_of=0.5)] = 1.5,
        tags: List[str] = Field(default_factory=list, max_length=4),
        note: Optional[str] = Field(None, examples=["a", "b"], deprecated=True),
        size: Annotated[Optional[int], Field(ge=8, description="Pixels")] = None,
    ) -> str:
        return f"{prompt} {steps} {scale} {tags} {note} {size}"


NEEDS = ["pydantic>=2"]
CASES = [
    ({"prompt": "a"}, "a 3 1.5 [] None None"),
    ({"prompt": "a", "steps": 9, "scale": 2, "tags": ["t"], "note": "n", "size": 8}, "a 9 2.0 ['t'] n 8"),
]
BAD_INPUTS = [
    ({"prompt": ""}, "prompt"),
    ({"prompt": "A"}, "prompt"),
    ({"prompt": "a", "steps": 10}, "steps"),
    ({"prompt": "a", "scale": 0.7}, "scale"),
    ({"prompt": "a", "tags": ["a", "b", "c", "d", "e"]}, "tags"),
    ({"prompt": "a", "size": 7}, "size"),
]
