"""The cache of inputs, where several files come at once and where there is no room for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
from pathlib import Path

from cog_server.files.cache import InputCache
from cog_server.files.fetch import FileFetcher, FileLimits
from cog_server.files.roots import FileRoots
from cog_server.files.schemes import SchemeOptions, Schemes
from cog_server.network.addresses import AddressPolicy
from tests.fakes.file_server import CONTENT, serving_files


def test_files_that_are_kept_at_once_do_not_mix(tmp_path: Path) -> None:
    cache = InputCache(lambda: str(tmp_path), 3000)

    def keep(number: int) -> None:
        source = tmp_path / f"source{number}"
        source.write_bytes(b"%06d" % number)
        cache.add(f"http://srv/{number}", path=str(source), etag=str(number), size=6)
        found = cache.find(f"http://srv/{number}")
        assert found is not None
        assert Path(found.path).read_bytes() == b"%06d" % number

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # Threads take turns wherever they can.
    try:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(keep, range(1000)))
    finally:
        sys.setswitchinterval(interval)

    kept = [path for path in tmp_path.iterdir() if not path.name.startswith("source")]
    assert len(kept) == 500


def test_a_file_that_cannot_be_kept_is_fetched_all_the_same(tmp_path: Path) -> None:
    def no_folder() -> str:
        raise OSError(28, "No space left on device")

    async def fetch(url: str) -> bytes:
        options = SchemeOptions({}, AddressPolicy.read("127.0.0.1"), FileRoots(), read_s=5.0, sign_s=None)
        limits = FileLimits(file_bytes=1000, total_bytes=1000, total_s=5.0)
        fetcher = FileFetcher(Schemes(options), limits, InputCache(no_folder, 1000))
        try:
            path = await fetcher.fetch(url, folder=str(tmp_path), name="file", budget=limits.budget())
        finally:
            await fetcher.close()
        return Path(path).read_bytes()

    with serving_files() as web:
        assert asyncio.run(fetch(web.url("/etag/x"))) == CONTENT
