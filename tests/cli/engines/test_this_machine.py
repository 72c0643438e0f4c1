"""What a server in a container is told of this machine: its name, and that it may be reached."""

from __future__ import annotations

import pytest

from cog_cli.engines.base import RunOptions
from cog_cli.engines.this_machine import see_from_container

ALLOWED = "COG_ALLOW_PRIVATE_URLS=host.docker.internal"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://example.com/files/", "https://example.com/files/"),
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("http://host.docker.internal:9000/x", "http://host.docker.internal:9000/x"),
        ("http://localhost:9000/x?y=z", "http://host.docker.internal:9000/x?y=z"),
        ("http://user:word@127.0.0.1:9000/x", "http://user:word@host.docker.internal:9000/x"),
        ("http://[::1]:9000/", "http://host.docker.internal:9000/"),
        ("http://LOCALHOST", "http://host.docker.internal"),
    ],
)
def test_this_machine_has_another_name_in_a_container(url: str, told: str) -> None:
    assert see_from_container(RunOptions(upload_url=url)) == (f"COG_OUTPUT_PATH={told}", ALLOWED)


def test_a_changed_name_is_said() -> None:
    said: list[str] = []

    see_from_container(RunOptions(upload_url="http://127.0.0.1:9000/", on_notice=said.append))

    assert "host.docker.internal" in said[0]


@pytest.mark.parametrize(
    ("host", "given", "told"),
    [
        ("127.0.0.1", (), (ALLOWED,)),
        ("::1", (), (ALLOWED,)),
        ("0.0.0.0", (), ()),
        ("192.168.1.7", (), ()),
        (
            "127.0.0.1",
            ("COG_ALLOW_PRIVATE_URLS=10.0.0.0/8",),
            ("COG_ALLOW_PRIVATE_URLS=10.0.0.0/8,host.docker.internal",),
        ),
        ("127.0.0.1", ("COG_ALLOW_PRIVATE_URLS=*",), ()),
        ("127.0.0.1", ("COG_ALLOW_PRIVATE_URLS=off",), ()),
    ],
)
def test_only_a_server_that_this_machine_alone_reaches_may_reach_it(
    host: str, given: tuple[str, ...], told: tuple[str, ...]
) -> None:
    assert see_from_container(RunOptions(host=host, environment=given)) == told
