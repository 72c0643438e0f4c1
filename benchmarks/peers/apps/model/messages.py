"""What the models take and give, for the servers that are told it as pydantic models."""

from pydantic import BaseModel


class TextInput(BaseModel):
    s: str


class FileInput(BaseModel):
    file: str


class SeedInput(BaseModel):
    seed: int


class NumberInput(BaseModel):
    x: float


class Answer(BaseModel):
    output: str | float
