"""Annotations as text, also of classes that come later and inside other types."""

from typing import List, Optional

from cog import BaseModel, BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, name: "str", images: "Optional[List[Path]]" = None, size: Optional["Size"] = None) -> "Output":
        return Output(image=images)


class Size(BaseModel):
    width: "int"
    inner: "Optional[List[Inner]]" = None


class Inner(BaseModel):
    depth: int


class Output(BaseModel):
    image: "Optional[List[Path]]"
