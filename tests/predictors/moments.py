"""Dates and times, in and out, also inside of others."""

from datetime import date, datetime, timedelta
from typing import Dict, List, Optional, Union

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self, days: List[date], start: Optional[datetime] = None, by_name: Dict[str, datetime] = Input(default={})
    ) -> List[Union[datetime, date, Dict[str, datetime], None]]:
        later = [day + timedelta(days=1) for day in days]
        return [*later, start and start.replace(year=start.year + 1), {k: v + timedelta(1) for k, v in by_name.items()}]


CASES = [
    ({"days": ["2024-02-28", "2023-12-31"]}, ["2024-02-29", "2024-01-01", None, {}]),
    (
        {"days": [], "start": "2024-01-02T03:04:05+01:00", "by_name": {"a": "2024-01-02T03:04:05Z"}},
        ["2025-01-02T03:04:05+01:00", {"a": "2024-01-03T03:04:05+00:00"}],
    ),
]
BAD_INPUTS = [({"days": ["2024-02-30"]}, "days.0"), ({"days": [], "start": "then"}, "start"), ({"days": [], "by_name": {"a": 1}}, "by_name.a")]
