"""`needs_of`: what each GPU package asks of the image, beyond what its own wheels bring."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import Version

from cog_cli.compat.asked import Asked, AskedPackages
from cog_cli.compat.releases import Choice
from cog_cli.compat.stack import Flavour
from cog_cli.compat.tables import Release, Tables, Variant
from cog_cli.compat.torch_build import TorchPick
from cog_cli.errors import Problem


@dataclass(frozen=True)
class Need:
    """What one package needs in the image.

    `cuda` is x.y (or x if any minor does); `is_exact`: the image's x.y must equal it. `cudnn` is the oldest version
    that works, of the same major. `label` is the package with its version, `where` and `key` the line that asks.
    `final` is what is left to need once the package is compiled, None if that is no less.
    """

    label: str
    flavour: Flavour
    where: str
    key: str
    reason: str
    name: str = ""
    cuda: str | None = None
    is_exact: bool = False
    cudnn: str | None = None
    glibc: str | None = None
    final: Flavour | None = None

    @property
    def major(self) -> int | None:
        return int(self.cuda.partition(".")[0]) if self.cuda else None

    @property
    def is_of_image(self) -> bool:
        """Whether a plain Python image will not do."""
        return self.flavour != "slim"


@dataclass(frozen=True)
class Needs:
    """All needs together. `uses_gpu` is False if nothing found uses CUDA at all."""

    needs: tuple[Need, ...]
    uses_gpu: bool
    needs_compiler: bool = False  # a C compiler when the model runs (triton)
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def are_of_image(self) -> bool:
        """Whether any package needs more than a plain Python image."""
        return any(need.is_of_image for need in self.needs)


@dataclass(frozen=True)
class Target:
    """The Python (x.y) and machine (x86_64 or aarch64) of the image."""

    python: str
    machine: str


def needs_of(
    asked: AskedPackages, choices: tuple[Choice, ...], torch: TorchPick | None, target: Target, tables: Tables
) -> Needs:
    """Collect the needs of every package found, with the warnings that go with them."""
    collector = _Collector(asked, torch, target, tables)
    for choice in choices:
        collector.add_choice(choice)
    chosen = {choice.asked.name for choice in choices}
    for name, item in asked.packages.items():
        if name in tables.compiled:
            collector.add_compiled(item)
        elif name in tables.packages and name not in chosen:
            collector.uses_gpu = True
            collector.warnings.append(f"{item.where}: what {name}{item.specifier} needs in the image is not known")
        elif re.search(r"-cu1[1-9]\d?$|^nvidia-|^cuda-", name):
            collector.uses_gpu = True  # brings CUDA libraries, or is built for them; nothing more is known
    if asked.compiles_cuda_in:
        reason = f"{asked.compiles_cuda_in} calls the CUDA compiler or its folder: the image must have nvcc"
        collector.add_devel("a command", asked.compiles_cuda_in, asked.compiles_cuda_in, reason)
    if torch is not None and torch.cuda is not None:
        collector.uses_gpu = True
    compiler = collector.needs_compiler or "triton" in asked
    return Needs(
        tuple(collector.needs),
        collector.uses_gpu,
        compiler,
        tuple(collector.reasons),
        tuple(collector.warnings),
        tuple(collector.problems),
    )


class _Collector:
    def __init__(self, asked: AskedPackages, torch: TorchPick | None, target: Target, tables: Tables) -> None:
        self.asked, self.torch, self.target, self.tables = asked, torch, target, tables
        self.problems: list[Problem] = []
        self.needs: list[Need] = []
        self.reasons: list[str] = []
        self.warnings: list[str] = []
        self.uses_gpu = False
        self.needs_compiler = False

    def add_choice(self, choice: Choice) -> None:
        name = choice.asked.name
        if (choice.asked.url or "").startswith("git+") and name in ("xformers", "vllm", "bitsandbytes", "sglang"):
            self.add_compiled(choice.asked)
            return
        if choice.package.follows_torch:
            self.add_torch_extension(choice)
        elif name == "xformers":
            self.compare_xformers(choice)
        elif name == "bitsandbytes":
            self.compare_bitsandbytes(choice)
        elif name not in ("torchvision", "torchaudio"):
            self.add_library_user(choice)
        self.needs_compiler = self.needs_compiler or choice.package.needs_compiler

    def add_library_user(self, choice: Choice) -> None:
        """A package that loads CUDA libraries of the system, unless an extra brings them."""
        release, package = choice.release, choice.package
        if self.target.machine == "aarch64" and package.aarch64_is_cpu_only:
            self.warnings.append(f"{choice.asked.where}: the arm64 wheels of {choice.label} run on the CPU only")
            return
        variant = self.variant(choice)
        if self.refuses_extra(choice, variant):
            return
        if variant is not None:
            if variant.note:
                self.warnings.append(f"{choice.asked.where}: {variant.note}")
            extras = ",".join(sorted(choice.asked.extras))
            label = f"{choice.asked.name}[{extras}] {release.version}"
            self.add(choice, label, variant.flavour, variant.cuda, variant.cudnn)
            return
        if package.flavour is None:
            if package.cpu_only_note:
                self.warnings.append(f"{choice.asked.where}: {package.cpu_only_note}")
            return
        if self.defers(choice):
            return
        flavour = release.flavour or package.flavour
        if package.works_through_torch and self.torch_brings(release.cuda, release.cudnn) and self.torch:
            self.uses_gpu = True
            libraries = f"CUDA {self.torch.cuda} and cuDNN {self.torch.cudnn}"
            self.warnings.append(
                f"{choice.asked.where}: {choice.label} finds {libraries} only after `import torch`: "
                "import torch before the session is made"
            )
            self.add(choice, choice.label, "slim", release.cuda, release.cudnn)
            return
        self.add(choice, choice.label, flavour, release.cuda, release.cudnn)

    def add(self, choice: Choice, label: str, flavour: Flavour, cuda: str | None, cudnn: str | None) -> None:
        self.uses_gpu = True
        libraries = f"CUDA {cuda}" + (f" and cuDNN {cudnn}" if cudnn else "")
        if flavour == "slim":
            reason = f"{label} gets {libraries} from Python packages: no CUDA base image is needed"
        else:
            what = "the compiler and " if flavour.endswith("devel") else ""
            reason = f"{label} needs {what}the libraries of {libraries} in the image"
        self.needs.append(
            Need(
                label=label,
                name=choice.asked.name,
                flavour=flavour,
                where=choice.asked.where,
                key=choice.asked.key,
                reason=reason,
                cuda=cuda,
                cudnn=cudnn,
                glibc=choice.release.glibc,
            )
        )

    def variant(self, choice: Choice) -> Variant | None:
        """What the extras of the line change; `cuda+cudnn` needs both."""
        for extra, variant in choice.release.variants:
            if set(extra.split("+")) <= choice.asked.extras:
                return variant
        return None

    def refuses_extra(self, choice: Choice, variant: Variant | None) -> bool:
        """An extra that this release does not have, or that cannot be installed: pip would only pass over it."""
        asked = choice.asked
        wanted = sorted(extra for extra in asked.extras if extra.startswith("cuda"))
        if not choice.release.variants or not wanted:
            return False
        usable = [
            extra
            for extra, other in choice.release.variants
            if not other.is_missing and (other.pythons is None or self.target.python in other.pythons)
        ]
        if variant is None:
            if any(extra in name.split("+") for extra in wanted for name in usable):
                return False
            message = f"{choice.label} has no extra `{wanted[0]}`"
        elif variant.is_missing:
            message = f"{asked.name}[{wanted[0]}] {choice.release.version} asks for a plugin that is not on PyPI"
        elif variant.pythons is not None and self.target.python not in variant.pythons:
            pythons = ", ".join(variant.pythons)
            message = f"{asked.name}[{wanted[0]}] {choice.release.version} has wheels for Python {pythons} only"
        else:
            return False
        better = [row for row in choice.package.releases if self.has_extra(row, wanted[0])]
        hints = [f"{asked.name}[{usable[0]}]=={choice.release.version}"] if usable else []
        hints += [f"{asked.name}[{wanted[0]}]=={better[0].version}"] if better else []
        hint = f"Use {' or '.join(hints)}." if hints else None
        self.problems.append(Problem(asked.where, asked.key, message, hint))
        return True

    def has_extra(self, release: Release, extra: str) -> bool:
        if not release.supports(self.target.python, self.target.machine):
            return False
        return any(
            name == extra and not other.is_missing and (other.pythons is None or self.target.python in other.pythons)
            for name, other in release.variants
        )

    def defers(self, choice: Choice) -> bool:
        """faster-whisper uses whatever its ctranslate2 was built for, if the project pins that."""
        other = self.asked.get("ctranslate2")
        return choice.asked.name == "faster-whisper" and other is not None and other.is_pinned

    def torch_brings(self, cuda: str | None, cudnn: str | None) -> bool:
        """Whether the chosen torch has libraries of these majors in its packages."""
        torch = self.torch
        if torch is None or torch.cuda is None or torch.cudnn is None or cuda is None or cudnn is None:
            return False
        return _major(torch.cuda) == _major(cuda) and _major(torch.cudnn) == _major(cudnn)

    def add_torch_extension(self, choice: Choice) -> None:
        """vllm, sglang: libraries come with torch; a compiler is needed when they run."""
        self.uses_gpu = True
        flavour = choice.release.flavour or choice.package.flavour or "base"
        cuda = self.torch.cuda if self.torch else None
        of_torch = f"torch's CUDA {cuda}" if cuda else "torch's CUDA"
        reason = f"{choice.label} compiles kernels when it runs: it needs nvcc of {of_torch}"
        if flavour != "devel":
            reason = f"{choice.label} is built for {of_torch} and brings its libraries with torch"
        self.needs.append(
            Need(
                label=choice.label,
                name=choice.asked.name,
                flavour=flavour,
                where=choice.asked.where,
                key=choice.asked.key,
                reason=reason,
                cuda=cuda,
                is_exact=cuda is not None,
                glibc=choice.release.glibc,
            )
        )

    def compare_xformers(self, choice: Choice) -> None:
        built, torch = choice.release.cuda, self.torch
        if torch is None or torch.cuda is None or built is None or built == torch.cuda or torch.tag is not None:
            return  # the pytorch.org indexes carry an xformers of their own CUDA
        same = _major(built) == _major(torch.cuda)
        what = "the same major, so it should work" if same else "another major: nobody has tested that"
        self.warnings.append(
            f"{choice.asked.where}: the wheel of {choice.label} is built for CUDA {built}, "
            f"torch {torch.release.version} from PyPI is {torch.cuda}: {what}"
        )

    def compare_bitsandbytes(self, choice: Choice) -> None:
        torch = self.torch
        if torch is None or torch.cuda is None or not choice.release.cuda_tags:
            return
        tag = int(torch.cuda.replace(".", ""))
        if tag in choice.release.cuda_tags:
            return
        better = [row for row in choice.package.releases if tag in row.cuda_tags]
        hint = f"; use bitsandbytes>={better[0].version}" if better else ""
        tags = ", ".join(f"{number // 10}.{number % 10}" for number in choice.release.cuda_tags)
        self.warnings.append(
            f"{choice.asked.where}: {choice.label} has libraries for CUDA {tags} only, torch is {torch.cuda}{hint}"
        )

    # --- compiled -------------------------------------------------------------------------------------------------

    def add_compiled(self, asked: Asked) -> None:
        """A package that nvcc compiles, when it is installed or when it runs."""
        self.uses_gpu = True
        label = f"{asked.name} {asked.specifier}".rstrip().replace(" ==", " ")
        if (asked.url or "").endswith(".whl"):
            self.reasons.append(f"{label} comes as a wheel: nothing is compiled")
            return
        if asked.name == "llama-cpp-python" and (cuda := self.prebuilt_llama()) is not None:
            reason = f"{label} comes prebuilt for CUDA {cuda} and loads its libraries from the image"
            self.needs.append(Need(label, "runtime", asked.where, asked.key, reason, asked.name, cuda))
            return
        has_index = any("pytorch.org" not in url for url in self.asked.extra_indexes)
        if has_index and asked.name.startswith(("torch-", "mmcv", "natten")):
            self.reasons.append(f"{label} is taken to be a wheel of the index you named")
            return
        kind = self.tables.compiled.get(asked.name)
        when = {
            "run": "when it runs",
            "toolkit": "when it is installed, and uses the CUDA toolkit when it runs",
        }.get(kind or "", "when it is installed")
        if asked.name == "apex" and asked.url is None:
            self.warnings.append(
                f"{asked.where}: PyPI's `apex` is another project; NVIDIA's is git+https://github.com/NVIDIA/apex"
            )
        reason = f"{label} is compiled {when}: it needs nvcc"
        self.add_devel(label, asked.where, asked.key, reason, asked.name, final=self.final_of(asked.name))

    def final_of(self, name: str) -> Flavour | None:
        """What a compiled package still needs when it runs, None if that cannot be told."""
        if name == "llama-cpp-python":
            return "runtime"
        is_extension = self.tables.compiled.get(name) == "install" or name in ("xformers", "bitsandbytes")
        # Extensions of torch find the CUDA libraries that torch has loaded. `vllm` from git compiles when it runs.
        return "base" if is_extension and self.torch is not None and self.torch.cuda is not None else None

    def add_devel(
        self, label: str, where: str, key: str, reason: str, name: str = "", *, final: Flavour | None = None
    ) -> None:
        cuda = self.torch.cuda if self.torch else None
        if cuda is not None:
            reason += f" of torch's CUDA {cuda}"
        self.needs.append(Need(label, "devel", where, key, reason, name, cuda, is_exact=cuda is not None, final=final))

    def prebuilt_llama(self) -> str | None:
        """The CUDA of the wheel index that the project's own README names."""
        for url in self.asked.extra_indexes:
            if match := re.search(r"llama-cpp-python/whl/cu(\d+)(\d)\b", url):
                return f"{match[1]}.{match[2]}"
        return None


def _major(version: str) -> int:
    return Version(version).major
