"""Every option of Input that limits or describes a value."""

from typing import List

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        steps: int = Input(description="How many", default=50, ge=1, le=500, examples=[20, 30]),
        scale: float = Input(default=7.5, gt=0, lt=20.5),
        size: int = Input(default=512, multiple_of=8),
        name: str = Input(title="Full name", min_length=1, max_length=40, regex="^[a-z]+$"),
        tags: List[str] = Input(default=["a"], min_items=1, max_items=3),
        sampler: str = Input(choices=["DDIM", "K_EULER"], default="DDIM"),
        batch: int = Input(choices=[1, 4, 8], default=4),
        strength: float = Input(choices=[0.5, 1], default=1),
        old: str = Input(default="", deprecated=True),
        image: Path = Input(accept="image/*"),
    ) -> str:
        return f"{steps} {scale} {size} {name} {tags} {sampler} {batch} {strength} {old} {image.read_text()}"


CASES = [
    ({"name": "ada", "image": "data:text/plain;base64,aGk="}, "50 7.5 512 ada ['a'] DDIM 4 1.0  hi"),
    (
        {
            "steps": 1,
            "scale": 20,
            "size": 0,
            "name": "a",
            "tags": ["b", "c", "d"],
            "sampler": "K_EULER",
            "batch": 8,
            "strength": 0.5,
            "old": "o",
            "image": "data:,hi",
        },
        "1 20.0 0 a ['b', 'c', 'd'] K_EULER 8 0.5 o hi",
    ),
]
BAD_INPUTS = [
    ({"steps": 0, "name": "a", "image": "data:,"}, "steps"),
    ({"steps": 501, "name": "a", "image": "data:,"}, "steps"),
    ({"scale": 0, "name": "a", "image": "data:,"}, "scale"),
    ({"scale": 20.5, "name": "a", "image": "data:,"}, "scale"),
    ({"size": 9, "name": "a", "image": "data:,"}, "size"),
    ({"name": "", "image": "data:,"}, "name"),
    ({"name": "A", "image": "data:,"}, "name"),
    ({"name": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "image": "data:,"}, "name"),
    ({"name": "a", "image": "data:,", "tags": []}, "tags"),
    ({"name": "a", "image": "data:,", "tags": ["a", "b", "c", "d"]}, "tags"),
    ({"name": "a", "image": "data:,", "batch": 2}, "batch"),
    ({"name": "a", "image": "data:,", "strength": 0.7}, "strength"),
    ({"name": "a", "image": "/etc/hostname"}, "image"),
]
