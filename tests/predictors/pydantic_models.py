"""pydantic models as input and output (pydantic 2)."""

from enum import Enum
from typing import Annotated, ClassVar, Dict, List, Optional

from cog import BasePredictor, Path
from pydantic import BaseModel, ConfigDict, Field


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
        return Result(file=Path("x"), note=None)
