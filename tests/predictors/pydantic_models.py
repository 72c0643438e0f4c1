"""pydantic models as input and output (pydantic 2)."""

from enum import Enum
from typing import ClassVar, Dict, List, Optional

from cog import BasePredictor, Path
from pydantic import BaseModel, ConfigDict, Field
from shapes.files import text_file
from typing_extensions import Annotated


class Kind(str, Enum):
    A = "a"
    B = "b"


class Size(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int = Field(ge=1)
    height: Annotated[int, Field(le=4096)] = 512
    unit: ClassVar[str] = "px"


class Job(Size):
    kind: Kind = Kind.A
    tags: List[str] = Field(default_factory=lambda: ["x"], min_length=1)
    sizes: Dict[str, Size] = {}
    note: Optional[str] = None


class Result(BaseModel):
    file: Path
    note: Optional[str]


class Predictor(BasePredictor):
    def predict(self, job: Job, size: Size = None, sizes: List[Size] = []) -> Result:  # noqa: B006 - defaults are copied
        assert type(job) is Job and isinstance(job.kind, Kind) and all(type(each) is Size for each in sizes)
        assert all(type(each) is Size for each in job.sizes.values())
        text = f"{job.width} {job.height} {job.kind.name} {job.tags} {sorted(job.sizes)} {size and size.height} {len(sizes)}"
        return Result(file=text_file(text), note=job.note)


NEEDS = ["pydantic>=2"]
CASES = [
    (
        {"job": {"width": 1}},
        {"file": "data:text/plain;base64,MSA1MTIgQSBbJ3gnXSBbXSBOb25lIDA=", "note": None},  # 1 512 A ['x'] [] None 0
    ),
    (
        {
            "job": {
                "width": 1,
                "height": 2,
                "kind": "b",
                "tags": ["y", "z"],
                "sizes": {"s": {"width": 3}},
                "note": "n",
            },
            "size": {"width": 4, "height": 5},
            "sizes": [{"width": 6}],
        },
        {"file": "data:text/plain;base64,MSAyIEIgWyd5JywgJ3onXSBbJ3MnXSA1IDE=", "note": "n"},  # 1 2 B ['y', 'z'] ['s'] 5 1
    ),
]
BAD_INPUTS = [
    ({"job": {}}, "job.width"),
    ({"job": {"width": 0}}, "job.width"),
    ({"job": {"width": 1, "height": 4097}}, "job.height"),
    ({"job": {"width": 1, "kind": "c"}}, "job.kind"),
    ({"job": {"width": 1, "tags": []}}, "job.tags"),
    ({"job": {"width": 1, "sizes": {"s": {"width": 0}}}}, "job.sizes.s.width"),
    ({"job": {"width": 1, "unit": "m"}}, "job.unit"),
]
