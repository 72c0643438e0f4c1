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
        image2: Path = Input(default="data:text/plain;base64,aG8="),
        token2: Secret = Input(default=None),
        at2: datetime.datetime = datetime.datetime(2024, 2, 29, 12, 30),
        day2: datetime.date = datetime.date(2024, 2, 29),
    ) -> str:
        assert type(count) is int and type(ratio) is float and type(ratio2) is float and type(flag) is bool
        assert isinstance(token, Secret) and isinstance(image, Path) and image.is_file()
        later = at + datetime.timedelta(hours=1) if at.tzinfo is None else at.astimezone(datetime.timezone.utc)
        days = (day - day2).days
        secret = token.get_secret_value()[::-1]
        return (
            f"{text} {count} {ratio} {flag} {image.read_text()} {secret} {later} {days} "
            f"{text2} {count2} {ratio2} {flag2} {token2 and token2.get_secret_value()[::-1]} {at2}"
        )


CASES = [
    (
        {
            "text": "a b",
            "count": 3,
            "ratio": 2,
            "flag": True,
            "image": "data:text/plain;base64,aGk=",
            "token": "secret-1",
            "at": "2024-02-29T12:30:00",
            "day": "2024-03-01",
        },
        "a b 3 2.0 True hi 1-terces 2024-02-29 13:30:00 1 a 3 1.0 False None 2024-02-29 12:30:00",
    ),
    (
        {
            "text": "",
            "count": -1,
            "ratio": 0.5,
            "flag": False,
            "image": "data:,",
            "token": "secret-1",
            "at": "2024-02-29T12:30:00.5Z",
            "day": "2023-12-31",
            "text2": "\u00fc\n",
            "count2": 9007199254740993,
            "ratio2": 1e-3,
            "flag2": True,
            "image2": "data:,",
            "token2": "secret-2",
            "at2": "2024-02-29T12:30:00+02:00",
            "day2": "2023-12-30",
        },
        " -1 0.5 False  1-terces 2024-02-29 12:30:00.500000+00:00 1 \u00fc\n 9007199254740993 0.001 True 2-terces"
        " 2024-02-29 12:30:00+02:00",
    ),
]
BAD_INPUTS = [
    ({"text": 1}, "text"),
    ({"text": "", "count": 1.5}, "count"),
    ({"text": "", "count": 1, "ratio": "1"}, "ratio"),
    ({"text": "", "count": 1, "ratio": 1, "flag": "true"}, "flag"),
    ({"text": "", "count": 1, "ratio": 1, "flag": True, "image": "cat.png"}, "image"),
    ({"text": "", "count": 1, "ratio": 1, "flag": True, "image": "data:,", "token": 1}, "token"),
    ({"text": "", "count": 1, "ratio": 1, "flag": True, "image": "data:,", "token": "secret-1", "at": "noon"}, "at"),
    (
        {
            "text": "",
            "count": 1,
            "ratio": 1,
            "flag": True,
            "image": "data:,",
            "token": "secret-1",
            "at": "2024-02-29",
            "day": "2024-02-30",
        },
        "day",
    ),
]
