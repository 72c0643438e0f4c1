"""pydantic's Field in the signature, alone and inside Annotated (pydantic 2)."""

from typing import Annotated, List, Optional

from cog import BasePredictor
from pydantic import Field


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
        return prompt
