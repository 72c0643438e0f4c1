"""Annotations as text, also of classes that come later and inside other types."""

from typing import List, Optional

from cog import BaseModel, BasePredictor, Path
from shapes.files import text_file


class Predictor(BasePredictor):
    def predict(self, name: "str", images: "Optional[List[Path]]" = None, size: Optional["Size"] = None) -> "Output":
        assert size is None or (type(size) is Size and all(type(each) is Inner for each in size.inner or []))
        return Output(image=images and [text_file(f"{name} {image.read_text()}") for image in images])


class Size(BaseModel):
    width: "int"
    inner: "Optional[List[Inner]]" = None


class Inner(BaseModel):
    depth: int


class Output(BaseModel):
    image: "Optional[List[Path]]"


CASES = [
    ({"name": "n"}, {"image": None}),
    (
        {"name": "n", "images": ["data:text/plain;base64,aGk="], "size": {"width": 1, "inner": [{"depth": 2}]}},
        {"image": ["data:text/plain;base64,biBoaQ=="]},  # n hi
    ),
]
BAD_INPUTS = [({"name": "n", "size": {"width": 1, "inner": [{"depth": "2"}]}}, "size.inner.0.depth")]
