"""Clouds on this machine: moto for S3, azurite for Azure, a small one of our own for Google's XML API, and a faulty one.

gcp-storage-emulator does not do for Google: obstore speaks the XML API, of which that has no HEAD, no condition, no parts.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import httpx
import obstore
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from obstore.store import AzureStore, GCSStore, S3Store

from tests.shared import free_port

AZURITE = Path(__file__).parent.parent / "lab/azurite/node_modules/azurite/dist/src/blob/main.js"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
BUCKET = "bucket"
_UP_S = 30.0


@dataclass(frozen=True)
class Cloud:
    """One that runs, with an empty bucket. `denied` are settings of somebody it does not know."""

    scheme: str
    endpoint: str
    environment: dict[str, str]
    denied: dict[str, str]
    store: S3Store | GCSStore | AzureStore
    count_unfinished: Callable[[], int] = lambda: 0
    stop_checking: Callable[[], object] = lambda: None

    def url(self, key: str) -> str:
        return f"{self.scheme}://{BUCKET}/{key}"

    def write(self, key: str, content: bytes, media_type: str = "text/plain") -> None:
        obstore.put(self.store, key, content, attributes={"Content-Type": media_type})

    def read(self, key: str) -> bytes:
        return bytes(obstore.get(self.store, key).bytes())

    def media_type(self, key: str) -> str | None:
        return obstore.get(self.store, key).attributes.get("Content-Type")

    def has(self, key: str) -> bool:
        try:
            obstore.head(self.store, key)
        except FileNotFoundError:
            return False
        return True


@contextlib.contextmanager
def running_s3() -> Iterator[Cloud]:
    """moto's S3; it checks keys and signatures once the bucket and the user are made."""
    port = free_port()
    # Made before it checks: the bucket, the user, its policy, its key.
    settings = {"INITIAL_NO_AUTH_ACTION_COUNT": "4", "MOTO_PORT": str(port)}
    with _process([sys.executable, "-c", _MOTO, str(port)], f"http://127.0.0.1:{port}/moto-api/", settings):
        endpoint = f"http://127.0.0.1:{port}"
        first = {
            "endpoint_url": endpoint,
            "region_name": "us-east-1",
            "aws_access_key_id": "a",
            "aws_secret_access_key": "a",
        }
        boto3.client("s3", **first).create_bucket(Bucket=BUCKET)
        users = boto3.client("iam", **first)
        users.create_user(UserName="cog")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        users.put_user_policy(UserName="cog", PolicyName="all", PolicyDocument=json.dumps(everything))
        key = users.create_access_key(UserName="cog")["AccessKey"]
        config = {
            "aws_endpoint_url_s3": endpoint,
            "access_key_id": key["AccessKeyId"],
            "secret_access_key": key["SecretAccessKey"],
            "region": "us-east-1",
        }
        client = boto3.client(
            "s3",
            **{**first, "aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]},
        )
        environment = {
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }
        yield Cloud(
            scheme="s3",
            endpoint=endpoint,
            environment=environment,
            denied={**environment, "AWS_ACCESS_KEY_ID": "AKIANOBODYKNOWS", "AWS_SECRET_ACCESS_KEY": "wrong-secret"},
            store=S3Store(BUCKET, config=config, client_options={"allow_http": True}),  # type: ignore[arg-type]
            count_unfinished=lambda: len(client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])),
            stop_checking=lambda: httpx.post(f"{endpoint}/moto-api/reset-auth", content="1000000"),
        )


def is_signed_for_s3(url: str, secret: str) -> bool:
    """Whether a URL has AWS's signature, version 4, for GET. moto cannot tell: it fails at signed URLs if it checks."""
    parts = urllib.parse.urlsplit(url)
    asked = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    signature = asked.pop("X-Amz-Signature")
    canonical = f"GET\n{parts.path}\n{_canonical(asked)}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = asked["X-Amz-Credential"].partition("/")[2]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{asked['X-Amz-Date']}\n{scope}\n{digest}"
    return signature == hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _canonical(asked: dict[str, str]) -> str:
    return "&".join(f"{name}={urllib.parse.quote(value, safe='')}" for name, value in sorted(asked.items()))


# moto_server without its reloader and its request log.
_MOTO = """
import logging, sys
from werkzeug.serving import run_simple
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
logging.getLogger("werkzeug").setLevel(logging.ERROR)
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=True)
"""


@contextlib.contextmanager
def running_azure() -> Iterator[Cloud]:
    """azurite, which `tests/lab/azurite/install` installs."""
    port = free_port()
    command = ["node", str(AZURITE), "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    with _process([*command, "--silent", "--skipApiVersionCheck", "--disableTelemetry"], endpoint):
        _make_container(endpoint)
        wrong = base64.b64encode(b"wrong-secret").decode()
        yield Cloud(
            scheme="az",
            endpoint=endpoint,
            environment={
                "AZURE_STORAGE_CONNECTION_STRING": (
                    f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={endpoint};"
                )
            },
            denied={
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": wrong,
                "AZURE_STORAGE_ENDPOINT": endpoint,
            },
            store=AzureStore(
                BUCKET,
                config={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY, "endpoint": endpoint},
                client_options={"allow_http": True},
            ),
        )


def _make_container(endpoint: str) -> None:
    sent = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    headers = "".join(f"{name}:{value}\n" for name, value in sent.items())
    text = f"PUT{chr(10) * 12}{headers}/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
    authorization = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    answer = httpx.put(f"{endpoint}/{BUCKET}?restype=container", headers={**sent, "Authorization": authorization})
    answer.raise_for_status()


@contextlib.contextmanager
def running_gcs(folder: Path) -> Iterator[Cloud]:
    """Google's XML API in this process, and a service account of its own in `folder`."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    google = Google(key.public_key())
    with serving(google.answer) as server:
        account = {
            "type": "service_account",
            "client_email": "cog@example.iam.gserviceaccount.com",
            "private_key_id": "1",
            "private_key": key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode(),
            "gcs_base_url": server.url,
        }
        path = folder / "account.json"
        path.write_text(json.dumps(account), encoding="utf-8")
        yield Cloud(
            scheme="gs",
            endpoint=server.url,
            environment={"GOOGLE_APPLICATION_CREDENTIALS": str(path)},
            denied={"GOOGLE_BASE_URL": server.url, "GOOGLE_BEARER_TOKEN": "wrong-secret"},
            store=GCSStore(
                BUCKET,
                config={"base_url": server.url, "skip_signature": True},
                client_options={"allow_http": True},
                credential_provider=lambda: {"token": "", "expires_at": None},
            ),
            count_unfinished=lambda: len(google.uploads),
        )


@dataclass(frozen=True)
class Request:
    """What came in. Header names are in lower case; `path` is as it was sent, with its query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What goes out. `cut_at`: the connection is reset after so many bytes of the body; -1 before anything is said."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    delay_s: float = 0.0


class Google:
    """Objects behind the XML API, as far as obstore uses it."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        self._key = key
        self._objects: dict[str, tuple[bytes, str]] = {}
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        path, _, query = request.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        signed = "X-Goog-Signature" in asked
        # Nobody, or a service account with a token that it signed itself.
        token = request.headers.get("authorization", "Bearer").removeprefix("Bearer").strip()
        if token and not token.startswith("eyJ"):
            return Answer(403, b"<Error><Code>AccessDenied</Code><Details>cog@example</Details></Error>")
        if signed and not self._is_signed(request, path, asked):
            return Answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        with self._lock:
            return self._answer(request, urllib.parse.unquote(path), asked)

    def _answer(self, request: Request, path: str, asked: dict[str, str]) -> Answer:
        kind = request.headers.get("content-type", "application/octet-stream")
        if request.method == "POST" and "uploads" in asked:
            number = str(len(self.uploads) + 1)
            self.uploads[number] = (kind, {})
            return Answer(200, _xml("InitiateMultipartUploadResult", UploadId=number, Bucket=BUCKET, Key="x"))
        if "uploadId" in asked:
            kind, parts = self.uploads[asked["uploadId"]]
            if request.method == "PUT":
                parts[int(asked["partNumber"])] = request.body
                return Answer(200, headers={"ETag": _etag(request.body)})
            del self.uploads[asked["uploadId"]]
            if request.method == "POST":
                content = b"".join(parts[each] for each in sorted(parts))
                self._objects[path] = (content, kind)
                etag = _etag(content).replace('"', "&quot;")
                return Answer(200, _xml("CompleteMultipartUploadResult", ETag=etag), {"x-goog-generation": "1"})
            return Answer(204)
        if request.method == "PUT":
            if request.headers.get("x-goog-if-generation-match") == "0" and path in self._objects:
                return Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            self._objects[path] = (request.body, kind)
            return Answer(200, headers={"ETag": _etag(request.body), "x-goog-generation": "1"})
        if path not in self._objects:
            return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if request.method == "DELETE":
            del self._objects[path]
            return Answer(204)
        content, kind = self._objects[path]
        if request.headers.get("if-none-match") == _etag(content):
            return Answer(304)
        return Answer(
            200, content, {"ETag": _etag(content), "Content-Type": kind, "Last-Modified": formatdate(usegmt=True)}
        )

    def _is_signed(self, request: Request, path: str, asked: dict[str, str]) -> bool:
        signature = bytes.fromhex(asked.pop("X-Goog-Signature"))
        # obstore signs for Google's own host, wherever the endpoint is.
        host = "storage.googleapis.com"
        canonical = f"{request.method}\n{path}\n{_canonical(asked)}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        scope = asked["X-Goog-Credential"].partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"GOOG4-RSA-SHA256\n{asked['X-Goog-Date']}\n{scope}\n{digest}"
        try:
            self._key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except Exception:
            return False
        return True


class Server:
    """A store over HTTP that answers as it is told, and remembers what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[Request] = []


@contextlib.contextmanager
def serving(answer: Callable[[Request], Answer]) -> Iterator[Server]:
    """Answer on a thread of each connection's own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            request = Request(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(size),
            )
            server.requests.append(request)
            found = answer(request)
            time.sleep(found.delay_s)
            if found.cut_at == -1:
                return self._break()
            self.send_response(found.status)
            for name, value in {"Content-Length": str(len(found.body)), **found.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.body[: found.cut_at])
            if found.cut_at is not None:
                self._break()
            return None

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        def _break(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Http(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: clients hang up in the middle here, as is their right."""

    http = Http(("127.0.0.1", 0), Handler)
    server = Server(http.server_port)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def _xml(name: str, **values: str) -> bytes:
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
    return f"<?xml version='1.0'?><{name}>{inner}</{name}>".encode()


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


@contextlib.contextmanager
def _process(command: list[str], url: str, settings: dict[str, str] | None = None) -> Iterator[None]:
    process = subprocess.Popen(
        command, env={**os.environ, **(settings or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + _UP_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url, trust_env=False)
                break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)
