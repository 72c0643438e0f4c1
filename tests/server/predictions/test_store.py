"""The stores, held to the same promises; and the server that uses them, over restarts and crashes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cog_server.predictions.prediction import Prediction, Status
from cog_server.predictions.store.base import Message, Record, Store, StoreError
from cog_server.predictions.store.memory import MemoryStore
from cog_server.predictions.store.sqlite import SqliteStore
from tests.server.conftest import Serve, Server, wait_until

WAITING = """
    class Predictor(BasePredictor):
        def predict(self, seconds: float = 0.0) -> str:
            time.sleep(seconds)
            return "done"
"""

KINDS = {"memory": lambda path: MemoryStore(5), "sqlite": lambda path: SqliteStore(path / "store.sqlite", 5)}


def run(kind: str, path: Path, work: Callable[[Store], Awaitable[None]]) -> None:
    async def go() -> None:
        store = KINDS[kind](path)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(go())


def record(number: int, status: str = "succeeded") -> Record:
    return Record(f"p{number}", status, f"2026-01-01T00:00:{number:02}+00:00", b'{"n":%d}' % number)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_newest_first_and_miss_nothing(kind: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        numbers = [0, 1, 2, 3, 4]
        random.Random(1).shuffle(numbers)
        for number in numbers:
            await store.save(record(number, "failed" if number == 2 else "succeeded"))
        seen, before = [], None
        while page := await store.page(status=None, before=before, limit=2):
            seen += [each.id for each in page]
            before = page[-1].cursor
        assert seen == ["p4", "p3", "p2", "p1", "p0"]
        assert [each.id for each in await store.page(status="failed", before=None, limit=9)] == ["p2"]

    run(kind, tmp_path, work)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_replaces_an_older_one_and_can_be_deleted(kind: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.save(record(1, "failed"))
        await store.save(record(1))
        found = await store.find("p1")
        assert found is not None
        assert found.status == "succeeded"
        assert await store.delete("p1")
        assert not await store.delete("p1")
        assert await store.find("p1") is None

    run(kind, tmp_path, work)


def test_memory_keeps_the_newest_only(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        for number in range(9):
            await store.save(record(number))
        assert len(await store.page(status=None, before=None, limit=99)) == 5
        assert await store.find("p8") is not None

    run("memory", tmp_path, work)


def test_a_file_keeps_the_newest_and_all_that_run(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.save(Record("running", "processing", "2025-01-01T00:00:00+00:00", b"{}"))
        for number in range(600):
            await store.save(Record(f"p{number}", "succeeded", f"2026-01-01T00:00:00.{number:06}+00:00", b"{}"))
        kept = await store.page(status=None, before=None, limit=10_000)
        assert len(kept) < 5 + 256
        assert await store.find("running") is not None

    run("sqlite", tmp_path, work)


def test_messages_are_owed_until_they_are_settled_in_order(tmp_path: Path) -> None:
    def message(number: int) -> Message:
        return Message(f"m{number}", "p1", "completed", "http://h/", b"{}")

    async def first(store: Store) -> None:
        await store.save(record(1), owed=(message(1),))
        await store.owe((message(2), message(3), message(2)))

    async def second(store: Store) -> None:
        assert [each.id for each in await store.owed()] == ["m1", "m2", "m3"]
        await store.settle("m2")
        assert [each.id for each in await store.owed()] == ["m1", "m3"]

    run("sqlite", tmp_path, first)
    run("sqlite", tmp_path, second)


def test_an_end_is_shown_only_once_it_is_announced() -> None:
    async def work() -> None:
        prediction = Prediction("a", {})
        prediction.start()
        prediction.finish(Status.FAILED, error="no")
        shown = json.loads(prediction.snapshot_json())
        assert (shown["status"], shown["error"], shown["completed_at"]) == ("processing", None, None)
        prediction.announce()
        assert json.loads(prediction.snapshot_json())["status"] == "failed"
        assert prediction.snapshot_json() == prediction.final_json()

    asyncio.run(work())


def test_a_store_has_one_server(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        with pytest.raises(StoreError, match="in use by another server"):
            await SqliteStore(tmp_path / "store.sqlite", 5).open()

    run("sqlite", tmp_path, work)


def test_a_store_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.save(record(1))

    run("sqlite", tmp_path, work)

    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


# --- the server ------------------------------------------------------------------------------------------------------


def stored(path: Path) -> dict[str, str]:
    return {"COG_STORE": f"sqlite:///{path}"}


def test_predictions_survive_a_restart(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "predictions.sqlite"
    server = serve(WAITING, environment=stored(path))
    before = server.http.put("/predictions/kept", json={}).json()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0

    again = serve(WAITING, environment=stored(path))

    assert again.http.get("/predictions/kept").json() == before
    assert again.http.put("/predictions/kept", json={}).json() == before
    assert [each["id"] for each in again.http.get("/predictions").json()["results"]] == ["kept"]


def test_a_prediction_that_a_crash_cut_short_is_failed_with_the_reason(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "predictions.sqlite"
    server = serve(WAITING, environment=stored(path))
    for name in ("running", "waiting"):
        given = {"id": name, "input": {"seconds": 60}}
        assert server.http.post("/predictions", json=given, headers={"prefer": "respond-async"}).status_code == 202
    server.process.kill()
    server.process.wait(10)

    again = serve(WAITING, environment=stored(path))

    for name in ("running", "waiting"):
        document = again.http.get(f"/predictions/{name}").json()
        assert document["status"] == "failed"
        assert document["error"] == "the server stopped while the prediction ran"
        assert document["input"] == {"seconds": 60}
        assert document["completed_at"] > document["created_at"]


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_no_accepted_prediction(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "predictions.sqlite"
    accepted: list[str] = []
    chance = random.Random(7)
    for _ in range(3):
        server = serve(WAITING, environment=stored(path))
        for _ in range(chance.randrange(5, 25)):
            answer = server.http.post("/predictions", json={}, headers={"prefer": "respond-async"})
            accepted.append(answer.json()["id"])
        server.process.kill()
        server.process.wait(10)

    server = serve(WAITING, environment=stored(path))

    statuses = [server.http.get(f"/predictions/{each}").json()["status"] for each in accepted]
    assert set(statuses) <= {"succeeded", "failed"}
    assert len(statuses) == len(set(accepted))


@pytest.mark.parametrize("value", ["postgres://x", "sqlite:///", "/tmp/x"])
def test_a_store_of_another_kind_is_said_at_start(value: str, serve: Serve) -> None:
    with pytest.raises(AssertionError, match=r"COG_STORE is .*; it must be sqlite:///file"):
        serve(WAITING, environment={"COG_STORE": value})


def test_a_store_that_cannot_be_opened_is_said_at_start(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(AssertionError, match=r"cog: .*predictions\.sqlite: File exists") as caught:
        serve(WAITING, environment=stored(tmp_path / "file" / "predictions.sqlite"))
    assert "Traceback" not in str(caught.value)


def test_a_file_that_is_no_database_is_said_at_start(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("something else" * 100)

    with pytest.raises(AssertionError, match=r"cog: .*text\.sqlite: file is not a database"):
        serve(WAITING, environment=stored(tmp_path / "text.sqlite"))


@pytest.mark.slow
def test_a_full_disk_loses_no_answer(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "predictions.sqlite"
    server = serve(WAITING, environment=stored(path))
    given = {"input": {"seconds": 1.0}}
    server.http.post("/predictions", json={"id": "late", **given}, headers={"prefer": "respond-async"})
    with sqlite3.connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")  # Nobody else can write: what SQLite says is what it says of a full disk too.
        refused = server.http.post("/predictions", json={})
        assert refused.status_code == 503
        assert "cannot be stored" in refused.json()["detail"]
        wait_until(lambda: "the prediction late is not stored" in server.log.read_text(), "it is not said")
        assert server.http.get("/predictions/late").json()["status"] == "succeeded"

    assert server.predict()["output"] == "done"


# --- lists and deletion ----------------------------------------------------------------------------------------------


def walk(server: Server, **query: Any) -> list[dict[str, Any]]:
    found, path = [], "/predictions?" + "&".join(f"{name}={value}" for name, value in query.items())
    while path:
        page = server.http.get(path).json()
        assert len(page["results"]) <= query.get("limit", 20)
        found += page["results"]
        path = page["next"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_has_all_predictions_newest_first(kind: str, serve: Serve, tmp_path: Path) -> None:
    server = serve(WAITING, environment=stored(tmp_path / "s.sqlite") if kind == "sqlite" else {})
    for number in range(7):
        server.http.put(f"/predictions/p{number}", json={})
    for name in ("running", "waiting"):
        given = {"id": name, "input": {"seconds": 60}}
        server.http.post("/predictions", json=given, headers={"prefer": "respond-async"})
    wait_until(lambda: server.http.get("/predictions/running").json()["status"] == "processing", "it does not begin")

    assert [each["id"] for each in walk(server, limit=2)] == [
        "waiting",
        "running",
        *(f"p{n}" for n in range(6, -1, -1)),
    ]
    assert [each["id"] for each in walk(server, status="processing")] == ["running"]
    assert [each["id"] for each in walk(server, status="starting")] == ["waiting"]
    assert len(walk(server, status="succeeded", limit=3)) == 7

    server.http.post("/predictions/waiting/cancel")
    server.http.post("/predictions/running/cancel")


@pytest.mark.parametrize("query", ["status=done", "limit=0", "limit=101", "limit=x"])
def test_a_bad_query_is_a_422_that_names_it(query: str, server: Server) -> None:
    answer = server.http.get(f"/predictions?{query}")

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


@pytest.mark.parametrize("cursor", ["", "!", "YWJj", "%FF"])
def test_a_cursor_that_was_never_given_is_a_404(cursor: str, server: Server) -> None:
    answer = server.http.get(f"/predictions?cursor={cursor}")

    assert answer.status_code == 404
    assert "cursor" in answer.json()["detail"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.server.conftest import serving

    with serving(tmp_path_factory.mktemp("lists")) as start:
        yield start(WAITING)


def test_a_deleted_prediction_is_gone(server: Server) -> None:
    server.http.put("/predictions/old", json={})

    assert server.http.delete("/predictions/old").status_code == 204
    assert server.http.get("/predictions/old").status_code == 404
    assert server.http.delete("/predictions/old").status_code == 404
    assert "old" not in [each["id"] for each in walk(server)]


def test_a_running_prediction_is_not_deleted(server: Server) -> None:
    given = {"id": "runs", "input": {"seconds": 60}}
    server.http.post("/predictions", json=given, headers={"prefer": "respond-async"})

    answer = server.http.delete("/predictions/runs")

    assert answer.status_code == 409
    assert "running" in answer.json()["detail"]
    server.http.post("/predictions/runs/cancel")
    wait_until(lambda: server.http.delete("/predictions/runs").status_code == 204, "it cannot be deleted")
    assert os.path.exists(f"/proc/{server.process.pid}")
