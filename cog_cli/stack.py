"""`Stack`: which versions a cog.yaml comes to, and why each was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Flavour = Literal["slim", "base", "runtime", "cudnn-runtime", "devel", "cudnn-devel", "custom"]


@dataclass(frozen=True)
class TorchBuild:
    """The torch that gets installed. `index_url` is None when it comes from PyPI."""

    version: str
    index_url: str | None


@dataclass(frozen=True)
class Stack:
    """The resolved versions of one build; everything after this is text.

    `cuda` is x.y of the CUDA libraries in use (from the image, or from wheels in a slim image), None without a GPU;
    `packages` are the lines handed to the installer; `min_driver` is the oldest Linux driver that runs it.
    `has_python` says whether `base_image` brings an interpreter that satisfies `python`.

    `install_args` are the exact extra arguments of `uv pip install` (pip's semantics need some, torch's index others);
    `constraints` are lines for a file given with `-c`, so that the build of torch that was chosen is the one installed.
    `needs_compiler` asks for gcc in the final image: something compiles small programs when the model runs.
    """

    python: str
    cuda: str | None
    cudnn: str | None
    base_image: str
    flavour: Flavour
    has_python: bool
    torch: TorchBuild | None
    packages: tuple[str, ...]
    min_driver: str | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    install_args: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    needs_compiler: bool = False

    def to_json(self) -> dict[str, object]:
        """The document `cog explain --json` prints."""
        torch = {"version": self.torch.version, "index_url": self.torch.index_url} if self.torch else None
        return {
            "python": self.python,
            "cuda": self.cuda,
            "cudnn": self.cudnn,
            "base_image": self.base_image,
            "flavour": self.flavour,
            "torch": torch,
            "packages": list(self.packages),
            "min_driver": self.min_driver,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
        }
