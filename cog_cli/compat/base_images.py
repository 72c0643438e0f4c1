"""`check_base_image`: whether the base image that the user names has what the packages load from it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cog_cli.compat.images import ImageWish, choose_image, image_serves
from cog_cli.compat.tables import Tables, parse_cuda_tag
from cog_cli.errors import Problem

_PYTHON = re.compile(r"(?:docker\.io/)?(?:library/)?python:(?P<version>3\.\d+(?:\.\d+)?)")
_CUDA = re.compile(r"(?:docker\.io/)?nvidia/cuda:(?P<tag>[^@\s]+)")


@dataclass(frozen=True)
class Verdict:
    """`cuda` and `cudnn` are those of the image, None if it is not an nvidia/cuda image."""

    problem: Problem | None = None
    cuda: str | None = None
    cudnn: str | None = None
    remark: str = ""
    warnings: tuple[str, ...] = ()


def base_image_python(image: str | None) -> str | None:
    """`3.11` of `python:3.11-slim`, None if the name does not say."""
    match = _PYTHON.match(image or "")
    return match["version"] if match else None


def check_base_image(image: str, wish: ImageWish, where: str, tables: Tables) -> Verdict:
    """Refuse an image that is known to lack what is needed; trust one that is not known."""
    users = [need for need in wish.needs if need.is_of_image]
    labels = ", ".join(need.label for need in users)
    match = _CUDA.match(image)
    if match is None:
        if base_image_python(image) is None:
            return Verdict(remark=f": what it has for {labels} is not known" if users else "")
        if not users:
            return Verdict()
        return Verdict(_lacks(image, f"no CUDA, which {labels} needs", wish, where, tables))
    known = next((row for row in tables.images if row.tag == match["tag"]), None) or parse_cuda_tag(match["tag"])
    if known is None:
        return Verdict(remark=": its tag does not say what it has")
    verdict = Verdict(cuda=known.minor, cudnn=str(known.cudnn or known.cudnn_major) if known.cudnn_major else None)
    for need in users:
        if not image_serves(known, need):
            what = f"CUDA {need.cuda}" + (f" and cuDNN {need.cudnn}" if need.cudnn else "") if need.cuda else "nvcc"
            return Verdict(_lacks(image, f"not what {need.label} needs ({need.flavour}, {what})", wish, where, tables))
    if wish.cuda and wish.cuda not in (known.minor, str(known.cuda)):
        message = f"`build.cuda` is {wish.cuda}, but {image} is CUDA {known.cuda}"
        return Verdict(Problem(where, "build.base_image", message, "Remove one of the two."))
    if not any(row.tag == known.tag for row in tables.images):
        warning = f"{where}: {image} is not among the tags that Cog knows can be pulled"
        return Verdict(cuda=verdict.cuda, cudnn=verdict.cudnn, warnings=(warning,))
    return verdict


def _lacks(image: str, what: str, wish: ImageWish, where: str, tables: Tables) -> Problem:
    pick, _ = choose_image(wish, tables)
    hint = f"Use {pick.name}, or remove `base_image` and Cog will choose." if pick else "Remove `base_image`."
    return Problem(where, "build.base_image", f"{image} has {what}", hint)
