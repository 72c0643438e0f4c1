from dataclasses import dataclass

from cog import Input


@dataclass(frozen=True)
class Inputs:
    prompt = Input(description="What to draw")

    @staticmethod
    def guidance_with(default: float, le: float):
        """Shared by several predictors."""
        return Input(description=f"Up to {le}", ge=0, le=le, default=default)

    @classmethod
    def seed(cls):
        return Input(description=cls.prompt.description, default=None)
