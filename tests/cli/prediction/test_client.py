"""What `cog predict` says of a server that it waits for."""

from __future__ import annotations

import pytest

from cog_cli.errors import CogError
from cog_cli.prediction.client import ModelClient
from tests.fakes.model_server import Answer, ModelServer


def test_a_server_without_a_health_check_is_told_apart_at_once() -> None:
    with (
        ModelServer(lambda received: Answer({"detail": "Not Found"}, 404)) as server,
        ModelClient(server) as client,
        pytest.raises(CogError, match="has no /health-check"),
    ):
        client.wait_ready(300)

    assert len(server.received) == 1


def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    answers = [Answer({}, 503), Answer({"status": "STARTING"}), Answer({"status": "READY"})]
    with ModelServer(lambda received: answers[len(server.received) - 1]) as server, ModelClient(server) as client:
        client.wait_ready(60)

    assert len(server.received) == 3
