"""Files are URLs: in by data and http, out as data."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.conftest import Serve, Server, serving

SOURCE = """
    class Both(BaseModel):
        picture: Path
        note: str
        more: List[Path]

    class Predictor(BasePredictor):
        def predict(self, file: Path = None, files: List[Path] = Input(default=[]), how: str = "names") -> Any:
            given = ([file] if file else []) + list(files)
            if how == "names":
                return [f"{path.name} {path.read_bytes().decode()}" for path in given]
            out = []
            for n in range(3):
                path = Path(f"out{n}.png")
                path.write_bytes(b"png" + bytes([n]))
                out.append(path)
            if how == "one":
                return out[0]
            if how == "list":
                return out
            if how == "nested":
                return Both(picture=out[0], note="hi", more=out[1:])
            if how == "missing":
                return Path("nowhere.png")
            if how == "folder":
                return Path(".")
            if how == "object":
                return object()
            if how == "nan":
                return float("nan")
            if how == "loop":
                loop = []
                loop.append(loop)
                return loop
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("files")) as start:
        yield start(SOURCE, environment={"COG_ALLOW_PRIVATE_URLS": "127.0.0.0/8"})


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A web server with a file, an error, and a redirect."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("location", "/dir/na%20me.txt")
                self.end_headers()
            elif self.path == "/loop":
                self.send_response(302)
                self.send_header("location", "/loop")
                self.end_headers()
            elif self.path.startswith("/dir"):
                self.send_response(200)
                self.send_header("content-type", "text/plain")
                self.end_headers()
                self.wfile.write(b"from the web")
            else:
                self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:text/plain,plain", "file.txt plain"),
        ("data:text/plain;base64,aGVsbG8=", "file.txt hello"),
        ("data:,%C3%A4", "file.txt ä"),
    ],
)
def test_a_data_url_arrives_as_a_file(server: Server, url: str, expected: str) -> None:
    assert server.predict(file=url)["output"] == [expected]


def test_a_web_file_arrives_with_its_name(server: Server, web: str) -> None:
    document = server.predict(file=f"{web}/dir/na%20me.txt", files=[f"{web}/moved", "data:,x"])

    assert document["output"] == ["na_me.txt from the web", "na_me.txt from the web", "files.txt x"]
    assert document["input"]["file"].startswith("http://")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/x", "cannot be reached"),
        ("WEB/none", "404"),
        ("WEB/loop", "redirects more than 5 times"),
        ("ftp://host/x", "not supported"),
        ("data:text/plain;base64,?", "not valid base64"),
        ("data:nothing", "no comma"),
    ],
)
def test_a_file_that_cannot_be_had_fails_the_prediction_and_names_the_input(
    server: Server, web: str, url: str, words: str
) -> None:
    document = server.predict(file=url.replace("WEB", web))

    assert document["status"] == "failed"
    assert document["error"].startswith("file: ")
    assert words in document["error"]


@pytest.mark.parametrize("value", ["/etc/passwd", "name.png", "", 5])
def test_a_bare_path_is_no_file(server: Server, value: object) -> None:
    answer = server.http.post("/predictions", json={"input": {"file": value}})

    assert answer.status_code == 422
    assert "URL" in answer.json()["detail"][0]["msg"]


def _png(number: int) -> str:
    return "data:image/png;base64," + base64.b64encode(b"png" + bytes([number])).decode()


def test_output_files_become_data_urls_wherever_they_are(server: Server) -> None:
    assert server.predict(how="one")["output"] == _png(0)
    assert server.predict(how="list")["output"] == [_png(0), _png(1), _png(2)]
    assert server.predict(how="nested")["output"] == {"picture": _png(0), "note": "hi", "more": [_png(1), _png(2)]}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "nowhere.png"),
        ("folder", "not a regular file"),
        ("object", "object, which has no JSON form"),
        ("nan", "nan, which JSON cannot carry"),
        ("loop", "contains itself"),
    ],
)
def test_an_output_without_json_form_fails_with_a_reason_and_the_worker_lives(
    server: Server, how: str, words: str
) -> None:
    workers = server.worker_pids()

    document = server.predict(how=how)

    assert document["status"] == "failed"
    assert words in document["error"]
    assert server.worker_pids() == workers


def test_the_files_of_a_prediction_are_gone_when_it_has_ended(server: Server, tmp_path: Path) -> None:
    server.predict(file="data:,x")

    assert not list(server.log.parent.glob("cog-server-*/*"))


OUTSIDE = """
    class Predictor(BasePredictor):
        def predict(self, path: str, link: bool = False) -> Path:
            if link:
                if not os.path.lexists("link"):
                    os.symlink(path, "link")
                return Path("link")
            if path == "pipe":
                os.mkfifo("pipe")
            return Path(path)
"""


@pytest.mark.parametrize("given", [{"path": "/etc/passwd"}, {"path": "/etc/passwd", "link": True}], ids=str)
def test_a_file_from_outside_fails_its_prediction(serve: Serve, given: dict[str, object]) -> None:
    document = serve(OUTSIDE).predict(**given)

    assert document["status"] == "failed"
    assert "COG_OUTPUT_ROOTS" in document["error"]
    assert "root:" not in str(document["output"])


def test_a_file_from_where_the_operator_says_is_taken(serve: Serve) -> None:
    document = serve(OUTSIDE, environment={"COG_OUTPUT_ROOTS": "/nowhere:/etc"}).predict(path="/etc/hostname")

    assert document["status"] == "succeeded", document["error"]


@pytest.mark.slow
def test_a_pipe_in_the_place_of_a_file_fails_its_prediction(serve: Serve) -> None:
    document = serve(OUTSIDE).predict(path="pipe")

    assert document["status"] == "failed"
    assert "not a regular file" in document["error"]


def test_files_that_are_too_large_together_fail_before_all_are_read(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self, count: int) -> List[Path]:
                Path("large.bin").write_bytes(bytes(100_000))
                return [Path("large.bin")] * count
        """,
        environment={"COG_MAX_OUTPUT_BYTES": "500000"},
    )

    assert server.predict(count=3)["status"] == "succeeded"
    document = server.predict(count=10_000)

    assert document["status"] == "failed"
    assert document["error"].startswith("output[3]: with the file ")
    assert "larger than 500000 bytes (COG_MAX_OUTPUT_BYTES)" in document["error"]
