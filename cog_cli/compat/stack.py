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
class GpuNeeds:
    """What the machine that runs the image must have: the server compares it with what it finds when it starts.

    `cuda` is x.y, `driver` the oldest Linux driver that runs it, `sm` the kernels that `package` was compiled with
    (`sm_80`, `compute_90` for PTX); empty where they are not known.
    """

    cuda: str
    driver: str | None = None
    package: str | None = None
    sm: tuple[str, ...] = ()


@dataclass(frozen=True)
class BaseImage:
    """An image to build on, as it was when it was looked at.

    `digest` is that of its registry's manifest (`sha256:...`); without one, `id` is what this engine calls it.
    """

    name: str
    digest: str | None = None
    id: str | None = None

    @property
    def reference(self) -> str:
        """What a Dockerfile names: with the digest, where there is one."""
        return f"{self.name}@{self.digest}" if self.digest and "@" not in self.name else self.name


@dataclass(frozen=True)
class Stack:
    """The resolved versions of one build; everything after this is text.

    `cuda` is x.y of the CUDA libraries in use (from the image, or from wheels in a slim image), None without a GPU;
    `packages` are the lines handed to the installer; `min_driver` is the oldest Linux driver that runs it.
    `has_python` says whether `base_image` brings an interpreter that satisfies `python`.

    `install_args` are the exact extra arguments of `uv pip install` (pip's semantics need some, torch's index others);
    `constraints` are lines for a file given with `-c`, so that the build of torch that was chosen is the one installed.
    `needs_compiler` asks for gcc in the final image: something compiles small programs when the model runs.

    With a `final_image`, `base_image` only compiles: Python, its packages and the first `compile_run_count` commands of
    `build.run` go into a stage on `base_image`, and the environment they make is copied onto `final_image`.
    `compiled` names packages that are compiled against the installed torch, so that torch has to be there first.
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
    final_image: str | None = None
    compile_run_count: int = 0
    compiled: tuple[str, ...] = ()
    gpu_needs: GpuNeeds | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """Every image that is built on, the final one last."""
        return (self.base_image, self.final_image) if self.final_image else (self.base_image,)

    def to_json(self) -> dict[str, object]:
        """The document `cog explain --json` prints."""
        torch = {"version": self.torch.version, "index_url": self.torch.index_url} if self.torch else None
        return {
            "python": self.python,
            "cuda": self.cuda,
            "cudnn": self.cudnn,
            "base_image": self.base_image,
            "final_image": self.final_image or self.base_image,
            "flavour": self.flavour,
            "torch": torch,
            "packages": list(self.packages),
            "min_driver": self.min_driver,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
        }
