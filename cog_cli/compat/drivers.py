"""What a machine's driver and GPU can run: minor-version compatibility, kernels, the start gate of nvidia/cuda."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import Version

from cog_cli.compat.tables import Gate, ImageTag, Tables

# GPUs that carry NVIDIA's "tesla" brand: drivers let newer CUDA images start on them in more cases.
_DATA_CENTER = re.compile(r"\b(tesla|[aphvbl]\d{1,3}s?|t4|gb?[hb]?200|gh200)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Host:
    """The machine that will run the image, as far as it is known.

    `driver` is the NVIDIA Linux driver (`535.104.05`), `sm` the compute capability (`sm_86`), `brand` what
    nvidia-container-cli calls it (`geforce`, `tesla`, `quadrortx`, ...), `gpu` its name.
    """

    driver: str | None = None
    sm: str | None = None
    brand: str | None = None
    gpu: str | None = None

    @property
    def branch(self) -> int | None:
        return int(self.driver.partition(".")[0]) if self.driver else None

    @property
    def kind(self) -> str:
        """The brand, guessed from the name if it was not given."""
        if self.brand:
            return self.brand.lower()
        return "tesla" if _DATA_CENTER.search(self.gpu or "") else "geforce"

    def __str__(self) -> str:
        words = [self.gpu or self.sm or "this GPU"]
        if self.gpu and self.sm:
            words.append(f"({self.sm})")
        if self.driver:
            words.append(f"with driver {self.driver}")
        return " ".join(words)


def minimum_driver(cuda: str, tables: Tables) -> str | None:
    """The oldest Linux driver that runs programs with CUDA libraries x.y (or x) of their own."""
    if cuda in tables.drivers:
        return tables.drivers[cuda].minimum
    major = cuda.partition(".")[0]
    same = [row.minimum for version, row in tables.drivers.items() if version.partition(".")[0] == major]
    return max(same, key=Version) if same else None


def native_driver(cuda: str, tables: Tables) -> str | None:
    """The driver that carries CUDA x.y itself: an nvidia/cuda image of it starts from here on any GPU."""
    return tables.drivers[cuda].native if cuda in tables.drivers else None


def driver_runs(cuda: str, host: Host | None, tables: Tables) -> bool:
    """Whether the host's driver is new enough; True where nothing is known against it."""
    minimum = minimum_driver(cuda, tables)
    if host is None or host.driver is None or minimum is None:
        return True
    return Version(host.driver) >= Version(minimum)


def compat_runs(cuda: str, host: Host | None, tables: Tables) -> bool:
    """Whether an nvidia/cuda image of x.y runs on a driver that is too old for CUDA x.y by itself.

    Those images bring `cuda-compat`, which works on data-center GPUs only, and start where their gate lists the
    driver's branch.
    """
    if host is None or host.kind == "geforce":
        return False
    return any(image.minor == cuda and gate_opens(image, host, tables) for image in tables.images)


def has_kernels(sm: tuple[str, ...] | None, cuda: str, host: Host | None, tables: Tables) -> bool | None:
    """Whether a build for CUDA x.y with kernels `sm` runs on the host's GPU; None if that is not known.

    Compiled code runs on the same or a later minor of its major (sm_80 on 8.6 and 8.9, not on 9.0); `compute_90` is
    PTX, which the driver compiles for anything newer.
    """
    if host is None or host.sm is None:
        return True
    major, minor = _capability(host.sm)
    if sm is not None:
        for arch in sm:
            arch_major, arch_minor = _capability(arch)
            if arch_major == major and arch_minor <= minor:
                return True
            if arch.startswith("compute_") and (arch_major, arch_minor) <= (major, minor):
                return True
        return False
    # The list was not read: rule out only what the CUDA release itself cannot compile for.
    oldest = _capability(tables.min_sm_of_major.get(int(cuda.partition(".")[0]), "sm_0"))
    family = [name for name in tables.min_cuda_for_sm if _capability(name)[0] == major]
    needed = min((Version(tables.min_cuda_for_sm[name]) for name in family), default=Version("0"))
    if (major, minor) < oldest or Version(cuda) < needed:
        return False
    return None


def _capability(arch: str) -> tuple[int, int]:
    number = int(re.sub(r"\D", "", arch) or 0)
    return number // 10, number % 10


def gate_opens(image: ImageTag, host: Host | None, tables: Tables) -> bool:
    """Whether nvidia-container-cli starts the image on the host (NVIDIA_REQUIRE_CUDA in the image)."""
    if host is None or host.branch is None:
        return True
    branches = [branch for branch in tables.branch_cuda if branch <= host.branch]
    own = tables.branch_cuda[max(branches)] if branches else "0"
    if Version(own) >= Version(image.minor):
        return True
    gate = tables.gates.get(image.cuda, Gate((), frozenset()))
    return host.branch in gate.branches and host.kind in gate.brands
