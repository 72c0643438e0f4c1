from __future__ import annotations

import click

from cog_cli import options
from cog_cli.console import console
from cog_cli.engines.image_digests import identify_image
from cog_cli.image.lock import write_lock
from cog_cli.project import load_project


@click.command("lock")
@options.file
@click.option("--platform", metavar="PLATFORM", callback=options.check_platform)
@click.option("--ca-cert", metavar="CERT", envvar="COG_CA_CERT", help="Trust these certificates.")
@options.offline
def command(file: str | None, platform: str | None, ca_cert: str | None, is_offline: bool) -> None:
    """Write cog.lock: images by digest, packages with hashes; `cog build --locked` builds exactly that."""
    project = load_project(file, predict_is_required=False)
    path, lock = write_lock(project, platform=platform, ca_cert=ca_cert, is_offline=is_offline, identify=identify_image)
    console.success(f"Locked; packages: {len(lock.packages) + len(lock.unhashed)}, images: {len(lock.images)}")
    console.result(str(path))
