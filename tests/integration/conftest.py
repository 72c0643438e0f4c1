"""Projects and images of one run: nobody else's have their names or their content."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.integration import names


@pytest.fixture
def project_name() -> str:
    """A folder whose default image is named for this run."""
    return names.PREFIX


@pytest.fixture
def own_files() -> dict[str, str]:
    return {"run-of-tests": names.RUN}


@pytest.fixture(scope="package", autouse=True)
def _remove_images(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give the engine back what was built in it."""
    yield
    if any(item.get_closest_marker("docker") or item.get_closest_marker("lab") for item in request.session.items):
        # Without an engine there is nothing to give back.
        with contextlib.suppress(OSError):
            found = names.docker("images", "-q", "--filter", f"reference={names.PREFIX}*", check=False).split()
            if found:
                names.docker("rmi", "--force", *found, check=False)
