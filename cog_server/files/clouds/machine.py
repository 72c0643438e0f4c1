"""`machine_cloud`: whose machine this is, by what it says itself: nothing is asked over the network."""

from __future__ import annotations

from pathlib import Path

from cog_server.files.clouds.urls import Kind

DMI = Path("/sys/class/dmi/id")
# On every virtual machine of Azure, and nowhere else; "Microsoft Corporation" makes laptops too.
_AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"


def machine_cloud(dmi: Path = DMI) -> Kind | None:
    """The cloud whose machine this is, where credentials may be had of its metadata service; None on any other."""
    vendor = _read(dmi / "sys_vendor")
    # The older machines of EC2 are Xen's by vendor, Amazon's by BIOS.
    if "amazon" in (vendor + _read(dmi / "bios_vendor") + _read(dmi / "bios_version")).lower():
        return "s3"
    if vendor == "Google" or _read(dmi / "product_name").startswith("Google"):
        return "gcs"
    if _read(dmi / "chassis_asset_tag") == _AZURE_ASSET_TAG:
        return "azure"
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
