"""Secrets at any depth: never shown, known to the model."""

from dataclasses import dataclass
from typing import Dict, List, Optional, Union

from cog import BasePredictor, Secret


@dataclass
class Account:
    name: str
    key: Secret


class Predictor(BasePredictor):
    def predict(
        self,
        tokens: List[Secret],
        account: Optional[Account] = None,
        by_name: Dict[str, Secret] = {},  # noqa: B006 - defaults are copied
        either: Union[int, Secret] = 0,
        default: Secret = Secret("secret-default"),
    ) -> List[str]:
        found = [*tokens, *by_name.values(), default]
        found += [account.key] if account else []
        found += [either] if either else []
        assert not any("secret" in f"{each} {each!r}" for each in found)
        return [each.get_secret_value()[::-1] for each in found]


CASES = [
    ({"tokens": ["secret-1", "secret-2"]}, ["1-terces", "2-terces", "tluafed-terces"]),
    (
        {
            "tokens": [],
            "account": {"name": "me", "key": "secret-3"},
            "by_name": {"a": "secret-4"},
            "either": "secret-5",
        },
        ["4-terces", "tluafed-terces", "3-terces", "5-terces"],
    ),
]
BAD_INPUTS = [({"tokens": [1]}, "tokens.0"), ({"tokens": [], "account": {"name": "me"}}, "account.key")]
