"""Defaults and choices that come from constants of the module."""

from collections import OrderedDict

from cog import BasePredictor, Input

BASE = 64
SIZES = [BASE * factor for factor in range(1, 9)]
SAMPLERS = {"DDIM": 1, "K_EULER": 2, "PNDM": 3}
ORDERED = OrderedDict([("slow", 0.1), ("fast", 0.9)])
LANGUAGES = sorted({"nl", "en", "de"}) + ["auto"]
MODES = ("a", "b", *[mode.upper() for mode in ("c", "d")])
FIRST, SECOND = MODES[:2]
LIMIT = 2**10 - 1
MODES_TEXT = ", ".join(MODES)
NAMES = [f"{name}-model" for name in ("x", "y")]
NAMES = [*NAMES, "z" * 3]
NAMES = NAMES + [NAMES[-1][:2]]


class Predictor(BasePredictor):
    def predict(
        self,
        width: int = Input(choices=SIZES, default=SIZES[-1]),
        sampler: str = Input(choices=SAMPLERS.keys(), default=next_default if False else list(SAMPLERS)[0]),  # noqa: F821
        speed: str = Input(choices=list(ORDERED.keys()), default="fast"),
        factor: float = Input(default=ORDERED["slow"], choices=list(ORDERED.values())),
        language: str = Input(choices=LANGUAGES, default=LANGUAGES[-1]),
        mode: str = Input(choices=[FIRST, SECOND] + list(MODES[2:]), default=MODES[0], description=f"One of {MODES_TEXT}"),
        count: int = Input(default=max(SIZES) // 100, ge=-LIMIT, le=LIMIT if LIMIT > 3 else 0),
        model: str = Input(choices=NAMES, default="zz"),
        text: str = f"it has {len(SIZES)} sizes",
        other: str = "one and " + "two".upper(),
    ) -> str:
        return f"{width} {sampler} {speed} {factor} {language} {mode} {count} {model} {text} {other}"


CASES = [
    ({}, "512 DDIM fast 0.1 auto a 5 zz it has 8 sizes one and TWO"),
    (
        {"width": 64, "sampler": "PNDM", "speed": "slow", "factor": 0.9, "language": "de", "mode": "D", "model": "x-model"},
        "64 PNDM slow 0.9 de D 5 x-model it has 8 sizes one and TWO",
    ),
]
BAD_INPUTS = [
    ({"width": 65}, "width"),
    ({"width": 64.0}, "width"),
    ({"sampler": "ddim"}, "sampler"),
    ({"factor": 0.5}, "factor"),
    ({"count": 1024}, "count"),
]
