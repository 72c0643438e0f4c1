"""How the docker program is told what the API is told."""

from __future__ import annotations

import pytest

from cog_cli.engines.docker import gpus_word


@pytest.mark.parametrize(
    ("gpus", "word"),
    [
        ("all", "all"),
        ("2", "2"),
        ("device=0", "device=0"),
        ("device=0,1", '"device=0,1"'),
        ("device=GPU-a,b", '"device=GPU-a,b"'),
    ],
)
def test_a_list_of_gpus_is_one_field_for_docker(gpus: str, word: str) -> None:
    assert gpus_word(gpus) == word
