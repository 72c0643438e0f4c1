"""What `-i name=value` comes to."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from cog_cli.errors import CogError
from cog_cli.inputs import read_inputs
from cog_cli.source import read_source

SOURCE = """
from datetime import date
from typing import Any, Dict, List, Literal, Optional, Set, Tuple, Union
from cog import Input, Path, Secret

def predict(
    words: List[str] = Input(choices=["a", "b"], default=[]),
    sizes: Set[int] = Input(choices=[1, 2], default=[]),
    strength: float = Input(choices=[0.5, 1], default=1),
    flag: bool = Input(choices=[True], default=True),
    mixed: Literal["x", 1, True, "1"] = "x",
    either: Optional[Union[int, str]] = None,
    text: Union[str, Secret] = "",
    days: List[Union[date, bool]] = [],
    number: Optional[float] = None,
    pair: Tuple[int, str] = (1, "a"),
    table: Dict[str, List[int]] = {},
    free: Any = None,
) -> str:
    return ""
"""


@pytest.fixture
def read(tmp_path: Path) -> Any:
    (tmp_path / "predict.py").write_text(textwrap.dedent(SOURCE))
    spec = read_source("predict.py:predict", tmp_path)
    return lambda *pairs: read_inputs(pairs, None, spec)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["words=a", "words=b"], {"words": ["a", "b"]}),
        (['words=["a", "b"]'], {"words": ["a", "b"]}),
        (["words=[]"], {"words": []}),
        (["sizes=[1, 2]"], {"sizes": [1, 2]}),
        (["sizes=1", "sizes=2"], {"sizes": [1, 2]}),
        (["strength=1.0"], {"strength": 1}),
        (["strength=0.50"], {"strength": 0.5}),
        (["flag=true"], {"flag": True}),
        (["flag=yes"], {"flag": True}),
        (["mixed=1"], {"mixed": 1}),
        (["mixed=true"], {"mixed": True}),
        (["mixed=x"], {"mixed": "x"}),
        (["either=3"], {"either": 3}),
        (["either=3.5"], {"either": "3.5"}),
        (["either=[1]"], {"either": "[1]"}),
        (["text=12"], {"text": "12"}),
        (["text=true"], {"text": "true"}),
        (["days=2024-01-02", "days=true"], {"days": ["2024-01-02", True]}),
        (["number="], {"number": None}),
        (["number=1e3"], {"number": 1000.0}),
        (["pair=3", "pair=4"], {"pair": [3, "4"]}),
        (['table={"a": [1]}'], {"table": {"a": [1]}}),
        (["free=null"], {"free": None}),
        (["free=a b"], {"free": "a b"}),
    ],
    ids=str,
)
def test_text_is_read_as_the_type_of_its_input(read: Any, pairs: list[str], expected: dict[str, Any]) -> None:
    assert repr(read(*pairs)) == repr(expected)


@pytest.mark.parametrize(
    ("pair", "place"),
    [
        ("words=c", "words.0"),
        ("sizes=3", "sizes.0"),
        ("strength=0.7", "strength"),
        ("flag=no", "flag"),
        ("mixed=2", "mixed"),
    ],
)
def test_what_is_no_choice_is_refused(read: Any, pair: str, place: str) -> None:
    with pytest.raises(CogError, match=f"- {place}: "):
        read(pair)
