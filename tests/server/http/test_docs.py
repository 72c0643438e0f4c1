"""The manual renders in a real browser that reaches nothing but this server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import openapi_spec_validator
import pytest

from tests.conftest import CHROMIUM
from tests.server.conftest import Serve

SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, prompt: str = Input(description="What to paint"), size: int = Input(default=512, choices=[256, 512])) -> str:
            return prompt
"""


@pytest.mark.browser
@pytest.mark.slow
def test_docs_render_without_internet(serve: Serve, tmp_path: Path) -> None:
    server = serve(SOURCE)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --virtual-time-budget=10000"
    assert CHROMIUM is not None

    page = subprocess.run(
        # No name is looked up: whatever the page asked of another host would be missing.
        [
            CHROMIUM,
            *flags.split(),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={tmp_path}/profile",
            "--dump-dom",
            f"{server.url}/docs",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert "opblock-summary-path" in page, page[-2000:]
    assert "/predictions" in page
    assert "http://cdn" not in page
    assert "https://cdn" not in page


def test_the_openapi_document_is_valid_and_names_the_inputs(serve: Serve) -> None:
    document = serve(SOURCE).http.get("/openapi.json").json()

    openapi_spec_validator.validate(document)
    schemas = document["components"]["schemas"]
    assert schemas["Input"]["required"] == ["prompt"]
    assert schemas["Input"]["properties"]["size"]["allOf"] == [{"$ref": "#/components/schemas/size"}]
    assert schemas["size"]["enum"] == [256, 512]


def test_a_page_below_a_prefix_finds_its_assets(serve: Serve) -> None:
    server = serve(SOURCE)
    page = server.http.get("/docs").text

    assert 'src="docs/assets/swagger-ui-bundle.js"' in page
    assert server.http.get("/docs/assets/swagger-ui-bundle.js").status_code == 200
    assert server.http.get("/docs/assets/../../settings.py").status_code == 404
