"""B, D, E: files that come from and go to servers that fail, lie, or must not be asked."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import resource
import ssl
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme

from tests.fakes import clouds
from tests.fakes.connections import Connections
from tests.fakes.file_server import CONTENT, serving_files
from tests.faults.lab import Lab, during, end_of, fault, percentiles, rss_mib, submit, time_to, wait_started
from tests.server.conftest import Server
from tests.server.files.test_url_inputs import NAMES, NOT_ALLOWED, REDIRECTS
from tests.shared import free_port

_MIB = 1 << 20
_INPUTS = """
    import hashlib
    class Predictor(BasePredictor):
        def predict(self, file: Path = None, files: List[Path] = Input(default=[])) -> Any:
            given = ([file] if file else []) + files
            return [hashlib.sha256(each.read_bytes()).hexdigest() for each in given]
"""
_OUTPUTS = """
    class Predictor(BasePredictor):
        def predict(self, count: int = 0, size: int = 0) -> List[Path]:
            made = [Path(f"out{number}.bin") for number in range(count)]
            for path in made:
                if not path.exists() or path.stat().st_size != size:
                    path.write_bytes(path.name.encode().ljust(size, b"x")[:size])
            return made
"""
_OPEN = {"COG_ALLOW_PRIVATE_URLS": "127.0.0.1"}
_SHA256 = hashlib.sha256(CONTENT).hexdigest()


@contextlib.contextmanager
def _watched(lab: Lab, source: str, **environment: str) -> Iterator[tuple[Server, Connections]]:
    """A server whose connections are known."""
    with tempfile.TemporaryDirectory() as folder:
        connections = Connections(Path(folder) / "connections", NAMES)
        with lab.server(source, **{**connections.environment, **environment}) as server:
            connections.forget()
            yield server, connections


def _failure(server: Server, **given: Any) -> tuple[str, float]:
    """The error of a prediction that must fail, and the seconds that it took; nothing may be left of it."""
    started = time.monotonic()
    document = server.predict(**given)
    seconds = time.monotonic() - started
    assert document["status"] == "failed", document
    assert _folders(server) == 0, "files left"
    return str(document["error"]), seconds


def _folders(server: Server) -> int:
    return len(list(server.log.parent.glob("cog-server-*/*")))


@fault(
    "D1", "statuses, unknown names, refused connections, certificates of nobody: said, and asked again where it helps"
)
def broken_sources(lab: Lab, size: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("srv.test").configure_cert(context)
    with serving_files() as web, serving_files(tls=context) as secure:
        table = [
            ("404", web.url("/status/404"), "answered 404", 1),
            ("403", web.url("/status/403"), "answered 403", 1),
            ("500", web.url("/status/500"), "answered 500", 3),
            ("reset", web.url("/reset/x"), "broke", 3),
            ("unknown name", "http://none.test/x", "not known", 0),
            ("refused", f"http://127.0.0.1:{free_port()}/x", "cannot be reached", 0),
            ("TLS", secure.url("/file/x", host="srv.test"), "certificate", 0),
        ]
        figures = []
        with _watched(lab, _INPUTS, **_OPEN) as (server, _):
            for name, url, words, gets in table:
                web.forget()
                error, _ = _failure(server, files=["data:,x", url])
                assert error.startswith("files: "), error
                assert words in error, error
                assert len(web.requests) == gets, (name, len(web.requests))
                figures.append(f"{name} {gets}")
            web.forget()
            assert server.predict(file=web.url("/flaky/x"))["output"] == [_SHA256]
            assert len(web.requests) == 3
        assert not secure.requests, "something was said to who has no certificate"
    return f"{len(table)} of {len(table)} named; GETs: {', '.join(figures)}; 500 twice then 200: succeeded after 3"


@fault("D2", "sources that hang, drip, never end, lie about their length: cut in time and in size", size=4)
def limits(lab: Lab, size: int) -> str:
    """The time limit is a little more than `size`, in seconds."""
    total_s, read_s, limit = size + 0.6, size / 2, 4 * _MIB
    environment = {
        **_OPEN,
        "COG_FILE_TIMEOUT": str(total_s),
        "COG_FILE_READ_TIMEOUT": str(read_s),
        "COG_MAX_FILE_BYTES": str(limit),
    }
    table = [
        ("hang", "/hang", "took too long", read_s),
        ("drip", "/drip", f"longer than {total_s} seconds", total_s),
        ("endless", "/endless", "larger than", 1.0),
        ("length of 1 TB", "/huge", "larger than", 0.5),
        ("10 bytes said, 10 MiB sent", "/liar", "", 0.5),
        ("truncated", "/truncated", "broke", 2.0),
    ]
    figures = []
    most = 0
    with serving_files() as web, lab.server(_INPUTS, **environment) as server:

        def look(stop: threading.Event) -> None:
            nonlocal most
            while not stop.is_set():
                # Folders go while they are looked at.
                with contextlib.suppress(FileNotFoundError):
                    for path in server.log.parent.glob("cog-server-*/*/*/*"):
                        most = max(most, path.stat().st_size)
                time.sleep(0.001)

        with during(look):
            for name, path, words, expected_s in table:
                if words:
                    error, seconds = _failure(server, file=web.url(path))
                    assert words in error, error
                    assert seconds < expected_s + 1.0, (name, seconds)
                    figures.append(f"{name} {seconds:.1f} s")
                else:
                    document = server.predict(file=web.url(path))
                    assert document["status"] == "failed" or document["output"] == [_sha256(b"0123456789")], document
                    figures.append(f"{name} {document['status']}")
    assert most <= limit + _MIB, most
    return f"{', '.join(figures)}; at most {most / _MIB:.1f} MiB on disk with a limit of {limit // _MIB} MiB"


@fault("D3", "this machine, its neighbours, metadata, in every spelling and behind redirects: no connection", size=1)
def inside(lab: Lab, size: int) -> str:
    chain = ["/loop", "", "http://", "/status/404", "/hops/5"]
    forbidden = [to for to, _ in REDIRECTS if to not in chain]
    with serving_files() as web, _watched(lab, _INPUTS) as (server, connections):
        for url in NOT_ALLOWED:
            error, _ = _failure(server, file=url)
            assert "address not allowed" in error, error
        assert connections.tried() == [], connections.tried()
        assert web.connections == 0
    with serving_files() as web, _watched(lab, _INPUTS, **_OPEN) as (server, connections):
        for to in forbidden:
            target = to.replace("PORT", str(web.port)).replace("\\", "%5C")
            _failure(server, file=web.url(f"/redirect/1?to={target}"))
        web.forget()
        assert "more than 5 times" in _failure(server, file=web.url("/loop"))[0]
        assert len(web.requests) == 6, len(web.requests)
        assert connections.tried("127.0.0.1") == [], connections.tried("127.0.0.1")
    return (
        f"{len(NOT_ALLOWED)} URLs and {len(forbidden)} redirects: 0 connections to where they point;"
        " a loop ends after 5 hops"
    )


@fault("D4", "names that change their address between the check and the connection", size=1000)
def rebinding(lab: Lab, size: int) -> str:
    ends: Counter[str] = Counter()
    with serving_files() as web, serving_files(host="127.0.0.2", port=web.port) as forbidden:
        with _watched(lab, _INPUTS, **_OPEN) as (server, connections):
            for number in range(size):
                # Each way round; and a new connection each time, or there is nothing to look up.
                host = "rebind.test" if number % 2 else "rebind-late.test"
                ends[server.predict(file=web.url("/last", host=host))["status"]] += 1
            assert ends["failed"] > 0, ends
            assert ends["succeeded"] > 0, ends
            lookups = sum(each.event == "lookup" and each.host.startswith("rebind") for each in connections.all())
            assert connections.tried("127.0.0.1") == [], connections.tried("127.0.0.1")
        assert forbidden.connections == 0
        reached = web.connections
    return f"{size} tries, {lookups} look-ups: {reached} connections to the allowed address, 0 to the forbidden one"


@fault("D5", "1 GiB packed in 1 MiB, as gzip; br that nobody asked for", size=10)
def bombs(lab: Lab, size: int) -> str:
    with serving_files() as web, lab.server(_INPUTS, COG_MAX_FILE_BYTES=str(32 * _MIB), **_OPEN) as server:
        server.predict(file=web.url("/gzip/plain"))
        before = rss_mib(server.process.pid)
        _forget_peak(server)
        for _ in range(size):
            assert "larger than" in _failure(server, file=web.url("/bomb"))[0]
            assert "not asked for" in _failure(server, file=web.url("/br"))[0]
        growth = _peak_mib(server) - before
        assert growth < 64, growth
    return f"{size} bombs cut at 32 MiB, {size} in br refused; peak {growth:+.0f} MiB"


@fault("D6", "one of eight inputs fails: the others stop, no file is left", size=50)
def one_of_eight(lab: Lab, size: int) -> str:
    times = []
    with serving_files() as web, lab.server(_INPUTS, **_OPEN) as server:
        for number in range(size):
            others = ["/hang", "/drip", "/file/x"]
            urls = [web.url(f"{others[each % 3]}?{number}-{each}") for each in range(7)]
            urls.insert(lab.chance.randrange(8), web.url(f"/status/404?{number}"))
            error, seconds = _failure(server, files=urls)
            assert "answered 404" in error, error
            times.append(seconds)
        time_to(lambda: web.open_now == 0, "a download goes on")
        assert len(web.of("/status/404")) == size
    return f"{size} of {size} failed once, 0 files left, 0 downloads left; {percentiles(times)}"


@fault(
    "D7",
    "the disk is full, for inputs, for uploads and for outputs: said, cleaned up, and over when there is room",
    size=50,
)
def disk_full(lab: Lab, size: int) -> str:
    with tempfile.TemporaryDirectory() as folder, serving_files() as web, _small_disk(folder) as (words, cap):
        web.files["/file/big"] = bytes(32 * _MIB)
        web.files["/file/small"] = CONTENT
        environment = {**_OPEN, "TMPDIR": folder, "COG_FILE_ROOTS": folder}
        with lab.server(_INPUTS, **environment) as server:
            cap(server)
            for number in range(size):
                url = f"data:;base64,{'A' * (24 * _MIB)}" if number % 10 == 9 else web.url("/file/big")
                error, _ = _failure(server, file=url)
                assert error.startswith("file: "), error
                assert words in error, error
                answer = server.http.post("/predictions", files={"file": ("big", bytes(20 * _MIB))})
                assert answer.status_code == 507, answer.text
                assert words in answer.text, answer.text
                assert not any(Path(folder).glob("cog-server-*/*")), list(Path(folder).rglob("*"))
                assert server.predict(file=web.url("/file/small"))["output"] == [_SHA256]
        with lab.server(_OUTPUTS, **environment) as server:
            given = {"output_path": f"file://{folder}/out", "input": {"count": 3, "size": 6 * _MIB}}
            # The model's own files are on the large disk, beside it.
            for _ in range(size):
                if words == "File too large":
                    break
                document = server.http.post("/predictions", json=given).json()
                assert document["status"] == "failed", document["status"]
                assert words in document["error"], document["error"]
                assert not list(Path(folder).glob("out/*")), "a part of an output is left"
            given["input"] = {"count": 1, "size": 10}
            assert server.http.post("/predictions", json=given).json()["status"] == "succeeded"
    return f"{size} of {size} inputs and outputs failed with {words!r}, {size} of {size} uploads answered 507; server alive, next one fine"


@contextlib.contextmanager
def _small_disk(folder: str) -> Iterator[tuple[str, Any]]:
    """Make `folder` a disk of 16 MiB; who may not is given what limits a server's files instead."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "cog-test", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        yield (
            "File too large",
            lambda server: resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (16 * _MIB, 16 * _MIB)),
        )
        return
    try:
        yield "No space left", lambda server: None
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@fault("D8", "S3 that denies, asks to slow down, has no credentials, is in another region", size=1)
def cloud_faults(lab: Lab, size: int) -> str:
    def code(status: int, name: str, **headers: str) -> clouds.Answer:
        body = f"<Error><Code>{name}</Code><HostId>host-id</HostId><RequestId>request-id</RequestId></Error>"
        return clouds.Answer(status, body.encode(), dict(headers))

    with serving_files() as elsewhere:
        moved = {"Location": elsewhere.url("/status/404")}
        table = [
            ("denied", code(403, "AccessDenied"), "access denied", range(1, 2)),
            ("wrong key", code(403, "InvalidAccessKeyId"), "access denied", range(1, 2)),
            ("no such key", code(404, "NoSuchKey"), "no such file", range(1, 2)),
            ("slow down", code(503, "SlowDown"), "slow down", range(2, 4)),
            ("another region", code(301, "PermanentRedirect"), "another region", range(1, 2)),
            ("sent elsewhere", code(307, "TemporaryRedirect", **moved), "", range(1, 2)),
        ]
        keys = {"AWS_ACCESS_KEY_ID": "AKIAOFNOBODY", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_REGION": "us-east-1"}
        figures = []
        answer = clouds.Answer()
        with clouds.serving(lambda request: answer) as store:
            environment = {**keys, "AWS_ENDPOINT_URL_S3": store.url}
            # Not the lab's server: what the clouds' library opens once, it keeps.
            server = lab.serve(_INPUTS, environment=environment)
            for name, given, words, requests in table:
                answer = given
                store.requests.clear()
                error, seconds = _failure(server, file="s3://bucket/key")
                assert error.startswith("file: "), error
                assert words in error, error
                assert not any(each in error for each in ("AKIAOFNOBODY", "host-id", "request-id", "hush")), error
                assert len(store.requests) in requests, (name, len(store.requests))
                assert seconds < 10, seconds
                figures.append(f"{name} {len(store.requests)} in {seconds:.1f} s")
        sent = [name for each in elsewhere.requests for name in each.headers if name == "authorization"]
        assert not sent, sent
    return f"requests: {', '.join(figures)}; 0 signatures to a redirect's target"


@fault("D9", "a huge data: URL", size=64)
def huge_data_url(lab: Lab, size: int) -> str:
    """`size` is its content in MiB."""
    body = b'{"input":{"file":"data:application/octet-stream;base64,%s"}}' % base64.b64encode(bytes(size * _MIB))
    headers = {"content-type": "application/json"}
    with lab.server(_INPUTS, COG_MAX_BODY_BYTES=str(200 * _MIB)) as server:
        before = rss_mib(server.process.pid)
        _forget_peak(server)
        document = server.http.post("/predictions", content=body, headers=headers, timeout=60).json()
        assert document["output"] == [_sha256(bytes(size * _MIB))], document["error"]
        peak = _peak_mib(server) - before
    with lab.server(_INPUTS, COG_MAX_FILE_BYTES=str(size * _MIB // 2)) as server:
        answer = server.http.post("/predictions", content=body, headers=headers, timeout=60).json()
        assert "larger than" in answer["error"], answer["error"]
    # Of a small one the server's own few MiB are the most.
    assert peak < 3 * size + 64, peak
    text = len(body) / _MIB
    return (
        f"{size} MiB in {text:.0f} MiB of text: peak {peak:+.0f} MiB, {peak / size:.1f} times the content and"
        f" {peak / text:.1f} times the text; over the limit: failed by its length"
    )


@fault(
    "D10",
    "one URL several times in a prediction that is canceled in the middle: no file left, every slot back",
    size=200,
)
def same_url_canceled(lab: Lab, size: int) -> str:
    times = []
    with serving_files() as web, lab.server(_INPUTS, COG_INPUT_CACHE_MB="1", **_OPEN) as server:
        for number in range(size):
            url = web.url(("/drip", "/hang", "/etag/x", "/reset/x")[number % 4])
            submit(server.http, id=f"d{number}", input={"file": url, "files": [url, url]})
            time.sleep(lab.chance.random() * 0.03)
            server.http.post(f"/predictions/d{number}/cancel")
            started = time.monotonic()
            assert end_of(server.http, f"d{number}")["status"] in ("canceled", "succeeded", "failed")
            times.append(time.monotonic() - started)
        assert server.predict(file=web.url("/etag/x"), files=[web.url("/etag/x")])["output"] == [_SHA256] * 2
        left = [each for each in server.log.parent.glob("cog-server-*/*") if each.name != "cache"]
        assert not left, left
        time_to(lambda: web.open_now == 0, "a download goes on")
    return f"{size} of {size} ended, {percentiles(times)}; 0 files left, 0 slots lost"


@fault(
    "E8",
    "stores that answer 5xx, break in the middle, are slow: every byte arrives, from the first one each time",
    size=60,
)
def broken_stores(lab: Lab, size: int) -> str:
    tries = 0
    length = 3 * _MIB
    with serving_files() as web, lab.server(_OUTPUTS, **_OPEN) as server:
        for number in range(size):
            folder = ("/flaky", "/reset/once", "/slow", "/put")[number % 4] + f"/{number}"
            body = {
                "output_path": web.url(folder),
                "input": {"count": 1, "size": length if "slow" not in folder else _MIB},
            }
            document = server.http.post("/predictions", json=body).json()
            assert document["output"] == [web.url(f"{folder}/out0.bin")], document["error"]
            expected = b"out0.bin".ljust(body["input"]["size"], b"x")  # type: ignore[index]
            assert web.stored[f"{folder}/out0.bin"].sha256 == _sha256(expected)
            puts = web.of(f"{folder}/out0.bin", "PUT")
            assert all(expected.startswith(each.body) for each in puts), "a try did not begin at the first byte"
            tries += len(puts)
            web.stored.clear()
            web.requests.clear()
        for status, count in ((500, 3), (403, 1)):
            body = {"output_path": web.url(f"/status/{status}"), "input": {"count": 1, "size": 10}}
            document = server.http.post("/predictions", json=body).json()
            assert f"answered {status}" in document["error"], document
            assert len(web.of(f"/status/{status}/out0.bin")) == count
        assert not web.stored
    return f"{size} of {size} exact by SHA-256 in {tries} PUTs; 500 for ever: 3 tries, 403: 1, then failed"


@fault("E8", "cancels in the middle of uploads: canceled at once, the slot is back", size=100)
def canceled_uploads(lab: Lab, size: int) -> str:
    times = []
    with serving_files() as web, lab.server(_OUTPUTS, **_OPEN) as server:
        for number in range(size):
            manner = ("/hang", "/slow", "/reset", "/flaky")[number % 4]
            body = {
                "id": f"u{number}",
                "output_path": web.url(f"{manner}/{number}"),
                "input": {"count": 9, "size": 5 * _MIB},
            }
            submit(server.http, **body)
            wait_started(server.http, f"u{number}")
            time.sleep(lab.chance.random() * 0.1)
            started = time.monotonic()
            server.http.post(f"/predictions/u{number}/cancel")
            document = end_of(server.http, f"u{number}")
            times.append(time.monotonic() - started)
            assert document["status"] == "canceled", (manner, document["status"], document["error"])
            assert document["output"] is None, document["output"]
            assert server.predict(count=0)["output"] == []
        time_to(lambda: web.open_now == 0, "an upload goes on")
        assert not web.stored, f"of what was canceled is left: {sorted(web.stored)}"
    return f"{size} of {size} canceled, slot back, 0 files left in the store; {percentiles(times)}"


@fault(
    "B7", "output files that are none, are not the model's, or change: failed with a reason; odd names: cleaned", size=1
)
def odd_outputs(lab: Lab, size: int) -> str:
    source = """
        import socket, threading
        def grow(path):
            for _ in range(3000):
                with open(path, "ab") as file:
                    file.write(b"x")
                time.sleep(0.001)
        class Predictor(BasePredictor):
            def setup(self):
                for name in ("link", "loop", "dir", "pipe", "zero", "gone"):
                    if os.path.lexists(name):
                        os.unlink(name)
                os.symlink("/etc/passwd", "link")
                os.symlink("loop", "loop")
                os.symlink("/etc", "dir")
                os.mkfifo("pipe")
                os.symlink("/dev/zero", "zero")
                os.symlink("nothing", "gone")
                os.makedirs("sub", exist_ok=True)
                plug = socket.socket(socket.AF_UNIX)
                plug.bind("plug")
            def predict(self, name: str = "", content: str = "content", grows: bool = False) -> Any:
                if grows:
                    Path(name).write_bytes(b"x" * 30_000_000)
                    threading.Thread(target=grow, args=[name], daemon=True).start()
                elif name and content:
                    Path(name).write_text(content)
                return Path(name) if name else "fine"
        """
    refused = ["/etc/passwd", "link", "loop", "dir/passwd", "dir", "pipe", "plug", "zero", "gone", "sub", "missing"]
    refused += ["/dev/null", "/dev/zero", "/proc/self/environ", "sub/../../../../../etc/passwd", ".", "x" * 300, "a\0b"]
    names = ["a\r\nb.png", "a\"b'.png", "n" * 255, "-rf", "..x", "ä.png", "a b?c#d%2f.png", "; rm -rf ~"]
    with serving_files() as web, lab.server(source, COG_FILE_TIMEOUT="10", **_OPEN) as server:
        workers = server.worker_pids()
        for output_path in (None, web.url("/put/{id}")):
            for name in refused:
                body = {"input": {"name": name, "content": ""}, "output_path": output_path}
                document = server.http.post("/predictions", json=body).json()
                assert document["status"] == "failed", (name, document)
                assert document["error"], name
                assert "root:" not in str(document), name
                assert not web.stored
            for name in names:
                body = {"input": {"name": name}, "output_path": output_path}
                document = server.http.post("/predictions", json=body).json()
                assert document["status"] == "succeeded", (name, document["error"])
                if output_path:
                    (stored,) = web.stored.values()
                    assert stored.body == b"content"
                    assert stored.path.rpartition("/")[2].replace("_", "").replace(".", "").replace("-", "").isalnum()
                    web.stored.clear()
        body = {"input": {"name": "grows.bin", "grows": True}, "output_path": web.url("/put")}
        document = server.http.post("/predictions", json=body).json()
        assert "changed while it was stored" in (document["error"] or ""), document
        assert not web.stored
        assert server.worker_pids() == workers
        assert server.predict()["output"] == "fine"
    count = 2 * (len(refused) + len(names)) + 1
    return f"{count} of {count} as they should; 0 bytes from outside, 0 torn files, 0 restarts"


@fault("B7", "an output of many files: few at a time, few descriptors", size=10_000)
def many_outputs(lab: Lab, size: int) -> str:
    most = 0
    with serving_files() as web, lab.server(_OUTPUTS, **_OPEN) as server:
        before = _fds(server)

        def look(stop: threading.Event) -> None:
            nonlocal most
            while not stop.wait(0.05):
                most = max(most, _fds(server))

        body = {"output_path": web.url("/put"), "input": {"count": size, "size": 10}}
        started = time.monotonic()
        with during(look):
            document = server.http.post("/predictions", json=body, timeout=300).json()
        seconds = time.monotonic() - started
        assert document["status"] == "succeeded", document["error"]
        assert document["output"] == [web.url(f"/put/out{number}.bin") for number in range(size)]
        assert len(web.stored) == size
        assert web.most_open <= 8, web.most_open
        assert most <= before + 24, (most, before)
    return f"{size} files in order in {seconds:.1f} s: at most {web.most_open} PUTs at once, {most - before:+d} descriptors"


def _fds(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _forget_peak(server: Server) -> None:
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def _peak_mib(server: Server) -> float:
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the server is gone")
