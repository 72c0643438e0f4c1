"""Images really built, run, predicted against and inspected."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image as Picture

from tests.conftest import REPOSITORY, Cog
from tests.integration.names import RUN, docker, image_name, running

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ENLARGE = REPOSITORY / "examples" / "enlarge"
IMAGE = image_name("enlarge")
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def inspect(image: str) -> dict[str, object]:
    [document] = json.loads(docker("image", "inspect", image))
    assert isinstance(document, dict)
    return document


def layers(image: str) -> list[str]:
    return json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))  # type: ignore[no-any-return]  # JSON


@pytest.fixture(scope="module")
def enlarge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, built as IMAGE."""
    folder = tmp_path_factory.mktemp("enlarge")
    for path in ENLARGE.iterdir():
        if path.is_file() and not path.name.startswith("output"):
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "run-of-tests").write_text(RUN)
    answer = subprocess.run(
        [sys.executable, "-m", "cog_cli", "build", "-t", IMAGE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == f"{IMAGE}\n"
    assert f"Built {IMAGE} (" in answer.stderr
    return folder


@contextlib.contextmanager
def serving(image: str, *options: str) -> Iterator[httpx.Client]:
    """A client of a container of `image` that is ready; the container must end in order."""
    name = f"{image}-served"
    docker("run", "-d", "--name", name, "-p", "127.0.0.1::5000", *options, image)
    try:
        client = httpx.Client(base_url=f"http://{docker('port', name, '5000')}", timeout=60, trust_env=False)
        deadline = time.monotonic() + 60
        while True:
            try:
                if client.get("/readyz").status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, docker("logs", name)
            time.sleep(0.1)
        yield client
        started = time.monotonic()
        docker("stop", name)
        assert time.monotonic() - started < 8, "the container does not end on SIGTERM"
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name) in ("0", "143")
    finally:
        docker("rm", "-f", name, check=False)


@pytest.fixture(scope="module")
def served(enlarge: Path) -> Iterator[httpx.Client]:
    with serving(IMAGE) as client:
        yield client


def test_predict_writes_a_picture_twice_as_large(enlarge: Path, cog: Cog) -> None:
    answer = cog("predict", IMAGE, "-i", "input=@picture.jpg", "-i", "scale=2", folder=enlarge)

    assert answer.returncode == 0, answer.stderr
    with Picture.open(enlarge / "picture.jpg") as before, Picture.open(enlarge / "output.jpg") as after:
        assert after.size == (before.width * 2, before.height * 2)
    assert "enlarging 160 x 120" in answer.stderr
    assert not running()


def test_the_image_serves_predictions_the_manual_and_its_schema(served: httpx.Client) -> None:
    prediction = served.post("/predictions", json={"input": {"input": PIXEL, "scale": 3}}).json()
    bare = served.post("/predict", json={"input": PIXEL}).json()

    assert prediction["status"] == "succeeded", prediction
    assert prediction["output"].startswith("data:image/jpeg;base64,")
    assert bare["output"].startswith("data:image/jpeg;base64,")
    assert "swagger-ui" in served.get("/docs").text
    schema = served.get("/openapi.json").json()
    assert schema["components"]["schemas"]["Input"]["properties"]["input"]["title"] == "Image to enlarge"
    assert served.get("/health-check").json()["status"] == "READY"
    assert served.get("/").json()["docs_url"] == "/docs"
    assert served.post("/predictions", json={"input": {}}).json()["detail"][0]["loc"] == ["body", "input", "input"]


def test_the_container_is_healthy_for_docker_too(served: httpx.Client) -> None:
    code = docker("exec", f"{IMAGE}-served", "/opt/cog/venv/bin/python", "-m", "cog_server.probe")

    assert code == ""


def test_the_model_sees_cog_and_its_own_packages_only(enlarge: Path, cog: Cog) -> None:
    script = "import cog, PIL, importlib.util as u; print(u.find_spec('fastapi'), u.find_spec('cog_server'))"
    answer = cog("exec", "python", "-c", script, folder=enlarge)

    assert answer.stdout.strip() == "None None", answer.stderr


def test_labels_and_a_file_tell_config_schema_packages_and_version(enlarge: Path) -> None:
    labels = inspect(IMAGE)["Config"]["Labels"]  # type: ignore[index]  # JSON

    assert json.loads(labels["run.cog.config"])["predict"] == "predict.py:Predictor"
    assert "scale" in json.loads(labels["run.cog.openapi_schema"])["components"]["schemas"]["Input"]["properties"]
    assert "pillow==" in labels["run.cog.pip_freeze"].lower()
    assert labels["run.cog.version"]
    assert labels["org.opencontainers.image.created"]
    schema = docker("run", "--rm", "--entrypoint", "cat", IMAGE, ".cog/openapi_schema.json")
    assert schema.strip() == labels["run.cog.openapi_schema"]


def test_an_edit_of_predict_py_makes_only_the_last_layer_new(enlarge: Path, cog: Cog) -> None:
    before = layers(IMAGE)
    source = (enlarge / "predict.py").read_text()
    (enlarge / "predict.py").write_text(source.replace("a filter", "one filter"))

    answer = cog("build", "-t", image_name("enlarge-edited"), folder=enlarge)

    assert answer.returncode == 0, answer.stderr
    after = layers(image_name("enlarge-edited"))
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]


def test_nothing_changed_means_the_same_image(enlarge: Path, cog: Cog) -> None:
    before = inspect(IMAGE)["Id"]
    cog("build", "-t", IMAGE, folder=enlarge)
    once = inspect(IMAGE)["Id"]
    cog("build", "-t", IMAGE, folder=enlarge)

    assert inspect(IMAGE)["Id"] == once
    assert before  # The first one may differ: another test edits the source.


def test_a_secret_is_in_no_layer_and_in_no_history(project: Callable[..., Path], cog: Cog, tmp_path: Path) -> None:
    canary = "canary-3f9c2e71"
    (tmp_path / "token").write_text(canary)
    folder = project(
        {
            "cog.yaml": """
build:
  python_version: "3.11"
  run:
    - command: sha256sum < /run/token > /checked
      mounts:
        - type: secret
          id: token
          target: /run/token
    - command: printf '%s' "$(sha256sum < /etc/hostname)" > /other
predict: "predict.py:Predictor"
"""
        }
    )

    answer = cog("build", "-t", image_name("secret"), "--secret", f"id=token,src={tmp_path}/token", folder=folder)

    assert answer.returncode == 0, answer.stderr
    assert canary not in answer.stderr
    assert canary not in docker("history", "--no-trunc", image_name("secret"))
    saved = subprocess.run(["docker", "save", image_name("secret")], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is None or canary.encode() not in file.read(), member.name
    assert docker("run", "--rm", "--entrypoint", "cat", image_name("secret"), "/checked")


def test_running_out_of_memory_is_named_and_survived(project: Callable[..., Path], cog: Cog) -> None:
    source = "from cog import BasePredictor\n\n\nclass Predictor(BasePredictor):\n"
    source += "    def predict(self, mib: int = 0) -> int:\n        return sum(map(len, [bytearray(1 << 20) for _ in range(mib)]))\n"
    cog("build", "-t", image_name("memory"), folder=project({"predict.py": source}))
    with serving(image_name("memory"), "--memory", "300m", "--memory-swap", "300m") as client:
        for _ in range(2):
            starved = client.post("/predictions", json={"input": {"mib": 2000}}).json()
            assert starved["status"] == "failed"
            assert "killed by signal 9 (SIGKILL): out of memory, says the kernel" in starved["error"]
            assert client.post("/predictions", json={"input": {"mib": 1}}).json()["output"] == 1 << 20


@pytest.mark.lab
def test_a_python_too_old_for_the_server_gets_its_own(project: Callable[..., Path], cog: Cog) -> None:
    folder = project({"cog.yaml": 'build:\n  python_version: "3.8"\npredict: "predict.py:Predictor"\n'})

    answer = cog("predict", "-i", "text=old", folder=folder, environment=_mirror())

    assert (answer.returncode, answer.stdout) == (0, "hello old\n"), answer.stderr


@pytest.mark.lab
def test_a_cuda_image_without_python_gets_one(project: Callable[..., Path], cog: Cog) -> None:
    config = """
build:
  gpu: true
  cuda: "12.4"
  cudnn: "9"
  python_version: "3.11"
predict: "predict.py:Predictor"
"""
    folder = project({"cog.yaml": config})

    answer = cog("predict", "-i", "text=cuda", folder=folder, environment=_mirror())

    assert (answer.returncode, answer.stdout) == (0, "hello cuda\n"), answer.stderr
    assert "no GPU driver: going on without" in answer.stderr


def _mirror() -> dict[str, str]:
    """Where the lab serves CPython builds for uv."""
    return {"UV_PYTHON_DOWNLOADS_JSON_URL": "http://172.17.0.1:8484/downloads.json"}


@pytest.mark.lab
def test_an_explicit_gpu_request_without_a_driver_is_an_error(enlarge: Path, cog: Cog) -> None:
    answer = cog("predict", IMAGE, "--gpus", "all", "-i", "input=@picture.jpg", folder=enlarge)

    assert answer.returncode == 1
    assert "no GPU driver" in answer.stderr
    assert not running()


def test_a_build_command_that_fails_names_its_key_and_shows_its_last_lines(
    project: Callable[..., Path], cog: Cog
) -> None:
    config = """
build:
  python_version: "3.11"
  run:
    - echo fine
    - echo before the end; exit 3
predict: "predict.py:Predictor"
"""
    answer = cog("build", "-t", image_name("broken"), folder=project({"cog.yaml": config}))

    assert answer.returncode == 1
    assert "build.run[1]" in answer.stderr.splitlines()[-2:][0] + answer.stderr
    assert "before the end" in "\n".join(answer.stderr.splitlines()[-4:])
    assert docker("images", "-q", image_name("broken")) == ""


def test_a_package_that_does_not_exist_names_the_key(project: Callable[..., Path], cog: Cog) -> None:
    config = """
build:
  python_version: "3.11"
  python_packages: ["no-such-package-4711==1.0"]
predict: "predict.py:Predictor"
"""
    answer = cog("build", "-t", image_name("broken"), folder=project({"cog.yaml": config}))

    assert answer.returncode == 1
    assert "build.python_packages" in answer.stderr
    assert "no-such-package-4711" in "\n".join(answer.stderr.splitlines()[-20:])


def test_an_unknown_base_image_is_one_line_with_its_key(project: Callable[..., Path], cog: Cog) -> None:
    config = """
build:
  python_version: "3.11"
  base_image: "no-such-registry.invalid/nobody/nothing:1"
predict: "predict.py:Predictor"
"""
    answer = cog("build", "-t", image_name("broken"), folder=project({"cog.yaml": config}))

    assert answer.returncode == 1
    assert "no-such-registry.invalid/nobody/nothing:1" in answer.stderr
    assert "build.base_image" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("moment_s", [0.4, 3.0])
def test_ctrl_c_in_a_build_leaves_no_image(project: Callable[..., Path], moment_s: float) -> None:
    config = 'build:\n  python_version: "3.11"\n  run: ["sleep 60"]\npredict: "predict.py:Predictor"\n'
    docker("rmi", "-f", image_name("interrupted"), check=False)
    process = _start("build", "-t", image_name("interrupted"), folder=project({"cog.yaml": config}))
    time.sleep(moment_s)

    process.send_signal(signal.SIGINT)

    _, errors = process.communicate(timeout=20)
    # CPython ends by the signal itself if that came in an eval(), such as namedtuple's; to a shell both are 130.
    assert process.returncode in (130, -signal.SIGINT), errors
    assert "Traceback" not in errors
    assert docker("images", "-q", image_name("interrupted")) == ""


def test_ctrl_c_in_a_prediction_leaves_no_container(project: Callable[..., Path]) -> None:
    source = "import time\nfrom cog import BasePredictor\n\n\nclass Predictor(BasePredictor):\n"
    source += "    def predict(self) -> str:\n        print('it runs', flush=True)\n        time.sleep(60)\n        return ''\n"
    process = _start("predict", folder=project({"predict.py": source}))
    assert process.stderr is not None
    for line in process.stderr:
        if "it runs" in line:
            break

    process.send_signal(signal.SIGINT)

    process.communicate(timeout=20)
    assert process.returncode == 130
    assert not running()


def test_serve_mounts_the_source_and_ctrl_c_stops_it(project: Callable[..., Path]) -> None:
    folder = project()
    process = _start("serve", "-p", "0", folder=folder)
    try:
        assert process.stderr is not None
        url = next(line.split()[2] for line in process.stderr if line.startswith("Serving at"))
        first = httpx.post(f"{url}/predictions", json={"input": {"text": "a"}}, trust_env=False).json()
        assert first["output"] == "hello a"
        [container] = running()
        source = (folder / "predict.py").read_text()
        (folder / "predict.py").write_text(source.replace("hello", "goodbye"))
        docker("exec", container, "grep", "-q", "goodbye", "/src/predict.py")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert not running()


def test_serve_on_a_port_in_use_says_so(project: Callable[..., Path], cog: Cog) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        answer = cog("serve", "-p", port, folder=project())

    assert answer.returncode == 1
    assert port in answer.stderr
    assert not running()


def test_exec_hands_stdin_on(project: Callable[..., Path], cog: Cog) -> None:
    answer = cog("exec", "-e", "WHO=me", "sh", "-c", "cat; echo $WHO", folder=project(), stdin="from stdin\n")

    assert (answer.returncode, answer.stdout) == (0, "from stdin\nme\n"), answer.stderr


def test_the_proxies_of_the_shell_reach_the_steps_and_stay_out_of_the_image(
    project: Callable[..., Path], cog: Cog
) -> None:
    image = image_name("proxy")
    config = 'build:\n  python_version: "3.11"\n  run: [\'%s\']\npredict: "predict.py:Predictor"\n'
    # What needs the network is in the cache by then: the proxy does not exist.
    assert cog("build", "-t", image, folder=project({"cog.yaml": config % "echo"})).returncode == 0
    folder = project({"cog.yaml": config % 'echo "$HTTPS_PROXY $https_proxy $NO_PROXY $no_proxy" > /proxies'})
    proxies = {"https_proxy": "http://proxy.test:3128", "HTTPS_PROXY": "", "NO_PROXY": "inside.test"}

    built = cog("build", "-t", image, folder=folder, environment=proxies)

    assert built.returncode == 0, built.stderr
    seen = docker("run", "--rm", "--entrypoint", "cat", image, "/proxies")
    assert seen.split() == ["http://proxy.test:3128"] * 2 + ["inside.test"] * 2
    for question in (["inspect"], ["history", "--no-trunc"]):
        assert ".test:3128" not in docker(*question, image)


def _start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cog_cli", *arguments],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_exec_needs_no_predictor_and_its_container_knows_this_machine(project: Callable[..., Path], cog: Cog) -> None:
    folder = project({"cog.yaml": 'build:\n  python_version: "3.11"\n', "predict.py": None})
    script = "import socket; print(socket.gethostbyname('host.docker.internal'))"

    answer = cog("exec", "python", "-c", script, folder=folder)

    assert answer.returncode == 0, answer.stderr
    assert ipaddress.ip_address(answer.stdout.strip()).is_private
