"""pydantic models as input and output (pydantic 1)."""

from enum import Enum
from typing import Any, Dict, List, Optional

from cog import BasePredictor, Path, Secret
from pydantic import BaseModel, Field, validator
from shapes.files import text_file


class Kind(str, Enum):
    A = "a"
    B = "b"


class Size(BaseModel):
    width: int = Field(..., ge=1)
    height: int = Field(512, le=4096)


class Job(Size):
    kind: Kind = Kind.A
    tags: List[str] = Field(default_factory=lambda: ["x"], min_items=1)
    sizes: Dict[str, Size] = {}
    note: Optional[str]
    file: Optional[Path] = Field(None, alias="document")
    token: Optional[Secret] = None

    @validator("note")
    def shout(cls, value: Optional[str]) -> Optional[str]:
        return value and value.upper()


class Result(BaseModel):
    class Config:
        extra = "allow"

    file: Path
    size: Size
    note: Optional[str]
    more: Any = None


class Predictor(BasePredictor):
    def predict(self, job: Job, sizes: List[Size] = []) -> Result:  # noqa: B006 - defaults are copied
        assert type(job) is Job and isinstance(job.kind, Kind) and all(type(each) is Size for each in sizes)
        read = job.file and job.file.read_text()
        token = job.token and job.token.get_secret_value()[::-1]
        text = f"{job.width} {job.height} {job.kind.name} {job.tags} {sorted(job.sizes)} {read} {token}"
        return Result(file=text_file(text), size=(sizes or [Size(width=9)])[0], note=job.note, more=job.sizes, extra=1)


NEEDS = ["pydantic<2"]
CASES = [
    (
        {"job": {"width": 1}},
        {
            "file": "data:text/plain;base64,MSA1MTIgQSBbJ3gnXSBbXSBOb25lIE5vbmU=",  # 1 512 A ['x'] [] None None
            "size": {"width": 9, "height": 512},
            "note": None,
            "more": {},
            "extra": 1,
        },
    ),
    (
        {
            "job": {
                "width": 1,
                "height": 2,
                "kind": "b",
                "tags": ["y"],
                "sizes": {"s": {"width": 3}},
                "note": "n",
                "file": "data:text/plain;base64,aGk=",
                "token": "secret-1",
            },
            "sizes": [{"width": 4, "height": 5}],
        },
        {
            "file": "data:text/plain;base64,MSAyIEIgWyd5J10gWydzJ10gaGkgMS10ZXJjZXM=",  # 1 2 B ['y'] ['s'] hi 1-terces
            "size": {"width": 4, "height": 5},
            "note": "N",
            "more": {"s": {"width": 3, "height": 512}},
            "extra": 1,
        },
    ),
]
BAD_INPUTS = [
    ({"job": {}}, "job.width"),
    ({"job": {"width": 0}}, "job.width"),
    ({"job": {"width": 1, "height": 4097}}, "job.height"),
    ({"job": {"width": 1, "kind": "c"}}, "job.kind"),
    ({"job": {"width": 1, "tags": []}}, "job.tags"),
    ({"job": {"width": 1}, "sizes": [{"height": 1}]}, "sizes.0.width"),
]
