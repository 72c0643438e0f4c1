from dataclasses import dataclass

from cog import Input


@dataclass(frozen=True)
class Inputs:
    prompt_text = "What to draw"
    prompt = Input(description=prompt_text)
    guidance = Input(description="Up to 10", ge=0, le=10, default=3.5)

    @staticmethod
    def guidance_with(default: float, le: float):
        """Shared by several predictors."""
        return Input(description=f"Up to {le}", ge=0, le=le, default=default)

    @classmethod
    def seed(cls):
        return Input(description=cls.prompt.description, default=None)
