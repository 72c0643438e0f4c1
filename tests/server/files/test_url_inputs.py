"""URLs that clients name as inputs: what must not be opened, what must be bounded, and what only looks bad.

The server's connections are watched below its own code, by `tests.fakes.connections`: that none was made is measured
there and not read off an error.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.fakes.connections import Connections
from tests.fakes.file_server import CONTENT, FileServer, serving_files
from tests.fakes.webhook_receiver import receiving
from tests.server.conftest import Server, serving, wait_until

SOURCE = """
    import hashlib

    class Predictor(BasePredictor):
        def predict(self, image: Path = None, images: List[Path] = Input(default=[]), s: str = "") -> Any:
            if s:
                return s
            given = ([image] if image else []) + images
            return [
                {"name": each.name, "size": each.stat().st_size, "place": str(each.parent.parent),
                 "sha256": hashlib.sha256(each.read_bytes()).hexdigest()}
                for each in given
            ]
"""
_MIB = 1 << 20

# What names mean to the servers of this module; the web server listens at 127.0.0.1 and 127.0.0.2.
NAMES: dict[str, Any] = {
    "srv.test": ["127.0.0.1"],
    "8.8.8.8.example.test": ["127.0.0.1"],
    "a_b.test": ["127.0.0.1"],
    "xn--bcher-kva.test": ["127.0.0.1"],
    "other.test": ["127.0.0.2"],
    "private.test": ["10.0.0.5"],
    "multi.test": ["8.8.8.8", "127.0.0.1"],
    "loop.test": ["127.0.0.1"],
    "six.test": ["::1"],
    "mapped.test": ["::ffff:10.0.0.1"],
    "zone.test": ["fe80::1%lo"],
    "169-254-169-254.nip.test": ["169.254.169.254"],
    "169.254.169.254.nip.test": ["169.254.169.254"],
    "rebind.test": [["127.0.0.1"], ["127.0.0.2"]],
    "rebind-late.test": [["127.0.0.2"], ["127.0.0.1"]],
    "half.test": ["127.0.0.1", "127.0.0.2"],
    "empty.test": [],
}


@dataclass(frozen=True)
class Net:
    """A server, its connections, and what it may find: at 127.0.0.1, and at 127.0.0.2 by the same port."""

    server: Server
    connections: Connections
    web: FileServer
    inside: FileServer

    def fail(self, url: str, *words: str) -> str:
        """The error of a prediction that must fail, with these words and with nothing left behind."""
        document = self.server.predict(image=url)
        error = document["error"] or ""
        assert document["status"] == "failed", document
        assert error.startswith("image: "), error
        assert all(word in error for word in words), error
        assert document["output"] is None
        self.expect_no_files()
        return str(error)

    def take(self, url: str) -> dict[str, Any]:
        """The file of a prediction that must succeed."""
        document = self.server.predict(image=url)
        assert document["status"] == "succeeded", document["error"]
        (found,) = document["output"]
        assert found.pop("place").startswith(str(self.server.log.parent)), "outside of the workspace"
        self.expect_no_files()
        return dict(found)

    def expect_no_files(self) -> None:
        left = [each for each in self.server.log.parent.glob("cog-server-*/*") if each.name != "cache"]
        assert not left, left


@pytest.fixture(scope="module")
def webs() -> Iterator[tuple[FileServer, FileServer]]:
    with serving_files(host="127.0.0.1") as web, serving_files(host="127.0.0.2", port=web.port) as inside:
        yield web, inside


def _net(start: Any, folder: Path, webs: tuple[FileServer, FileServer], **environment: str) -> Net:
    connections = Connections(folder / "connections", NAMES)
    cloud = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true"}
    server = start(SOURCE, environment={**connections.environment, **cloud, **environment})
    connections.forget()
    return Net(server, connections, *webs)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, webs: tuple[FileServer, FileServer]) -> Iterator[Net]:
    """As a server is by default."""
    folder = tmp_path_factory.mktemp("closed")
    with serving(folder) as start:
        yield _net(start, folder, webs)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory, webs: tuple[FileServer, FileServer]) -> Iterator[Net]:
    """One that may connect to 127.0.0.1, and not to 127.0.0.2, with small limits."""
    folder = tmp_path_factory.mktemp("open")
    environment = {
        "COG_ALLOW_PRIVATE_URLS": "127.0.0.1",
        "COG_MAX_FILE_BYTES": str(_MIB),
        "COG_MAX_INPUT_BYTES": str(4 * _MIB),
        "COG_FILE_READ_TIMEOUT": "0.5",
        "COG_FILE_TIMEOUT": "2",
    }
    with serving(folder) as start:
        yield _net(start, folder, webs, **environment)


@pytest.fixture(autouse=True)
def forgotten(webs: tuple[FileServer, FileServer]) -> None:
    for each in webs:
        each.forget()


# This machine, its neighbours and the clouds' metadata, in every spelling.
NOT_ALLOWED = [
    *("http://127.0.0.1/", "http://127.0.0.2/", "http://localhost/", "http://LOCALHOST./", "https://127.0.0.1/"),
    *("http://0.0.0.0/", "http://0/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/"),
    *("http://0x7f.0.0.1/", "http://0X7F.1/", "http://0177.0.0.1/", "http://017700000001/", "http://127.0.0.1./"),
    *(
        "http://①②⑦.0.0.1/",
        "http://127。0。0。1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127\uff0e0\uff0e0\uff0e1/",
        "http://ⓛocalhost/",
    ),
    *("http://[::1]/", "http://[::]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/"),
    *("http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/"),
    *("http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "http://[fe80::1%25lo]/", "http://[fe80::1%lo]/"),
    *("http://[::1%25lo]/", "http://[fec0::1]/", "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[ff02::1]/"),
    *("http://[::ffff:169.254.169.254]/", "http://[::ffff:a9fe:a9fe]/", "http://[::169.254.169.254]/"),
    *("http://[64:ff9b::a9fe:a9fe]/", "http://[2002:a9fe:a9fe::1]/", "http://[::ffff:0:7f00:1]/"),
    *("http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://0xa9fea9fe/", "http://169.254.43518/"),
    *(
        "http://metadata.google.internal/",
        "http://METADATA.google.internal./x",
        "http://metadata/",
        "http://instance-data/",
    ),
    *("http://192.0.0.192/", "http://100.100.100.200/", "http://168.63.129.16/", "http://10.0.0.1/"),
    *("http://172.16.0.1/", "http://192.168.0.1/", "http://198.18.0.1/", "http://224.0.0.1/", "http://240.0.0.1/"),
    *("http://255.255.255.255/", "HTTP://10.0.0.1/", "hTTps://10.0.0.1/"),
    *("http://a.test@127.0.0.1/", "http://8.8.8.8:80@10.0.0.1/", "http://a@b@127.0.0.1/", "http://a:b@[::1]/"),
    *("http://127.0.0.1#@8.8.8.8/", "http://127.0.0.1?@8.8.8.8/", "http://127.0.0.1/@8.8.8.8/"),
    *("http://8.8.8.8\\@127.0.0.1/", "http:/\\127.0.0.1/", "http:\\\\127.0.0.1\\", "http://127.0.0.1\\.srv.test/"),
    *(
        "http://%31%32%37.0.0.1/",
        "http://localho%73t/",
        "http://127.0.0.1%2esrv.test/",
        "http://127.0.0.1%00.srv.test/",
    ),
    *(
        "http:///127.0.0.1/",
        "http:127.0.0.1",
        "http:/127.0.0.1/",
        "http://",
        "http:///",
        "http:",
        "https://",
        "http://:80/",
    ),
    *("http://./", "http://../", "http://127.0.0.1\t/", "http://127.0.0.1\n/", "http://\t127.0.0.1/", "http://srv /"),
    *("http://srv.test/\r\nX-Evil: 1", "http://srv.test/\0", "http://srv.test/ HTTP/1.1", "http://srv.test/\x7f"),
    *("http://[::1/", "http://::1/", "http://[127.0.0.1]/", "http://[v1.x]/", "http://[]/", "http://[::1]x/"),
    *(
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:8x/",
        "http://127.0.0.1:٨٠/",
    ),
    *("http://private.test/", "http://loop.test/", "http://six.test/", "http://mapped.test/", "http://zone.test/"),
    *(
        "http://multi.test/",
        "http://169-254-169-254.nip.test/",
        "http://169.254.169.254.nip.test/",
        "http://PRIVATE.test./",
    ),
    "http://private。test/",
    "http://*.test/",
    "http://$(id).test/",
    "http://" + "1" * 5000 + "/",
    "http://" + "a." * 4000 + "test/",
]


@pytest.mark.parametrize("url", NOT_ALLOWED, ids=lambda url: ascii(url[:60]))
def test_an_address_inside_is_refused_in_every_spelling(closed: Net, url: str) -> None:
    error = closed.fail(url, "address not allowed")

    assert closed.connections.tried() == []
    told = ("127.0.0.1", "10.0.0.5", "::1", "169.254.169.254", "fe80")
    assert not any(address in error for address in told if address not in url), error


def test_the_address_of_a_name_is_not_told(closed: Net) -> None:
    error = closed.fail("http://private.test:8080/x?token=hush", "private.test", "COG_ALLOW_PRIVATE_URLS")

    assert "10." not in error
    assert "hush" not in error
    assert "10.0.0.5" not in closed.server.log.read_text()


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://srv/x", "gopher://127.0.0.1:6379/_FLUSHALL", "javascript:alert(1)", "dict://127.0.0.1:11211/stat"),
        *(
            "ldap://127.0.0.1/",
            "sftp://srv/x",
            "smb://srv/x",
            "jar:http://127.0.0.1!/",
            "view-source:http://127.0.0.1/",
        ),
        *("unix:/run/docker.sock", "http+unix://%2Frun%2Fdocker.sock/", "about:blank", "blob:http://127.0.0.1/x"),
        *("ws://127.0.0.1/", "git+http://127.0.0.1/", "netdoc:///etc/passwd", "php://filter/x", "C:\\Windows\\win.ini"),
        *("upload:nothing", "upload:image/2", "a" * 5000 + ":x", "phar:///x", "s3a://bucket/key", "wasb://x/y"),
    ],
    ids=lambda url: url[:40],
)
def test_a_scheme_that_is_not_known_is_refused(closed: Net, url: str) -> None:
    error = closed.fail(url, "scheme not allowed")

    assert len(error) < 1000
    assert closed.connections.tried() == []


@pytest.mark.parametrize(
    "value",
    ["", " http://srv.test/x", "\thttp://srv.test/x", "//127.0.0.1/x", "/etc/passwd", "srv.test/x", "~/x", "://x"],
)
def test_what_is_no_url_does_not_pass_the_validator(closed: Net, value: str) -> None:
    answer = closed.server.http.post("/predictions", json={"input": {"image": value}})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", "image"]


def test_a_text_that_looks_like_a_url_is_never_fetched(closed: Net) -> None:
    closed.connections.forget()

    for text in ("http://127.0.0.1/", "file:///etc/passwd", "data:,x", "s3://bucket/key"):
        assert closed.server.predict(s=text)["output"] == text

    assert closed.connections.all() == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "no bucket"),
        ("s3:///key", "no bucket"),
        ("s3://bucket", "no file"),
        ("s3://bucket/", "no file"),
        ("s3:bucket/key", "s3://"),
        ("s3://Bad_Bucket/../key", "invalid bucket name"),
        ("s3://b/key", "invalid bucket name"),
        ("s3://127.0.0.1/key", "invalid bucket name"),
        ("s3://user:secret@bucket/key", "invalid bucket name"),
        ("s3://bucket:9000/key", "invalid bucket name"),
        ("s3://bucket?x/key", "invalid bucket name"),
        ("s3://bu%63ket/key", "invalid bucket name"),
        ("s3://bucket/../key", "`..`"),
        ("s3://bucket/a/./key", "`..`"),
        ("s3://bucket//key", "empty segment"),
        ("s3://bucket/a\nb", "control character"),
        ("s3://bucket/a\0b", "control character"),
        ("s3://bucket/" + "k" * 2000, "too long"),
        ("gs://", "no bucket"),
        ("gs://UPPER/x", "invalid bucket name"),
        ("az://", "no container"),
        ("az://a--b/x", "invalid container name"),
        ("abfss://container@evil.test/x", "invalid account"),
        ("hf://", "hf://owner/repository/path"),
        ("hf://owner/name", "hf://owner/repository/path"),
        ("hf://owner/name/../../../api/x", "hf://owner/repository/path"),
        ("hf://owner/name/a//b", "hf://owner/repository/path"),
        ("hf://127.0.0.1:80/name/x", "hf://owner/repository/path"),
        ("hf://user@evil.test/name/x", "hf://owner/repository/path"),
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_a_url_of_a_store_that_cannot_be_right_is_refused_without_asking(closed: Net, url: str, words: str) -> None:
    error = closed.fail(url, words)

    assert "secret" not in error
    assert closed.connections.tried() == []


# data: URLs.


@pytest.mark.parametrize(
    ("url", "name", "content"),
    [
        ("data:,x", "image.txt", b"x"),
        ("data:,", "image.txt", b""),
        ("DATA:text/plain,x", "image.txt", b"x"),
        ("data:text/plain;charset=utf-8,%C3%A4", "image.txt", "ä".encode()),
        ("data:text/plain,ä", "image.txt", "ä".encode()),
        ("data:text/plain,%zz", "image.txt", b"%zz"),
        ("data:text/plain,a,b#c?d", "image.txt", b"a,b#c?d"),
        ("data:text/plain,1+1", "image.txt", b"1+1"),
        ("data:image/png;base64,aGVsbG8=", "image.png", b"hello"),
        ("data:image/png;base64,aGVsbG8", "image.png", b"hello"),
        ("data:image/png;base64,aGVs%62G8%3D", "image.png", b"hello"),
        ("data:image/png;base64,aGVs\r\nbG8=\r\n", "image.png", b"hello"),
        ("data:image/png;base64, aGVs bG8=", "image.png", b"hello"),
        ("data:image/PNG;BASE64,aGVsbG8=", "image.png", b"hello"),
        ("data:image/png;name=a.b/c;base64,aGVsbG8=", "c.png", b"hello"),
        ("data:;base64,aGVsbG8=", "image.txt", b"hello"),
        ("data:image/svg+xml;utf8,<svg/>", "image.svg", b"<svg/>"),
        ("data:application/octet-stream;base64,", "image.bin", b""),
        ("data:image/png;name=..%2F..%2Fetc%2Fpasswd;base64,aGk=", "passwd.png", b"hi"),
        ("data:image/png;filename=%00-rf%0A.png;base64,aGk=", "_-rf_.png", b"hi"),
        ("data:text/x-" + "a" * 3000 + ",x", "image", b"x"),
        ("data:../../etc/passwd,x", "image", b"x"),
        ("data:text/plain;name=" + "n" * 3000 + ".txt,x", "n" * 196 + ".txt", b"x"),
    ],
    ids=lambda each: ascii(each[:50]) if isinstance(each, str) else "",
)
def test_a_data_url_is_read_in_all_its_forms(net: Net, url: str, name: str, content: bytes) -> None:
    found = net.take(url)

    assert (found["name"], found["sha256"]) == (name, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:", "no comma"),
        ("data:text/plain;base64", "no comma"),
        ("data:" + "x" * 5000 + ",x", "no comma"),
        ("data:text/plain;base64,?", "not valid base64"),
        ("data:text/plain;base64,a", "not valid base64"),
        ("data:text/plain;base64,aGVsbG8=aGVs", "not valid base64"),
        ("data:text/plain;base64,aGVsbG8%zz", "not valid base64"),
        ("data:text/plain;base64,äöü", "not valid base64"),
        ("data:text/plain;base64," + "A" * (2 * _MIB), "larger than 1048576 bytes"),
        ("data:text/plain," + "A" * (4 * _MIB), "larger than 1048576 bytes"),
        ("data:text/plain," + "A" * (_MIB + 1), "larger than 1048576 bytes"),
    ],
    ids=lambda each: ascii(each[:40]),
)
def test_a_data_url_that_is_none_or_too_large_fails(net: Net, url: str, words: str) -> None:
    net.fail(url, words)


# file: URLs.


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`allowed` with all sorts of things in it, beside `allowed-not` and `secret`."""
    root = tmp_path_factory.mktemp("roots")
    allowed, secret = root / "allowed", root / "secret"
    for folder in (allowed / "sub", root / "allowed-not", secret):
        folder.mkdir(parents=True)
        (folder / "ok.txt").write_bytes(CONTENT)
    (allowed / "ok.txt").write_bytes(CONTENT)
    (allowed / "na me%2e#1.txt").write_bytes(CONTENT)
    (allowed / "big.bin").write_bytes(bytes(_MIB + 1))
    (allowed / "link").symlink_to("/etc/passwd")
    (allowed / "link-out").symlink_to(secret)
    (allowed / "link-in").symlink_to(allowed / "ok.txt")
    (allowed / "link-loop").symlink_to(allowed / "link-loop")
    (allowed / "link-environ").symlink_to("/proc/self/environ")
    (allowed / "link-fd").symlink_to("/dev/stdin")
    (allowed / "link-zero").symlink_to("/dev/zero")
    os.mkfifo(allowed / "pipe")
    plug = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(allowed)  # The name of a socket has at most 107 bytes.
    plug.bind("plug")
    os.chdir(here)
    plug.close()
    return root


@pytest.fixture(scope="module")
def rooted(
    tmp_path_factory: pytest.TempPathFactory, webs: tuple[FileServer, FileServer], folders: Path
) -> Iterator[Net]:
    """A server that may read below `allowed`."""
    folder = tmp_path_factory.mktemp("rooted")
    with serving(folder) as start:
        roots = {"COG_FILE_ROOTS": f"{folders}/allowed", "COG_MAX_FILE_BYTES": str(_MIB)}
        yield _net(start, folder, webs, **roots)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "file://localhost/etc/passwd",
        "file:////etc/passwd",
    ],
)
def test_no_file_of_the_machine_is_read_unless_the_operator_names_its_folder(closed: Net, url: str) -> None:
    error = closed.fail(url, "outside the allowed folder")

    assert "/etc" not in error


OUTSIDE = "outside the allowed folder"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("file://ROOT/allowed/../secret/ok.txt", OUTSIDE),
        ("file://ROOT/allowed/%2e%2e/secret/ok.txt", OUTSIDE),
        ("file://ROOT/allowed/%2E%2E%2Fsecret%2Fok.txt", OUTSIDE),
        ("file://ROOT/allowed/..%2fsecret/ok.txt", OUTSIDE),
        ("file://ROOT/allowed-not/ok.txt", OUTSIDE),
        ("file://ROOT/allowed/../allowed-not/ok.txt", OUTSIDE),
        ("file://ROOT/secret/ok.txt", OUTSIDE),
        ("file://ROOT/allowed/link", OUTSIDE),
        ("file://ROOT/allowed/link-out/ok.txt", OUTSIDE),
        ("file://ROOT/allowed/link-environ", OUTSIDE),
        ("file://ROOT/allowed/link-fd", OUTSIDE),
        ("file://ROOT/allowed/link-zero", OUTSIDE),
        ("file:///dev/zero", OUTSIDE),
        ("file:///proc/self/environ", OUTSIDE),
        ("file:///proc/self/rootROOT/secret/ok.txt", OUTSIDE),
        ("FILE:///etc/passwd", OUTSIDE),
        ("file:///", OUTSIDE),
        ("file:////etc/passwd", OUTSIDE),
        ("file://ROOT/allowed/sub", "not a regular file"),
        ("file://ROOT/allowed", "not a regular file"),
        ("file://ROOT/allowed/pipe", "not a regular file"),
        ("file://ROOT/allowed/plug", "image: "),
        ("file://ROOT/allowed/link-loop", "image: "),
        ("file://ROOT/allowed/none", "No such file"),
        ("file://ROOT/allowed/ok.txt/x", "Not a directory"),
        ("file://ROOT/allowed/" + "n" * 300, "too long"),
        ("file://ROOT/allowed/ok.txt%00.png", "form file:///"),
        ("file://ROOT/allowed/ok.txt\0", "form file:///"),
        ("file://evil.testROOT/allowed/ok.txt", "form file:///"),
        ("file://127.0.0.1ROOT/allowed/ok.txt", "form file:///"),
        ("file://user@localhostROOT/allowed/ok.txt", "form file:///"),
        ("file://BARE/allowed/ok.txt", "form file:///"),
        ("file:ok.txt", "form file:///"),
        ("file:", "form file:///"),
        ("file://", "form file:///"),
        ("file:\\\\evil.test\\share", "form file:///"),
        ("file://ROOT/allowed/big.bin", "larger than 1048576 bytes"),
    ],
)
def test_a_file_url_reads_regular_files_below_its_roots_only(rooted: Net, folders: Path, path: str, words: str) -> None:
    error = rooted.fail(path.replace("ROOT", str(folders)).replace("BARE", str(folders)[1:]), words)

    assert str(folders) not in error


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("file://ROOT/allowed/ok.txt", "ok.txt"),
        ("FILE://ROOT/allowed/ok.txt", "ok.txt"),
        ("file:ROOT/allowed/ok.txt", "ok.txt"),
        ("file://localhostROOT/allowed/ok.txt", "ok.txt"),
        ("file://ROOT/allowed/sub/../ok.txt", "ok.txt"),
        ("file://ROOT/allowed//ok.txt", "ok.txt"),
        ("file://ROOT/allowed/%6fk.txt", "ok.txt"),
        ("file://ROOT/allowed/link-in", "ok.txt"),
        ("file://ROOT/allowed/na%20me%252e%231.txt", "na_me_2e_1.txt"),
        ("file://ROOT/allowed/na me%252e#1.txt", "na_me_2e_1.txt"),
    ],
)
def test_a_file_below_a_root_is_read(rooted: Net, folders: Path, path: str, name: str) -> None:
    found = rooted.take(path.replace("ROOT", str(folders)))

    assert (found["name"], found["size"]) == (name, len(CONTENT))


# Redirects and names that change.


REDIRECTS = [
    ("http://127.0.0.2:PORT/x", "address not allowed"),
    ("http://other.test:PORT/x", "address not allowed"),
    ("http://169.254.169.254/latest/meta-data/", "address not allowed"),
    ("http://metadata.google.internal/", "address not allowed"),
    ("http://[::ffff:169.254.169.254]/", "address not allowed"),
    ("http://2130706434:PORT/x", "address not allowed"),
    ("//127.0.0.2:PORT/x", "address not allowed"),
    ("http:/\\127.0.0.2:PORT/x", "address not allowed"),
    ("http://127.0.0.1:PORT/redirect/2?to=http://169.254.169.254/", "address not allowed"),
    ("http://127.0.0.1:99999/", "port is a number from 1 to 65535"),
    ("http://127.0.0.1:PORT\\@127.0.0.2/", "address not allowed"),
    ("file:///etc/passwd", "scheme not allowed"),
    ("FILE:///etc/passwd", "scheme not allowed"),
    ("gopher://127.0.0.1:6379/_FLUSHALL", "scheme not allowed"),
    ("data:,x", "no URL"),
    ("s3://bucket/key", "scheme not allowed"),
    ("javascript:alert(1)", "no URL"),
    ("/loop", "redirects more than 5 times"),
    ("/hops/5", "redirects more than 5 times"),
    ("http://", "srv.test"),
    ("http://[::1", "srv.test"),
    ("", "redirects"),
    ("/status/404", "404"),
]


@pytest.mark.parametrize(("to", "words"), REDIRECTS)
def test_a_redirect_is_checked_like_any_url(net: Net, to: str, words: str) -> None:
    net.connections.forget()
    target = to.replace("PORT", str(net.web.port))

    net.fail(net.web.url(f"/redirect/1?to={target.replace(chr(92), '%5C')}", host="srv.test"), words)

    assert net.connections.tried("127.0.0.1") == []
    assert net.inside.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_up_to_five_times(net: Net, status: int) -> None:
    assert net.take(net.web.url("/hops/5", host="srv.test"))["size"] == len(CONTENT)
    assert net.take(net.web.url(f"/redirect/x?status={status}&to=/file/a.png"))["name"] == "a.png"


def test_a_name_that_changes_its_address_is_asked_once_for_each_connection(net: Net) -> None:
    for _ in range(20):
        net.server.predict(image=net.web.url(host="rebind.test"))
        net.server.predict(image=net.web.url(host="rebind-late.test"))

    assert net.inside.connections == 0
    assert net.connections.tried("127.0.0.1") == []


@pytest.mark.parametrize(("host", "words"), [("half.test", "address not allowed"), ("empty.test", "cannot be reached")])
def test_one_forbidden_address_among_several_spoils_them_all(net: Net, host: str, words: str) -> None:
    net.fail(net.web.url(host=host), words)

    assert net.web.connections == net.inside.connections == 0


# Servers that fail.


@pytest.mark.parametrize(
    ("path", "words", "gets"),
    [
        ("/status/404", "answered 404", 1),
        ("/status/403", "answered 403", 1),
        ("/status/401", "answered 401", 1),
        ("/status/410", "answered 410", 1),
        ("/status/304", "answered 304", 1),
        ("/status/500", "answered 500", 3),
        ("/status/503", "answered 503", 3),
        ("/status/429", "answered 429", 3),
        ("/reset/x", "connection to 127.0.0.1 broke", 3),
        ("/truncated", "connection to 127.0.0.1 broke", 3),
        ("/hang", "took too long", 1),
        ("/huge", "larger than 1048576 bytes", 1),
        ("/endless", "larger than 1048576 bytes", 1),
        ("/bomb", "larger than 1048576 bytes", 1),
        ("/br", "encoding that was not asked for: br", 1),
        ("/gzip/wrong", "not gzip", 1),
        ("/gzip/torn", "broke", 3),
        ("/drip", "longer than 2 seconds", 1),
    ],
)
def test_a_server_that_fails_is_named_and_asked_again_only_where_that_may_help(
    net: Net, path: str, words: str, gets: int
) -> None:
    error = net.fail(net.web.url(path), words)

    wait_until(lambda: len(net.web.of(path)) == gets, f"{len(net.web.of(path))} requests, not {gets}")
    assert "secret body" not in error


def test_a_server_that_recovers_is_waited_for(net: Net) -> None:
    assert net.take(net.web.url("/flaky/picture.png"))["name"] == "picture.png"
    assert len(net.web.of("/flaky/picture.png")) == 3
    assert net.take(net.web.url("/reset/once/picture.png"))["size"] == len(CONTENT)


def test_a_length_that_lies_gives_no_more_than_it_says(net: Net) -> None:
    document = net.server.predict(image=net.web.url("/liar"))

    assert document["status"] == "failed" or document["output"][0]["size"] == 10


@pytest.mark.parametrize("path", ["/gzip/plain", "/gzip/parts"])
def test_what_is_packed_unasked_is_unpacked(net: Net, path: str) -> None:
    assert net.take(net.web.url(path))["sha256"] == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://none.test/x", "the name none.test is not known"),
        ("http://srv.test:9/x", "cannot be reached"),
    ],
)
def test_a_host_that_cannot_be_reached_is_named(net: Net, url: str, words: str) -> None:
    net.fail(url, words)


def test_files_together_have_a_limit_too(net: Net) -> None:
    for number in range(5):
        net.web.files[f"/file/{number}"] = bytes(_MIB - 1)

    document = net.server.predict(images=[net.web.url(f"/file/{number}") for number in range(5)])

    assert document["status"] == "failed"
    assert "COG_MAX_INPUT_BYTES" in document["error"]
    net.expect_no_files()


@pytest.mark.parametrize(
    ("length", "count", "words"), [(2 * _MIB, 1, "COG_MAX_FILE_BYTES"), (400_000, 24, "COG_MAX_INPUT_BYTES")]
)
@pytest.mark.parametrize("scheme", ["http", "data"])
def test_the_limit_that_was_reached_is_the_one_that_is_named(
    net: Net, scheme: str, length: int, count: int, words: str
) -> None:
    net.web.files["/file/x"] = bytes(length)
    url = net.web.url("/file/x") if scheme == "http" else "data:;base64," + "A" * (length // 3 * 4)

    document = net.server.predict(images=[url] * count)

    assert document["status"] == "failed"
    assert words in document["error"]


def test_one_failure_among_many_stops_the_others(net: Net) -> None:
    urls = [net.web.url(f"/hang?{number}") for number in range(7)]

    document = net.server.predict(images=[*urls, net.web.url("/status/404")])

    assert (document["status"], "images: " in document["error"], "404" in document["error"]) == ("failed", True, True)
    net.expect_no_files()


# Names.


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("attachment; filename=../../etc/cron.d/x", "x.txt"),
        ('attachment; filename="..\\\\..\\\\evil.png"', "evil.png"),
        ('attachment; filename="/etc/passwd"', "passwd.txt"),
        ("attachment; filename*=UTF-8''%2e%2e%2fevil.png", "evil.png"),
        ("attachment; filename*=nonsense''%ff.png", None),
        ('attachment; filename="-rf"', "rf.txt"),
        ('attachment; filename=".bashrc"', "bashrc.txt"),
        ('attachment; filename=".."', "file.txt"),
        ('attachment; filename=""', None),
        ('attachment; filename="a\x01b\x7f.png"', "a_b_.png"),
        ('attachment; filename="' + "n" * 5000 + '.png"', "n" * 196 + ".png"),
        ('attachment; filename="ä.png"', None),
        ("attachment", None),
        (";;;=;", None),
    ],
    ids=lambda text: ascii(text)[:50],
)
def test_a_name_that_a_server_gives_stays_one_segment(net: Net, value: str, name: str | None) -> None:
    found = net.take(net.web.url(f"/disposition/from-path.txt?value={_quoted(value)}"))

    assert name in (None, found["name"])
    assert "/" not in found["name"]
    assert len(found["name"].encode()) <= 200


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/file/a.png", "a.png"),
        ("/file/a.png?b=c.jpg#d.gif", "a.png"),
        ("/file/-rf", "rf.bin"),
        ("/file/..%2f..%2fetc%2fpasswd", "passwd.bin"),
        ("/file/%2e%2e/x.txt", "x.txt"),
        ("/file/a%00b.png", "a_b.png"),
        ("/file/CON", "CON.bin"),
        ("/file/" + "a" * 5000 + ".png", "a" * 196 + ".png"),
        ("/file/%C3%A4" * 50 + ".png", None),
        ("/file/x." + "e" * 300, None),
        ("/file/", "file.bin"),
        ("/", "file.bin"),
        ("", "file.bin"),
        ("/file/x?type=image/png", "x.png"),
        ("/file/x.tar.gz", "x.tar.gz"),
    ],
    ids=lambda text: ascii(text)[:50],
)
def test_a_name_in_a_url_becomes_a_safe_one(net: Net, path: str, name: str | None) -> None:
    found = net.take(net.web.url(path))

    assert name in (None, found["name"])
    assert len(found["name"].encode()) <= 200


# Credentials.


def test_a_password_in_a_url_is_used_and_never_told(net: Net) -> None:
    url = net.web.url("/private/picture.png").replace("://", "://user:pa%3Ass@")

    with receiving() as receiver:
        answer = net.server.http.post("/predictions", json={"input": {"image": url}, "webhook": receiver.url()})
        document = answer.json()
        receiver.wait_for(lambda: receiver.has_end_of(document["id"]))

    assert document["status"] == "succeeded", document["error"]
    kept = net.server.http.get(f"/predictions/{document['id']}").text
    told = [answer.text, kept, net.server.log.read_text(), *(call.body.decode() for call in receiver.calls)]
    assert not any("pa%3Ass" in text or "pa:ss" in text for text in told)
    assert "referer" not in net.web.of("/private/picture.png")[0].headers


@pytest.mark.parametrize(
    "path", ["/status/403", "/status/500", "/hang", "/truncated", "/redirect/x?to=http://10.0.0.1/"]
)
def test_a_password_in_a_url_is_not_in_its_error(net: Net, path: str) -> None:
    url = net.web.url(path, host="srv.test").replace("://", "://us3r:hush@", 1)

    answer = net.server.http.post("/predictions", json={"input": {"image": url, "images": [url]}})

    assert answer.json()["status"] == "failed"
    assert "hush" not in answer.text
    assert "hush" not in net.server.log.read_text()


@pytest.mark.parametrize(
    "form",
    ["HTTP://u:hush@srv.test:PORT/status/404", "http:hush@srv.test", "http://u:hush@", "http://u:hu\\sh@srv.test/"],
)
def test_a_password_in_a_url_of_an_odd_form_is_not_told_either(net: Net, form: str) -> None:
    answer = net.server.http.post("/predictions", json={"input": {"image": form.replace("PORT", str(net.web.port))}})

    assert answer.json()["status"] == "failed"
    assert "hush" not in str(answer.json()["error"])
    assert "hush" not in net.server.log.read_text()


def test_a_password_goes_to_its_own_origin_only(net: Net, webs: tuple[FileServer, FileServer]) -> None:
    with serving_files() as other:
        for to in (other.url("/file/a"), net.web.url("/file/a", host="srv.test"), "/file/a"):
            net.take(net.web.url(f"/redirect/x?to={to}").replace("://", "://user:secret@", 1))

    first, elsewhere, same = [each for each in net.web.requests if each.path.startswith("/redirect")]
    assert all("authorization" in each.headers for each in (first, elsewhere, same))
    assert "authorization" not in other.requests[0].headers
    by_name, by_address = net.web.of("/file/a")
    assert "authorization" not in by_name.headers
    assert "authorization" in by_address.headers


def test_a_redirect_from_https_to_http_is_refused(
    tmp_path_factory: pytest.TempPathFactory, webs: tuple[FileServer, FileServer]
) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("srv.test").configure_cert(context)
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    with serving_files(tls=context) as secure, serving(folder) as start:
        environment = {"COG_CA_CERT": str(folder / "ca.pem"), "COG_ALLOW_PRIVATE_URLS": "127.0.0.1"}
        net = _net(start, folder, webs, **environment)

        assert net.take(secure.url("/file/a", host="srv.test"))["size"] == len(CONTENT)
        net.fail(secure.url(f"/redirect/x?to={net.web.url()}", host="srv.test"), "from https to http")
        net.fail(secure.url("/file/a", host="8.8.8.8.example.test"), "TLS", "certificate is not trusted")

        assert net.web.connections == 0


# What only looks bad.


@pytest.mark.parametrize(
    "host",
    ["srv.test", "srv.test.", "SRV.test", "8.8.8.8.example.test", "a_b.test", "bücher.test", "srv。test", "127.0.0.1"],
)
def test_what_only_looks_bad_is_fetched(net: Net, host: str) -> None:
    assert net.take(net.web.url("/file/picture.png", host=host))["name"] == "picture.png"


@pytest.mark.parametrize(
    "path",
    [
        "/file/a.png?redirect=http://169.254.169.254/",
        "/file/@127.0.0.2/a.png",
        "/file/a.png#@127.0.0.2",
        "/file/localhost/a.png",
        "/file/100%25/a.png",
        "/file/a;b=c,d/a.png",
        "/file/ä/a.png",
        "/file/%E2%82%AC/a.png",
        "/file/a.png?x=a&y=[1]|{2}",
        "//file//a.png",
        "/file/../file/a.png",
    ],
)
def test_a_path_may_have_anything_in_it(net: Net, path: str) -> None:
    assert net.take(net.web.url(path, host="srv.test"))["name"] == "a.png"


@pytest.mark.slow
def test_a_public_address_is_tried(closed: Net) -> None:
    closed.connections.forget()

    for url in ("http://8.8.8.8/x", "http://[2606:4700:4700::1111]/x"):
        closed.fail(url, "cannot be reached")

    assert [each.host for each in closed.connections.outside()] == ["8.8.8.8", "2606:4700:4700::1111"]
    closed.connections.forget()


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
