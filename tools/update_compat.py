"""Regenerate the facts in cog_cli/compat from package metadata, and say what changed.

    python tools/update_compat.py            # rewrite torch.json and packages.json
    python tools/update_compat.py --check    # only report; exit 1 if the data is behind the index
    python tools/update_compat.py torch      # only these packages

Read from PyPI: the versions, the Pythons that have a Linux wheel, requires-python, the pins on torch, and the CUDA
build that a file inside the wheel names (`torch/version.py`, onnxruntime's `build_and_package_info.py`, tensorflow's
`build_info.py`). Wheels are gigabytes, so only their metadata file (PEP 658) or the few members needed (HTTP ranges)
are downloaded. What PyPI does not know (builds on other indexes, compute capabilities, image tags, drivers) stays as
it is in the files, with its source.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from cog_cli.compat.remote_file import RemoteFile
from cog_cli.compat.wheels import is_linux_wheel, pythons_of

DATA = Path(__file__).resolve().parent.parent / "cog_cli" / "compat"
INDEX = "https://pypi.org/pypi"

Row = dict[str, Any]  # one release, as it is in the JSON files
File = dict[str, Any]  # one file of a release, as PyPI's JSON gives it


@dataclass(frozen=True)
class Watched:
    """A package whose releases are followed. `member` is the file in its wheel that names the CUDA build."""

    name: str
    oldest: str
    torch_pin: bool = False
    member: str | None = None
    pattern: str = r"^cuda\w*(?:: [^=]+)? *= *['\"]([\d.]+)['\"]"


WATCHED = (
    Watched("torch", "1.4.0", member="torch/version.py"),
    Watched("torchvision", "0.5.0", torch_pin=True),
    Watched("torchaudio", "0.4.0", torch_pin=True),
    Watched(
        "tensorflow",
        "2.0.0",
        member="tensorflow/python/platform/build_info.py",
        pattern=r"['\"]cuda_version['\"]: ['\"]([\d.]+)['\"]",
    ),
    Watched("onnxruntime-gpu", "1.11.0", member="onnxruntime/capi/build_and_package_info.py"),
    Watched("xformers", "0.0.20", torch_pin=True),
    Watched("vllm", "0.2.7", torch_pin=True),
    Watched("sglang", "0.4.0", torch_pin=True),
    Watched("bitsandbytes", "0.39.1", torch_pin=True),
    Watched("ctranslate2", "3.24.0"),
)


def fetch(url: str, headers: dict[str, str] | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=60) as response:
        body: bytes = response.read()
    return body


def linux_wheels(files: list[File], machine: str) -> list[File]:
    """The wheels of a release that a glibc Linux of `machine` can install (pure Python ones too), not yanked."""
    return [file for file in files if not file.get("yanked") and is_linux_wheel(file["filename"], machine)]


def pythons(files: list[File], machine: str) -> list[str]:
    return list(pythons_of([file["filename"] for file in linux_wheels(files, machine)], machine))


def metadata_of(file: File) -> str:
    """METADATA of a wheel: the PEP 658 file beside it, or the member of the wheel itself."""
    try:
        return fetch(file["url"] + ".metadata").decode()
    except urllib.error.HTTPError:
        return member_of(file, r"[^/]+\.dist-info/METADATA") or ""


def member_of(file: File, pattern: str) -> str | None:
    def read(first: int, last: int) -> bytes:
        return fetch(file["url"], {"Range": f"bytes={first}-{last}"})

    with zipfile.ZipFile(io.BufferedReader(RemoteFile(file["size"], read), 64 * 1024)) as wheel:
        for name in wheel.namelist():
            if re.fullmatch(pattern, name):
                return wheel.read(name).decode()
    return None


def torch_pin(metadata: str) -> str | None:
    """What the package asks of torch on Linux, as a specifier ("" = any version), None if it does not name it."""
    message = HeaderParser().parsestr(metadata.partition("\n\n")[0])
    environment = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "extra": ""}
    for line in message.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        if requirement.name == "torch" and (not requirement.marker or requirement.marker.evaluate(environment)):
            return str(requirement.specifier)
    return None


def release_row(watched: Watched, version: str, files: list[File], *, is_new: bool) -> Row | None:
    wheels = linux_wheels(files, "x86_64")
    if not wheels:
        return None
    row: Row = {
        "version": version,
        "released": min(file["upload_time"] for file in files)[:10],
        "requires_python": wheels[-1].get("requires_python"),
        "pythons": pythons(files, "x86_64"),
        "pythons_aarch64": pythons(files, "aarch64"),
    }
    if is_new and watched.torch_pin:
        row["torch"] = torch_pin(metadata_of(wheels[-1]))
    if is_new and watched.member:
        text = member_of(wheels[-1], re.escape(watched.member)) or ""
        match = re.search(watched.pattern, text, re.MULTILINE)
        row["cuda"] = ".".join(match[1].split(".")[:2]) if match else None
    return row


def first_facts(watched: Watched, row: Row, previous: Row, wheel: File) -> Row:
    """What a new row needs beyond what the index says, until someone looks: its build, or older facts."""
    glibc = re.search(r"manylinux_2_(\d+)", wheel["filename"])
    facts: Row = {"glibc": f"2.{glibc[1]}"} if glibc else {}
    if watched.name != "torch":
        inherited = ("cuda", "cudnn", "cuda_tags", "flavour", "variants", "sm", "glibc")
        return {**{key: previous[key] for key in inherited if key in previous and key not in row}, **facts}
    cudnn = re.search(r"^Requires-Dist: nvidia-cudnn-cu\d+ *\(?==([\d.]+)", metadata_of(wheel), re.MULTILINE)
    tag = f"cu{(row['cuda'] or '').replace('.', '')}"
    build = {"tag": tag, "cuda": row["cuda"], "cudnn": cudnn[1] if cudnn else None, "sm": None}
    facts.setdefault("glibc", previous.get("glibc", "2.28"))
    return {**facts, "cuda_aarch64": previous.get("cuda_aarch64") and row["cuda"], "builds": [build], "cpu": True}


def merged(watched: Watched, rows: list[Row], report: list[str], *, index: str = INDEX) -> list[Row]:
    """The rows with what the index says now; facts the index does not carry are kept. Changes go to `report`."""
    known = {row["version"]: row for row in rows}
    page = f"{index}/{watched.name}/json"
    releases: dict[str, list[File]] = json.loads(fetch(page))["releases"]
    for version, files in releases.items():
        # Mirrors give relative URLs.
        files = [{**file, "url": urllib.parse.urljoin(page, file["url"])} for file in files]
        parsed = Version(version)
        if parsed.is_prerelease or parsed < Version(watched.oldest):
            continue
        old = known.get(version, {})
        is_new = (watched.torch_pin and "torch" not in old) or (watched.member is not None and "cuda" not in old)
        row = release_row(watched, version, files, is_new=is_new)
        if row is None:
            continue
        changed = [key for key, value in row.items() if old.get(key) != value]
        if changed:
            what = ", ".join(f"{key}: {old.get(key)} -> {row[key]}" for key in changed) if old else "new release"
            report.append(f"{watched.name} {version}: {what}")
        if not old:
            older = [other for other in known.values() if Version(other["version"]) < parsed]
            previous = max(older, key=lambda other: Version(other["version"]), default={})
            old = first_facts(watched, row, previous, linux_wheels(files, "x86_64")[-1])
        known[version] = {**old, **row}
    return sorted(known.values(), key=lambda row: Version(row["version"]))


def rows_of(watched: Watched, torch: Row, packages: Row) -> tuple[Row, str]:
    """Where the rows of a package live: the object and its key."""
    if watched.name == "torch":
        return torch, "releases"
    if watched.name in ("torchvision", "torchaudio"):
        return torch, watched.name
    return packages["packages"][watched.name], "releases"


def one_row_a_line(document: Row) -> str:
    """JSON that is small and still diffs by release: every element of a list of objects on a line of its own."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return re.sub(r'(\{"(?:version|tag)":)', r"\n\1", text) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Refresh cog_cli/compat from package metadata.")
    parser.add_argument("packages", nargs="*", help="only these packages")
    parser.add_argument("--index", default=INDEX, help="a server with PyPI's JSON API")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of torch.json and packages.json")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something changed")
    options = parser.parse_args(arguments)
    paths = {name: options.data / f"{name}.json" for name in ("torch", "packages")}
    documents = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items()}
    report: list[str] = []
    for watched in WATCHED:
        if options.packages and watched.name not in options.packages:
            continue
        holder, key = rows_of(watched, documents["torch"], documents["packages"])
        holder[key] = merged(watched, holder.get(key, []), report, index=options.index)
    print("\n".join(report) or "nothing changed")
    if options.check:
        return 1 if report else 0
    if report:
        for document in documents.values():
            document["generated"] = datetime.date.today().isoformat()
    for name, path in paths.items():
        path.write_text(one_row_a_line(documents[name]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
