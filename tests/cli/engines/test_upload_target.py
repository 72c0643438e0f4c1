"""Where `cog serve --upload-url` points, as a container sees it."""

from __future__ import annotations

import pytest

from cog_cli.engines.base import RunOptions
from cog_cli.engines.upload_target import UploadTarget, see_from_container

GATEWAY = {"host.docker.internal": "host-gateway"}


@pytest.mark.parametrize(
    ("url", "told", "hosts"),
    [
        ("https://example.com/files/", "https://example.com/files/", {}),
        ("s3://bucket/folder", "s3://bucket/folder", {}),
        ("http://host.docker.internal:9000/x", "http://host.docker.internal:9000/x", GATEWAY),
        ("http://localhost:9000/x?y=z", "http://host.docker.internal:9000/x?y=z", GATEWAY),
        ("http://user:word@127.0.0.1:9000/x", "http://user:word@host.docker.internal:9000/x", GATEWAY),
        ("http://[::1]:9000/", "http://host.docker.internal:9000/", GATEWAY),
        ("http://LOCALHOST", "http://host.docker.internal", GATEWAY),
    ],
)
def test_this_machine_has_another_name_in_a_container(url: str, told: str, hosts: dict[str, str]) -> None:
    assert see_from_container(RunOptions(upload_url=url)) == UploadTarget((f"COG_OUTPUT_PATH={told}",), hosts)


def test_a_changed_name_is_said() -> None:
    said: list[str] = []

    see_from_container(RunOptions(upload_url="http://127.0.0.1:9000/", on_notice=said.append))

    assert "host.docker.internal" in said[0]


def test_without_one_nothing_changes() -> None:
    assert see_from_container(RunOptions()) == UploadTarget()
