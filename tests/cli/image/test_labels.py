"""What an image says about itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cog.schema.spec import FieldSpec, OutputSpec, PredictorSpec, TypeSpec
from cog_cli.config import Config
from cog_cli.image.labels import LABEL_CONFIG, LABEL_FREEZE, LABEL_SCHEMA, image_labels


def test_labels_say_config_schema_and_packages(tmp_path: Path) -> None:
    spec = PredictorSpec((FieldSpec("text", TypeSpec("str")),), OutputSpec(TypeSpec("str")))

    labels = image_labels(Config(predict="p.py:P"), spec, None, "numpy==1.26.4\n", tmp_path)

    assert json.loads(labels[LABEL_CONFIG]) == {"predict": "p.py:P"}
    assert "text" in labels[LABEL_SCHEMA]
    assert labels[LABEL_FREEZE] == "numpy==1.26.4"


def test_the_time_of_the_build_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")

    assert (
        image_labels(Config(), None, None, "", tmp_path)["org.opencontainers.image.created"]
        == "1970-01-01T00:00:00+00:00"
    )


def test_a_label_too_long_for_a_command_line_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = image_labels(Config(), None, None, "x" * 200_000, tmp_path)

    assert LABEL_FREEZE not in labels
    assert LABEL_FREEZE in capsys.readouterr().err
