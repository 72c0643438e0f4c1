"""One table for every scheme: files in, in every shape; files out, in every shape; and what comes of a failure.

Each scheme meets its real counterpart, or the nearest thing that runs on this machine, and the server is a process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import ssl
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import trustme

from tests.fakes.clouds import AZURITE, Cloud, running_azure, running_gcs, running_s3
from tests.fakes.connections import Connections
from tests.fakes.file_server import CONTENT, FileServer, serving_files
from tests.server.conftest import Serve, Server, serving

MODEL = """
    import tempfile, threading

    class Both(BaseModel):
        picture: Path
        more: List[Path]
        named: Dict[str, Path]

    def read(value):
        if isinstance(value, Path):
            return f"{value.name}: {value.read_text()}"
        if isinstance(value, dict):
            return {key: read(item) for key, item in value.items()}
        return [read(item) for item in value]

    def grow(path):
        for _ in range(3000):
            with open(path, "ab") as file:
                file.write(b"x")
            time.sleep(0.001)

    def write(names, size=1):
        made = []
        for number, name in enumerate(names):
            made.append(Path(tempfile.mkdtemp()) / name)
            made[-1].write_bytes(b"content %d" % number * size)
        return made
"""
PLAIN = (
    MODEL
    + """
    class Predictor(BasePredictor):
        def predict(
            self,
            file: Path = None,
            files: List[Path] = Input(default=[]),
            named: Dict[str, Path] = Input(default={}),
            both: Optional[Both] = Input(default=None),
            how: str = "read",
            names: List[str] = Input(default=["out0.png", "out1.png", "out2.png"]),
            size: int = 1,
        ) -> Any:
            if how == "read":
                return {
                    "file": read(file) if file else None,
                    "files": read(files),
                    "named": read(named),
                    "both": read(both.model_dump() if hasattr(both, "model_dump") else vars(both)) if both else None,
                }
            out = write(names, size)
            if how == "one":
                return out[0]
            if how == "nested":
                return Both(picture=out[0], more=out[1:-1], named={"last": out[-1]})
            if how == "missing":
                return [*out, Path("nowhere.png")]
            if how == "growing":
                threading.Thread(target=grow, args=[out[0]], daemon=True).start()
            return out
    """
)
ITERATOR = (
    MODEL
    + """
    class Predictor(BasePredictor):
        def predict(self, names: List[str] = Input(default=["out0.png", "out1.png", "out2.png"])) -> Iterator[Path]:
            for path in write(names):
                yield path
    """
)
NAMES = ["out0.png", "out1.png", "out2.png"]
CONTENTS = [b"content 0", b"content 1", b"content 2"]


@dataclass(frozen=True)
class Side:
    """A scheme's counterpart. `write` puts a file where `url` finds it, `stored` is what is there below a folder.

    `denied` and `missing` are URLs, with the words of the error. `folder` is a place for outputs.
    """

    name: str
    write: Callable[[str, bytes], str]
    denied: tuple[str, str]
    missing: tuple[str, str]
    folder: str = ""
    read: Callable[[str], bytes] = lambda url: b""
    has: Callable[[str], bool] = lambda url: False
    media_type: Callable[[str], str | None] | None = None


@dataclass(frozen=True)
class Place:
    """All servers, and all counterparts by their scheme."""

    plain: Server
    iterator: Server
    web: FileServer
    other: FileServer
    folder: Path
    sides: dict[str, Side]
    clouds: dict[str, Cloud] = field(default_factory=dict)


def _web_side(web: FileServer) -> Side:
    def write(name: str, content: bytes) -> str:
        web.files[f"/file/{name}"] = content
        return web.url(f"/file/{name}")

    return Side(
        name="web",
        write=write,
        denied=(web.url("/status/403"), "answered 403"),
        missing=(web.url("/status/404"), "answered 404"),
        folder=web.url("/put"),
        read=lambda url: web.stored[urlsplit(url).path].body,
        has=lambda url: urlsplit(url).path in web.stored,
        media_type=lambda url: web.stored[urlsplit(url).path].headers["content-type"],
    )


def _file_side(root: Path) -> Side:
    def write(name: str, content: bytes) -> str:
        (root / name).write_bytes(content)
        return f"file://{root}/{name}"

    return Side(
        name="file",
        write=write,
        denied=("file:///etc/passwd", "outside the allowed folders"),
        missing=(f"file://{root}/none", "No such file"),
        folder=f"file://{root}/put",
        read=lambda url: Path(unquote(urlsplit(url).path)).read_bytes(),
        has=lambda url: Path(unquote(urlsplit(url).path)).exists(),
    )


def _hub_side(web: FileServer) -> Side:
    def write(name: str, content: bytes) -> str:
        web.files[f"/owner/model/resolve/main/{name}"] = content
        return f"hf://owner/model/{name}"

    return Side(
        name="hub",
        write=write,
        denied=("hf://status/403/x", "access denied"),
        missing=("hf://status/404/x", "answered 404"),
    )


def _cloud_side(cloud: Cloud) -> Side:
    def write(name: str, content: bytes) -> str:
        cloud.write(name, content)
        return cloud.url(name)

    def key(url: str) -> str:
        return url.removeprefix(cloud.url(""))

    return Side(
        name="cloud",
        write=write,
        denied=(cloud.url("denied"), "access denied"),
        missing=(cloud.url("none"), "no such file"),
        folder=cloud.url("put"),
        read=lambda url: cloud.read(key(url)),
        has=lambda url: cloud.has(key(url)),
        media_type=lambda url: cloud.media_type(key(url)),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("schemes")
    root = folder / "root"
    root.mkdir()
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("secure.test").configure_cert(context)
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    connections = Connections(folder / "connections", {"secure.test": ["127.0.0.1"], "store.test": ["127.0.0.1"]})
    with contextlib.ExitStack() as stack:
        web, other = stack.enter_context(serving_files()), stack.enter_context(serving_files())
        secure = stack.enter_context(serving_files(tls=context))
        secure.url = lambda path="", host="": FileServer.url(secure, path, host or "secure.test")  # type: ignore[method-assign]
        running = [running_s3(), running_gcs(folder), *([running_azure()] if AZURITE.exists() else [])]
        clouds = {cloud.scheme: cloud for cloud in map(stack.enter_context, running)}
        environment = {
            **connections.environment,
            "COG_ALLOW_PRIVATE_URLS": "127.0.0.1",
            "COG_FILE_ROOTS": str(root),
            "COG_OUTPUT_INFO": "1",
            "COG_FILE_TIMEOUT": "5",
            "COG_CA_CERT": str(folder / "ca.pem"),
            "HF_ENDPOINT": web.url(""),
            "HF_TOKEN": "hub-token",
        }
        for cloud in clouds.values():
            environment.update(cloud.environment)
        # The clouds' library keeps its connections for a minute and a half.
        start = stack.enter_context(serving(folder, kept_fds=40))
        sides = {"http": _web_side(web), "https": _web_side(secure), "file": _file_side(root), "hf": _hub_side(web)}
        sides.update({scheme: _cloud_side(cloud) for scheme, cloud in clouds.items()})
        plain, iterator = (start(source, environment=environment) for source in (PLAIN, ITERATOR))
        yield Place(plain, iterator, web, other, root, sides, clouds)


@pytest.fixture(autouse=True)
def forgotten(request: pytest.FixtureRequest) -> None:
    if "place" in request.fixturenames:
        found: Place = request.getfixturevalue("place")
        found.web.forget()
        found.other.forget()


SOURCES = ["http", "https", "file", "hf", "s3", "gs", "az"]
SINKS = ["http", "https", "file", "s3", "gs", "az"]


def _side(place: Place, scheme: str) -> Side:
    if scheme not in place.sides:
        pytest.skip("azurite is not installed: tests/lab/azurite/install")
    return place.sides[scheme]


def _fill(server: Server, **given: Any) -> dict[str, Any]:
    """A prediction that must succeed."""
    document = server.predict(**given)
    assert document["status"] == "succeeded", document["error"]
    return document


def _store(server: Server, output_path: object, **given: Any) -> dict[str, Any]:
    """The prediction whose outputs go there."""
    answer = server.http.post("/predictions", json={"input": given, "output_path": output_path})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert isinstance(document, dict)
    return document


def _expect_no_files(server: Server) -> None:
    left = [each for each in server.log.parent.glob("cog-server-*/*") if each.name != "cache"]
    assert not left, left


# In.


@pytest.mark.parametrize("scheme", ["data", *SOURCES])
def test_files_come_in_wherever_an_input_has_them(place: Place, scheme: str) -> None:
    if scheme == "data":
        urls = [f"data:text/plain;name=in{n}.txt,file {n}" for n in range(5)]
    else:
        side = _side(place, scheme)
        urls = [side.write(f"in{n}.txt", f"file {n}".encode()) for n in range(5)]
    both = {"picture": urls[3], "more": [urls[4], urls[0]], "named": {"x": urls[1]}}

    document = _fill(place.plain, file=urls[0], files=urls[1:3], named={"a b": urls[2]}, both=both)

    assert document["output"] == {
        "file": "in0.txt: file 0",
        "files": ["in1.txt: file 1", "in2.txt: file 2"],
        "named": {"a b": "in2.txt: file 2"},
        "both": {
            "picture": "in3.txt: file 3",
            "more": ["in4.txt: file 4", "in0.txt: file 0"],
            "named": {"x": "in1.txt: file 1"},
        },
    }
    assert document["input"] == {"file": urls[0], "files": urls[1:3], "named": {"a b": urls[2]}, "both": both}
    _expect_no_files(place.plain)


def test_uploads_come_in_wherever_an_input_has_them(place: Place) -> None:
    both = {"picture": "upload:three", "more": ["upload:four", "upload:zero"], "named": {"x": "upload:one/2"}}
    wanted = {"file": "upload:zero", "files": ["upload:one", "upload:one/2"], "both": both}
    parts: list[tuple[str, Any]] = [("request", (None, json.dumps({"input": wanted}).encode(), "application/json"))]
    names = ["zero", "one", "one", "three", "four"]
    parts += [(name, (f"in{n}.txt", f"file {n}".encode(), "text/plain")) for n, name in enumerate(names)]

    answer = place.plain.http.post("/predictions", files=parts)

    assert answer.status_code == 200, answer.text
    assert answer.json()["output"] == {
        "file": "in0.txt: file 0",
        "files": ["in1.txt: file 1", "in2.txt: file 2"],
        "named": {},
        "both": {
            "picture": "in3.txt: file 3",
            "more": ["in4.txt: file 4", "in0.txt: file 0"],
            "named": {"x": "in2.txt: file 2"},
        },
    }
    _expect_no_files(place.plain)


def test_an_upload_that_is_not_there_fails_the_prediction(place: Place) -> None:
    parts = {"request": (None, b'{"input": {"file": "upload:none"}}', "application/json")}

    document = place.plain.http.post("/predictions", files=parts).json()

    assert document["status"] == "failed"
    assert document["error"].startswith("file: ")
    _expect_no_files(place.plain)


@pytest.mark.parametrize("why", ["denied", "missing"])
@pytest.mark.parametrize("scheme", SOURCES)
def test_an_input_that_cannot_be_had_fails_and_names_the_input(
    place: Place, scheme: str, why: str, tmp_path: Path
) -> None:
    side = _side(place, scheme)
    url, words = side.denied if why == "denied" else side.missing
    with contextlib.ExitStack() as stack:
        server = place.plain
        if why == "denied" and scheme in place.clouds:
            start = stack.enter_context(serving(tmp_path, kept_fds=40))
            server = start(PLAIN, environment=place.clouds[scheme].denied)
        document = server.predict(files=["data:,x", url])

        assert document["status"] == "failed"
        assert document["error"].startswith("files: ")
        assert words in document["error"]
        assert not any(secret in str(document) for secret in ("wrong-secret", "AKIANOBODYKNOWS", "hub-token"))
        _expect_no_files(server)


def test_the_hub_gets_the_token_and_nobody_behind_it(place: Place) -> None:
    name = "/owner/model/resolve/main/weights.bin"
    place.web.moved[name] = place.other.url("/file/blob")
    place.web.moved["/datasets/owner/set/resolve/v1.0/x.bin"] = place.web.url(name)

    document = _fill(place.plain, files=["hf://owner/model/weights.bin", "hf://datasets/owner/set@v1.0/x.bin"])

    assert document["output"]["files"] == [f"blob.bin: {CONTENT.decode()}"] * 2
    assert all(each.headers["authorization"] == "Bearer hub-token" for each in place.web.requests)
    assert all("authorization" not in each.headers for each in place.other.requests)
    assert len(place.other.requests) == 2


def test_a_file_that_is_kept_is_asked_for_and_not_sent_again(serve: Serve, place: Place) -> None:
    limits = {"COG_INPUT_CACHE_MB": "1", "COG_ALLOW_PRIVATE_URLS": "127.0.0.1"}
    server = serve(PLAIN, environment=limits)
    url = place.web.url("/etag/in.txt")

    seen = [_fill(server, file=url)["output"]["file"] for _ in range(2)]
    place.web.files["/etag/in.txt"] = b"changed"
    seen += [_fill(server, file=url)["output"]["file"] for _ in range(2)]

    assert seen == ["in.txt: from the web"] * 2 + ["in.txt: changed"] * 2
    asked = [each.headers.get("if-none-match", "") != "" for each in place.web.of("/etag/in.txt")]
    assert asked == [False, True, True, True]


# Out.


@pytest.mark.parametrize("shape", ["one", "list", "nested", "iterator"])
@pytest.mark.parametrize("scheme", SINKS)
def test_files_go_out_wherever_an_output_has_them(place: Place, scheme: str, shape: str) -> None:
    side = _side(place, scheme)
    server = place.iterator if shape == "iterator" else place.plain
    given = {} if shape == "iterator" else {"how": shape}

    document = _store(server, f"{side.folder}/{shape}/{{id}}/", **given)

    assert document["status"] == "succeeded", document["error"]
    output = document["output"]
    if shape == "nested":
        output = [output["picture"], *output["more"], output["named"]["last"]]
    urls = [output] if shape == "one" else output
    wanted = dict(zip(NAMES, CONTENTS, strict=True)) if shape != "one" else {NAMES[0]: CONTENTS[0]}
    assert urls == [f"{side.folder}/{shape}/{document['id']}/{name}" for name in wanted]
    assert [side.read(url) for url in urls] == list(wanted.values())
    if side.media_type is not None:
        assert {side.media_type(url) for url in urls} == {"image/png"}
    assert [(each["name"], each["url"], each["size"]) for each in document["output_info"]] == [
        (name, url, len(content)) for (name, content), url in zip(wanted.items(), urls, strict=True)
    ]
    assert [each["sha256"] for each in document["output_info"]] == [
        hashlib.sha256(content).hexdigest() for content in wanted.values()
    ]
    _expect_no_files(server)


def test_without_a_place_files_go_out_as_data(place: Place) -> None:
    document = _fill(place.iterator)

    assert document["output"] == [f"data:image/png;base64,Y29udGVudC{end}" for end in ("Aw", "Ax", "Ay")]
    assert [each["place"] for each in document["output_info"]] == [[0], [1], [2]]


@pytest.mark.parametrize("scheme", SINKS)
def test_an_output_that_cannot_be_stored_whole_leaves_nothing_behind(place: Place, scheme: str) -> None:
    side = _side(place, scheme)

    document = _store(place.plain, f"{side.folder}/broken", how="missing")

    assert document["status"] == "failed"
    assert "nowhere.png" in document["error"]
    assert document["output"] is None
    assert not document["output_info"]
    assert not any(side.has(f"{side.folder}/broken/{name}") for name in [*NAMES, "nowhere.png"])


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_store_that_denies_fails_the_prediction(serve: Serve, place: Place, scheme: str) -> None:
    side = _side(place, scheme)
    server = serve(PLAIN, environment=place.clouds[scheme].denied)

    document = _store(server, f"{side.folder}/denied", how="list")

    assert document["status"] == "failed"
    assert "output" in document["error"]
    assert "access denied" in document["error"]
    assert "wrong-secret" not in str(document)


@pytest.mark.parametrize("scheme", SINKS)
def test_namesakes_do_not_meet(place: Place, scheme: str) -> None:
    side = _side(place, scheme)
    folder = f"{side.folder}/same"

    first, second = (_store(place.plain, folder, how="list", names=["a.png"] * 3) for _ in range(2))

    assert (first["status"], second["status"]) == ("succeeded", "succeeded"), second["error"]
    assert first["output"] == [f"{folder}/a.png", f"{folder}/a-1.png", f"{folder}/a-2.png"]
    assert len({*first["output"], *second["output"]}) == 6
    for document in (first, second):
        assert [side.read(url) for url in document["output"]] == CONTENTS


@pytest.mark.parametrize("scheme", SINKS)
def test_a_large_file_arrives_whole(place: Place, scheme: str) -> None:
    side = _side(place, scheme)

    document = _store(place.plain, f"{side.folder}/large/{{id}}", how="one", size=1_300_000)

    assert document["status"] == "succeeded", document["error"]
    expected = hashlib.sha256(b"content 0" * 1_300_000).hexdigest()
    assert hashlib.sha256(side.read(document["output"])).hexdigest() == expected
    assert document["output_info"][0]["sha256"] == expected


HOSTILE = ['a\r\nb".png', "n" * 251 + ".png", "ä ö.png", "-rf.png", "a%2fb?c#d.png", "{id}.png", "..png", "a\\b.png"]
SAFE = ["a__b_.png", "n" * 196 + ".png", "___.png", "rf.png", "a_2fb_c_d.png", "_id_.png", "png", "b.png"]


@pytest.mark.parametrize("scheme", SINKS)
def test_any_name_becomes_a_safe_one_and_the_content_stays(place: Place, scheme: str) -> None:
    side = _side(place, scheme)

    document = _store(place.plain, f"{side.folder}/names/{{id}}", how="list", names=HOSTILE)

    assert document["status"] == "succeeded", document["error"]
    assert [url.rpartition("/")[2] for url in document["output"]] == SAFE
    assert [side.read(url) for url in document["output"]] == [b"content %d" % n for n in range(len(HOSTILE))]


# Where outputs go.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/put", "/put/out0.png"),
        ("/put/", "/put/out0.png"),
        ("/put/{id}-{name}", "/put/ID-out0.png"),
        ("/{id}/{id}/{name}.bin", "/ID/ID/out0.png.bin"),
        ("/put?sig={id}&name={name}", "/put/out0.png"),
        ("/put/a%20b", "/put/a%20b/out0.png"),
    ],
)
def test_a_request_says_where_and_by_which_names(place: Place, path: str, expected: str) -> None:
    document = _store(place.plain, place.web.url(path), how="one")

    expected = expected.replace("ID", document["id"])
    assert document["output"] == place.web.url(expected)
    assert place.web.stored[expected].body == CONTENTS[0]


def test_the_prefix_of_the_existing_cog_means_the_same(place: Place) -> None:
    body = {"input": {"how": "one"}, "output_file_prefix": place.web.url("/put/prefix/")}

    document = place.plain.http.post("/predictions", json=body).json()

    assert document["output"] == place.web.url("/put/prefix/out0.png")


@pytest.mark.parametrize(
    ("value", "place_of_error"),
    [
        ("ftp://srv/x", []),
        ("nothing", []),
        ("", []),
        (5, []),
        ({}, []),
        ([], []),
        ("javascript:alert(1)", []),
        ("data:,x", []),
        ("hf://owner/name", []),
        ("file:///etc", []),
        ("file://srv.test/x", []),
        ("s3://Bad_Bucket/x", []),
        ("http://srv/{secret}", []),
        ("http://a b/", []),
        ("http://srv/\r\nx", []),
        ("http://", []),
        ("http://{name}/", []),
        ("http://{id}.srv/", []),
        ("s3://{name}", []),
        ("s3://{id}/x", []),
        ("http://srv:99999/", []),
        (["http://srv/1", "s3://bucket/2"], [1]),
        (["http://srv/1", 2], [1]),
        ("http://srv/" + "x" * 5000, []),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_place_that_is_none_is_refused_with_the_request(
    place: Place, value: object, place_of_error: list[int]
) -> None:
    answer = place.plain.http.post("/predictions", json={"input": {"how": "one"}, "output_path": value})

    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == ["body", "output_path", *place_of_error]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.2/put", "address not allowed"),
        ("http://169.254.169.254/put", "address not allowed"),
        ("http://metadata.google.internal/put", "address not allowed"),
        ("http://localhost/put", "address not allowed"),
        ("http://127.0.0.1:9/put", "cannot be reached"),
        ("http://none.test/put", "not known"),
        ("WEB/status/403", "answered 403"),
        ("WEB/status/404", "answered 404"),
        ("WEB/status/500", "answered 500"),
        ("WEB/redirect/x?to=/put/x", "answered 302, which does not say where the file is to go"),
        ("WEB/redirect/x?status=303&to=/put/x", "answered 303, which does not say where the file is to go"),
        ("WEB/redirect/x?status=307&to=javascript:alert(1)", "no URL"),
        ("WEB/redirect/x?status=307&to=http://169.254.169.254/x", "address not allowed"),
        ("WEB/loop?status=308", "redirects more than 5 times"),
        ("WEB/hang", "longer than 5 seconds"),
        ("WEB/reset", "broke"),
    ],
)
def test_an_upload_that_fails_fails_the_prediction(place: Place, url: str, words: str) -> None:
    document = _store(place.plain, url.replace("WEB", place.web.url("")), how="list")

    assert document["status"] == "failed"
    assert document["error"].startswith("output[")
    assert words in document["error"]
    assert not place.web.stored
    assert not place.web.of("/put/x")
    _expect_no_files(place.plain)


@pytest.mark.parametrize("manner", ["/flaky/a", "/reset/once/a"])
def test_an_upload_is_tried_again_from_its_first_byte(place: Place, manner: str) -> None:
    size = 50_000

    document = _store(place.plain, place.web.url(manner), how="one", size=size)

    assert document["status"] == "succeeded", document["error"]
    puts = place.web.of(f"{manner}/out0.png", "PUT")
    whole = b"content 0" * size
    assert len(puts) == (3 if "flaky" in manner else 2)
    assert all(whole.startswith(each.body) and each.body for each in puts)
    assert place.web.stored[f"{manner}/out0.png"].body == whole


@pytest.mark.parametrize("status", [307, 308])
def test_an_upload_goes_where_it_is_redirected_to(place: Place, status: int) -> None:
    size = 2_000_000
    with serving_files() as store:
        front = place.web.url(f"/redirect/a?status={status}&to={store.url('/put/b.png?sig=1')}")

        document = _store(place.plain, front.replace("://", "://user:hush@", 1), how="one", size=size)

        assert document["status"] == "succeeded", document["error"]
        assert document["output"] == store.url("/put/b.png")
        (sent,) = store.requests
    assert sent.body == b"content 0" * size
    assert not {"authorization", "if-none-match"} & sent.headers.keys()
    assert place.web.requests[-1].headers["authorization"].startswith("Basic ")


def test_a_refusal_is_not_asked_for_again(place: Place) -> None:
    _store(place.plain, place.web.url("/status/403"), how="one")

    assert len(place.web.requests) == 1


@pytest.mark.parametrize(
    ("location", "is_taken"),
    [
        ("/elsewhere/x.png", True),
        ("WEB/elsewhere/x.png", True),
        ("x.png", True),
        ("http://store.test:1/x.png", False),
        ("http://evil.example/x.png", False),
        ("//evil.example/x.png", False),
        ("javascript:alert(1)", False),
        ("data:,x", False),
        ("file:///etc/passwd", False),
        ("http://[::1", False),
        ("", True),
    ],
)
def test_the_place_that_a_store_names_counts_at_its_own_site_only(place: Place, location: str, is_taken: bool) -> None:
    web = place.web.url("")

    document = _store(place.plain, f"{web}/location/{{name}}?to={location.replace('WEB', web)}", how="one")

    put = f"{web}/location/out0.png"
    assert document["status"] == "succeeded", document["error"]
    expected = {"": f"{put}?to=", "x.png": f"{web}/location/x.png"}.get(location, f"{web}/elsewhere/x.png")
    assert document["output"] in ((expected, put) if location == "" else (expected if is_taken else put,))


def test_presigned_urls_are_used_in_order_and_their_signatures_not_shown(place: Place) -> None:
    urls = [place.web.url(f"/signed/{name}?sig=hush{name}") for name in "cab"]

    document = _store(place.plain, urls, how="list")

    assert document["output"] == [place.web.url(f"/signed/{name}") for name in "cab"]
    assert [place.web.stored[f"/signed/{name}"].body for name in "cab"] == CONTENTS
    assert [place.web.stored[f"/signed/{name}"].path for name in "cab"] == [f"/signed/{n}?sig=hush{n}" for n in "cab"]
    assert all("if-none-match" not in each.headers for each in place.web.requests)
    assert "hush" not in json.dumps(document)
    assert "hush" not in place.plain.log.read_text()


@pytest.mark.parametrize("server", ["plain", "iterator"])
def test_too_few_presigned_urls_fail_the_prediction(place: Place, server: str) -> None:
    given = {"how": "list"} if server == "plain" else {}
    document = _store(getattr(place, server), [place.web.url("/signed/1")], **given)

    assert document["status"] == "failed"
    assert "more files than the 1 URLs" in document["error"]


def test_an_output_that_changes_while_it_is_stored_fails(place: Place) -> None:
    document = _store(place.plain, place.web.url("/put"), how="growing", names=["a.png"], size=3_000_000)

    assert document["status"] == "failed"
    assert "changed while it was stored" in document["error"]
    assert not place.web.stored


def test_many_files_go_out_eight_at_a_time(place: Place) -> None:
    names = [f"{number}.txt" for number in range(300)]

    document = _store(place.plain, place.web.url("/put"), how="list", names=names)

    assert document["output"] == [place.web.url(f"/put/{name}") for name in names]
    assert 2 <= place.web.most_open <= 8
    assert place.web.connections <= 16


# The operator's place.

SEES = """
    class Predictor(BasePredictor):
        def predict(self) -> Any:
            path = Path("out0.png")
            path.write_bytes(b"content 0")
            return [path, str(sorted(os.environ.items()))]
"""


@pytest.mark.parametrize("how", ["environment", "flag"])
def test_the_operators_place_may_be_inside_and_its_password_is_nobodys(serve: Serve, place: Place, how: str) -> None:
    url = place.web.url("/put/{id}").replace("://", "://user:hush@")
    given: dict[str, Any] = {"environment": {"COG_OUTPUT_PATH": url}}
    if how == "flag":
        given = {"arguments": ["--upload-url", url]}
    server = serve(SEES, **given)

    document = server.predict()

    assert document["status"] == "succeeded", document["error"]
    assert document["output"][0] == place.web.url(f"/put/{document['id']}/out0.png")
    assert place.web.requests[0].headers["authorization"].startswith("Basic ")
    assert "hush" not in json.dumps(document)
    assert "hush" not in server.log.read_text()


def test_a_request_goes_before_the_operators_place_and_may_not_go_where_that_is(serve: Serve, place: Place) -> None:
    server = serve(SEES, environment={"COG_OUTPUT_PATH": place.web.url("/put")})

    document = _store(server, place.other.url("/mine"))

    assert document["status"] == "failed"
    assert "address not allowed" in document["error"]
    assert place.other.connections == 0


def test_the_operators_folder_needs_no_root(serve: Serve, tmp_path: Path) -> None:
    server = serve(SEES, environment={"COG_OUTPUT_PATH": f"file://{tmp_path}/made/{{id}}"})

    document = server.predict()

    assert document["output"][0] == f"file://{tmp_path}/made/{document['id']}/out0.png"
    made = tmp_path / "made" / document["id"] / "out0.png"
    assert made.read_bytes() == b"content 0"
    assert stat.S_IMODE(made.stat().st_mode) & 0o111 == 0
    assert server.http.post("/predictions", json={"output_path": f"file://{tmp_path}/made"}).status_code == 422


@pytest.mark.parametrize("value", ["ftp://srv/x", "nothing", "http://user:hush@", "http://user:hush@srv/{x}"])
def test_an_operators_place_that_is_none_is_said_at_the_start(serve: Serve, value: str) -> None:
    with pytest.raises(AssertionError, match="COG_OUTPUT_PATH") as raised:
        serve(SEES, environment={"COG_OUTPUT_PATH": value})

    assert "hush" not in str(raised.value)
