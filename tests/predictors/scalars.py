"""Every scalar type, required and with a default."""

import datetime

from cog import BasePredictor, Input, Path, Secret


class Predictor(BasePredictor):
    def predict(
        self,
        text: str,
        count: int,
        ratio: float,
        flag: bool,
        image: Path,
        token: Secret,
        at: datetime.datetime,
        day: datetime.date,
        text2: str = "a",
        count2: int = 3,
        ratio2: float = 1,
        flag2: bool = False,
        image2: Path = Input(default="https://example.com/cat.png"),
        token2: Secret = Input(default=None),
        at2: datetime.datetime = datetime.datetime(2024, 2, 29, 12, 30),
        day2: datetime.date = datetime.date(2024, 2, 29),
    ) -> str:
        return f"{text} {count} {ratio} {flag} {text2} {count2} {ratio2} {flag2} {at} {day} {at2} {day2}"
