"""What pydantic models have beyond fields: aliases, extra values, computed fields, validators (pydantic 2)."""

from typing import List, Optional

from cog import BasePredictor, Path, Secret
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator


class Size(BaseModel):
    width: int = Field(alias="w", ge=1)
    names: List[str] = []
    file: Optional[Path] = None
    token: Optional[Secret] = None

    @field_validator("names")
    @classmethod
    def sort(cls, names: List[str]) -> List[str]:
        return sorted(names)


class Result(BaseModel):
    model_config = ConfigDict(extra="allow")
    names: List[str]

    @computed_field
    @property
    def count(self) -> int:
        return len(self.names)


class Predictor(BasePredictor):
    def predict(self, size: Size) -> Result:
        token = size.token and size.token.get_secret_value()[::-1]
        return Result(names=size.names, width=size.width, file=size.file, token=token)


NEEDS = ["pydantic>=2"]
CASES = [
    ({"size": {"width": 1}}, {"names": [], "count": 0, "width": 1, "file": None, "token": None}),
    (
        {
            "size": {
                "width": 2,
                "names": ["b", "a"],
                "file": "data:text/plain;base64,aGk=",
                "token": "secret-1",
            },
        },
        {"names": ["a", "b"], "count": 2, "width": 2, "file": "data:text/plain;base64,aGk=", "token": "1-terces"},
    ),
]
BAD_INPUTS = [({"size": {"width": 0}}, "size.width"), ({"size": {}}, "size.width"), ({"size": {"width": 1, "names": [1]}}, "size.names.0")]
