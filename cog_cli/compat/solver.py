"""`resolve_stack`: from what a cog.yaml asks to the versions it means, with the reasons. Pure.

The road: find the packages, find a Python and releases that fit each other, choose torch's build, collect what the
packages need in the image, choose the image, check it all against the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from packaging.version import Version

from cog_cli.compat.asked import RequestedBuild, torch_index_tag
from cog_cli.compat.base_images import base_image_python, check_base_image
from cog_cli.compat.drivers import Host, minimum_driver, native_driver
from cog_cli.compat.host_checks import host_problems, with_forward_compatibility
from cog_cli.compat.images import (
    ImagePick,
    ImageWish,
    choose_image,
    cuda_problem,
    flavour_problem,
    machine_of,
    minor_of,
    python_image,
)
from cog_cli.compat.needs import Need, Needs, Target, needs_of
from cog_cli.compat.pythons import Found, find_releases
from cog_cli.compat.releases import Choice, source_of
from cog_cli.compat.stack import Flavour, GpuNeeds, Stack, TorchBuild
from cog_cli.compat.tables import Tables, load_tables
from cog_cli.compat.torch_build import TorchPick, TorchWish, choose_torch
from cog_cli.compat.two_stages import Final, choose_final
from cog_cli.errors import Problem, StackError
from cog_cli.requirements.packages import OWN_PACKAGES, Requirements

Locate = Callable[[str], str]


def resolve_stack(
    build: RequestedBuild,
    requirements: Requirements,
    *,
    tables: Tables | None = None,
    host: Host | None = None,
    platform: str = "linux/amd64",
    locate: Locate = lambda key: "cog.yaml",
) -> Stack:
    """Choose Python, CUDA, cuDNN, the base image and torch's index. Raises StackError with every clash found.

    `host` is the machine that will run the image, where it is known: its driver and GPU may call for another build.
    The user's `cuda`, `cudnn` and `base_image` win where they can work and are refused with the reason where not.
    """
    return _Solver(build, requirements, tables or load_tables(), host, platform, locate).solve()


class _Solver:
    def __init__(
        self,
        build: RequestedBuild,
        requirements: Requirements,
        tables: Tables,
        host: Host | None,
        platform: str,
        locate: Locate,
    ) -> None:
        self.build, self.requirements, self.tables, self.locate = build, requirements, tables, locate
        self.host = host if build.gpu else None
        self.machine = machine_of(platform)
        self.reasons: list[str] = []
        self.warnings: list[str] = list(requirements.warnings)

    def solve(self) -> Stack:
        if self.build.gpu and self.build.cuda is not None:
            problem = cuda_problem(self.build.cuda, self.locate("build.cuda"), self.tables)
            if problem is not None:
                raise StackError([problem])
        found = find_releases(
            self.build, self.requirements, machine=self.machine, tables=self.tables, locate=self.locate
        )
        self.reasons.append(found.reason)
        self.warnings.extend(found.selection.warnings)
        for name in OWN_PACKAGES & set(found.asked.packages):
            where = found.asked.packages[name].where
            self.warnings.append(f"{where}: this command installs {name}, which the image already carries: remove it")
        if self.machine == "aarch64":
            self.reasons.append(self.arm64_reason())
        if not self.build.gpu:
            return self.cpu_stack(found)
        return self.gpu_stack(found)

    def arm64_reason(self) -> str:
        if not self.build.gpu:
            return "linux/arm64: the wheels and the image are those for arm64"
        return (
            "linux/arm64: the wheels and the image are those for arm64 servers, such as Grace Hopper; a Jetson needs "
            "the image of its own JetPack, named in `base_image`; a Mac has no CUDA: use --platform linux/amd64"
        )

    # --- without a GPU --------------------------------------------------------------------------------------------

    def cpu_stack(self, found: Found) -> Stack:
        wish = TorchWish(gpu=False, machine=self.machine, cuda=None, cuda_where="")
        torch = self.pick_torch(found, wish)
        for key in ("cuda", "cudnn", "cuda_flavor"):
            if getattr(self.build, key) not in (None, "auto"):
                self.warnings.append(f"{self.locate(f'build.{key}')}: `build.{key}` is not used: gpu is false")
        self.add_sources(found, torch, found.selection.choices(torch.release.version if torch else None))
        self.add_torch(torch)
        image, has_python = self.build.base_image, True
        if image is None:
            image, has_python = python_image(found.python)
            self.reasons.append(f"{image}: gpu is false, so a plain Python image is enough")
            flavour: Flavour = "slim"
        else:
            flavour, has_python = "custom", self.has_python(image, found.python)
            self.reasons.append(f"{image}, as `base_image` says")
        return self.stack(found, torch, image=image, flavour=flavour, has_python=has_python, cuda=None, cudnn=None)

    # --- with a GPU -----------------------------------------------------------------------------------------------

    def gpu_stack(self, found: Found) -> Stack:
        torch = self.torch_for(found)
        choices = found.selection.choices(torch.release.version if torch else None)
        needs = with_forward_compatibility(self.needs(found, choices, torch), torch, self.host, self.tables)
        problems = (*needs.problems, *host_problems(needs, choices, self.host, self.tables))
        problems += self.flavour_problems(needs)
        if problems:
            raise StackError(list(problems))
        self.add_sources(found, torch, choices)
        self.add_torch(torch)
        self.reasons.extend(need.reason for need in needs.needs)
        self.reasons.extend(needs.reasons)
        self.warnings.extend(needs.warnings)
        self.check_majors(torch, needs)
        self.check_use(found, needs)
        stack = self.stack_of_image(found, torch, needs)
        return replace(
            stack, gpu_needs=self.gpu_needs(stack, torch, choices), compiled=self.compiled(found, torch, needs)
        )

    def stack_of_image(self, found: Found, torch: TorchPick | None, needs: Needs) -> Stack:
        if self.build.base_image is not None:
            return self.custom_stack(found, torch, needs)
        asked = self.build.cuda_flavor
        if asked == "slim" or (asked == "auto" and not needs.are_of_image and not self.asks_for_image(torch, needs)):
            return self.slim_stack(found, torch, needs)
        return self.cuda_stack(found, torch, needs)

    def gpu_needs(self, stack: Stack, torch: TorchPick | None, choices: tuple[Choice, ...]) -> GpuNeeds | None:
        """What is checked when the model starts: by the rule of minor versions, not by the gate of nvidia/cuda."""
        if stack.cuda is None:
            return None
        versions = [stack.cuda, *([torch.cuda] if torch and torch.cuda else [])]
        drivers = [driver for version in versions if (driver := minimum_driver(version, self.tables))]
        package, sm = None, None
        if torch is not None and torch.build is not None:
            package, sm = f"torch {torch.version}", torch.build.sm
        elif torch is None:
            package, sm = next(((c.label, c.release.sm) for c in choices if c.release.sm), (None, None))
        return GpuNeeds(stack.cuda, max(drivers, key=Version, default=None), package if sm else None, sm or ())

    def compiled(self, found: Found, torch: TorchPick | None, needs: Needs) -> tuple[str, ...]:
        """Packages of the requirements whose setup.py imports torch."""
        names = {need.name for need in needs.needs if need.flavour.endswith("devel") and need.final == "base"}
        asked = (found.asked.get(name) for name in names)
        return tuple(sorted(each.name for each in asked if torch and each and not each.is_in_run))

    def needs(self, found: Found, choices: tuple[Choice, ...], torch: TorchPick | None) -> Needs:
        return needs_of(found.asked, choices, torch, Target(found.minor, self.machine), self.tables)

    def torch_for(self, found: Found) -> TorchPick | None:
        """torch's build, chosen again if what the first choice brings into the image calls for another."""
        asked = found.asked.get("torch")
        cuda = minor_of(self.build.cuda) if self.build.cuda else None
        # A command that installs torch picks its build itself; `cuda` then speaks of the image only.
        wish = TorchWish(
            gpu=True,
            machine=self.machine,
            cuda=None if asked is not None and asked.is_in_run else cuda,
            cuda_where=self.locate("build.cuda"),
            host=self.host,
        )
        first = self.pick_torch(found, wish)
        if first is None or first.cuda is None:
            return first
        choices = found.selection.choices(first.release.version)
        needs = self.needs(found, choices, first).needs
        refined = wish
        majors = {need.major for need in needs if not need.is_exact and need.major}
        if len(majors) == 1 and Version(first.cuda).major not in majors:
            refined = replace(refined, major=majors.pop())
        exact = tuple(need for need in needs if need.is_of_image and need.is_exact)
        if exact:
            refined = replace(refined, has_image=lambda version: self.has_image(exact, version))
        if refined == wish:
            return first
        better, _ = choose_torch(found.asked.packages["torch"], found.selection, refined, self.tables)
        return better or first

    def has_image(self, needs: tuple[Need, ...], cuda: str) -> bool:
        pick, _ = choose_image(ImageWish(tuple(replace(need, cuda=cuda) for need in needs)), self.tables)
        return pick is not None

    def pick_torch(self, found: Found, wish: TorchWish) -> TorchPick | None:
        asked = found.asked.get("torch")
        if asked is None:
            return None
        pick, problems = choose_torch(asked, found.selection, wish, self.tables)
        if problems:
            raise StackError(list(problems))
        if pick is None or asked.via is None:
            return pick
        reason = f"torch is installed by {asked.via}: taken to be the newest that goes with it"
        return replace(pick, reasons=(reason, *pick.reasons))

    def flavour_problems(self, needs: Needs) -> tuple[Problem, ...]:
        """What speaks against the user's `cuda_flavor`."""
        asked, where = self.build.cuda_flavor, self.locate("build.cuda_flavor")
        if asked == "auto":
            return ()
        if self.build.base_image is not None:
            self.warnings.append(f"{where}: `build.cuda_flavor` is not used: `base_image` names the image")
            return ()
        if self.build.cudnn is not None and asked in ("slim", "base", "runtime"):
            message = f"{asked} has no cuDNN, and `build.cudnn` asks for {self.build.cudnn}"
            hint = 'Set `cuda_flavor: "cudnn-runtime"`, or remove one of the two.'
            return (Problem(where, "build.cuda_flavor", message, hint),)
        problem = flavour_problem(asked, needs.needs, where)
        return (problem,) if problem else ()

    def asks_for_image(self, torch: TorchPick | None, needs: Needs) -> bool:
        """Whether the user's keys call for an nvidia/cuda image although no package does."""
        if self.build.cudnn is not None:
            return True
        return self.build.cuda is not None and (torch is None or torch.cuda is None) and not needs.needs

    def slim_stack(self, found: Found, torch: TorchPick | None, needs: Needs) -> Stack:
        cuda = torch.cuda if torch and torch.cuda else next((need.cuda for need in needs.needs if need.cuda), None)
        cudnn = torch.cudnn if torch and torch.cuda else next((need.cudnn for need in needs.needs), None)
        if cuda is not None and "." not in cuda:
            cuda = f"{cuda}.0"
        versions = [torch.cuda] if torch and torch.cuda else []
        versions += [need.cuda for need in needs.needs if need.cuda]
        drivers = [driver for version in versions if (driver := minimum_driver(version, self.tables))]
        image, has_python = python_image(found.python)
        asked = found.asked.get("torch")
        is_settled = asked is not None and not asked.is_in_run  # its build was chosen by `cuda`, or said to win over it
        if self.build.cuda is not None and not is_settled and cuda != minor_of(self.build.cuda):
            where = self.locate("build.cuda")
            brings = f"bring CUDA {cuda}" if cuda else "bring none"
            said = f"{where}: `build.cuda` is {self.build.cuda}, but the packages {brings}"
            self.warnings.append(f"{said}: it is not used")
        if cuda is None:
            self.reasons.append(f"{image}: nothing needs CUDA in the image")
        else:
            self.reasons.append(f"{image}: the Python packages bring CUDA {cuda} with them")
        return self.stack(
            found,
            torch,
            image=image,
            flavour="slim",
            has_python=has_python,
            cuda=cuda,
            cudnn=cudnn,
            min_driver=max(drivers, key=Version) if drivers else None,
            needs_compiler=needs.needs_compiler,
        )

    def cuda_stack(self, found: Found, torch: TorchPick | None, needs: Needs) -> Stack:
        wish = self.image_wish(torch, needs)
        pick, problems = choose_image(wish, self.tables)
        if pick is None:
            raise StackError(list(problems))
        self.warnings.extend(pick.warnings)
        self.reasons.append(self.image_reason(pick, needs))
        image = pick.image
        # A flavour that the user named is that of the image the model runs in.
        is_free = self.build.cuda_flavor == "auto"
        final = choose_final(self.build, image, wish, self.tables) if is_free else Final(None, None)
        if final.reason:
            self.reasons.append(final.reason)
        drivers = [native_driver(image.minor, self.tables)]
        if torch is not None and torch.cuda is not None:
            drivers.append(minimum_driver(torch.cuda, self.tables))
        stack = self.stack(
            found,
            torch,
            image=pick.name,
            flavour=image.flavour,
            has_python=False,
            cuda=image.minor,
            cudnn=str(image.cudnn or image.cudnn_major) if image.cudnn_major else (torch.cudnn if torch else None),
            min_driver=max((driver for driver in drivers if driver), key=Version, default=None),
            needs_compiler=needs.needs_compiler,
        )
        return replace(stack, final_image=final.image, compile_run_count=final.run_count)

    def image_wish(self, torch: TorchPick | None, needs: Needs) -> ImageWish:
        flavour: Flavour = "base"
        if not needs.are_of_image:
            flavour = "runtime"  # the user names a CUDA that no package found needs: something we cannot see does
        if self.build.cudnn is not None:
            flavour = "cudnn-runtime"
        if self.build.cuda_flavor not in ("auto", "slim"):
            flavour = cast(Flavour, self.build.cuda_flavor)  # its grammar admits no other word
        return ImageWish(
            needs=needs.needs,
            cuda=self.build.cuda,
            cudnn=self.build.cudnn,
            near=torch.cuda if torch else None,
            flavour=flavour,
            host=self.host,
            cuda_where=self.locate("build.cuda"),
            cudnn_where=self.locate("build.cudnn"),
        )

    def image_reason(self, pick: ImagePick, needs: Needs) -> str:
        users = [need.label for need in needs.needs if need.is_of_image]
        if self.build.cuda_flavor != "auto":
            return f"{pick.name}: `build.cuda_flavor` is {self.build.cuda_flavor}"
        if not users:
            key = "cudnn" if self.build.cudnn else "cuda"
            return f"{pick.name}: `build.{key}` asks for it, though no package found needs it"
        return f"{pick.name}: the smallest image that has what {', '.join(users)} needs"

    def custom_stack(self, found: Found, torch: TorchPick | None, needs: Needs) -> Stack:
        """The user's base image, refused if it is known not to have what the packages load from it."""
        base = self.build.base_image or ""
        verdict = check_base_image(base, self.image_wish(torch, needs), self.locate("build.base_image"), self.tables)
        if verdict.problem is not None:
            raise StackError([verdict.problem])
        self.warnings.extend(verdict.warnings)
        self.reasons.append(f"{base}, as `base_image` says{verdict.remark}")
        drivers = [native_driver(verdict.cuda, self.tables) if verdict.cuda else None]
        if torch is not None and torch.cuda is not None:
            drivers.append(minimum_driver(torch.cuda, self.tables))
        return self.stack(
            found,
            torch,
            image=base,
            flavour="custom",
            has_python=self.has_python(base, found.python),
            cuda=verdict.cuda or (torch.cuda if torch else None),
            cudnn=verdict.cudnn or (torch.cudnn if torch else None),
            min_driver=max((driver for driver in drivers if driver), key=Version, default=None),
            needs_compiler=needs.needs_compiler,
        )

    def has_python(self, image: str, python: str) -> bool:
        own = base_image_python(image)
        return own is not None and (python == own or python.startswith(f"{own}.") or own.startswith(f"{python}."))

    # --- checks ---------------------------------------------------------------------------------------------------

    def check_majors(self, torch: TorchPick | None, needs: Needs) -> None:
        """Two CUDA majors in one process: torch's, and that of another package."""
        if torch is None or torch.cuda is None:
            return
        on_pypi = torch.release.cuda or torch.cuda
        for need in needs.needs:
            if need.is_exact or need.major is None:
                continue
            if torch.is_rerouted and need.major != Version(on_pypi).major:
                self.warnings.append(
                    f"torch {torch.release.version} from PyPI is CUDA {on_pypi} (driver "
                    f">={minimum_driver(on_pypi, self.tables)}), {need.label} is CUDA {need.major}: "
                    f"torch's build for CUDA {torch.cuda} is taken instead"
                )
            elif need.major != Version(torch.cuda).major:
                self.warnings.append(
                    f"torch {torch.release.version} brings CUDA {torch.cuda}, {need.label} needs CUDA {need.major}: "
                    "both will be there, which takes space and the newer driver of the two"
                )

    def check_use(self, found: Found, needs: Needs) -> None:
        """`gpu: true` where nothing uses it, or only CPU builds are installed."""
        if needs.uses_gpu:
            return
        before = len(self.warnings)
        for name in [name for name in self.tables.cpu_only if name in found.asked]:
            instead = self.tables.cpu_only[name]
            where = found.asked.packages[name].where
            self.warnings.append(f"{where}: gpu is true, but {name} runs on the CPU only; {instead} uses the GPU")
        says_why = before < len(self.warnings) or bool(needs.warnings)
        names_image = self.build.cuda is not None or self.build.cudnn is not None or self.build.base_image is not None
        if not says_why and not names_image and "torch" not in found.asked:
            where = self.locate("build.gpu")
            self.warnings.append(f"{where}: gpu is true, but nothing in the requirements uses CUDA")

    # --- the answer -----------------------------------------------------------------------------------------------

    def add_sources(self, found: Found, torch: TorchPick | None, choices: tuple[Choice, ...]) -> None:
        """Say where the version of a package that is not pinned, or that no table has, was taken from."""
        picks = [(choice.asked, choice.release.version) for choice in choices]
        if torch is not None and (asked := found.asked.get("torch")) is not None:
            picks.insert(0, (asked, torch.release.version))
        for asked, version in picks:
            source = source_of(asked, version, self.tables)
            if source is not None:
                self.reasons.append(f"{asked.name} {version}: {source}")
            live = self.tables.live.get(asked.name)
            if live is not None and version in live.guessed:
                self.warnings.append(
                    f"{asked.where}: {live.index} has {asked.name} {version}, but its wheel's metadata cannot be read: "
                    "it is taken to be like the release before it"
                )

    def add_torch(self, torch: TorchPick | None) -> None:
        if torch is not None:
            self.reasons.extend(torch.reasons)
            self.warnings.extend(torch.warnings)

    def stack(
        self,
        found: Found,
        torch: TorchPick | None,
        *,
        image: str,
        flavour: Flavour,
        has_python: bool,
        cuda: str | None,
        cudnn: str | None,
        min_driver: str | None = None,
        needs_compiler: bool = False,
    ) -> Stack:
        is_rerouted = torch is not None and torch.is_rerouted
        constraints: tuple[str, ...] = ()
        if torch is not None and is_rerouted and torch.cuda is not None:
            # Without it a range could take a newer torch from PyPI, built for another CUDA.
            constraints = (f"torch=={torch.version}",)
        return Stack(
            python=found.python,
            cuda=cuda,
            cudnn=cudnn,
            base_image=image,
            flavour=flavour,
            has_python=has_python,
            torch=TorchBuild(torch.version, torch.index_url) if torch else None,
            packages=self.requirements.lines,
            min_driver=min_driver,
            reasons=tuple(self.reasons),
            warnings=tuple(self.warnings),
            install_args=self.install_args(torch if is_rerouted else None),
            constraints=constraints,
            needs_compiler=needs_compiler,
        )

    def install_args(self, torch: TorchPick | None) -> tuple[str, ...]:
        """What `uv pip install` must be told so that it reads the lines as pip does.

        `unsafe-best-match` looks in every index and takes the best version, as pip; uv's own rule would take every
        package that pytorch.org happens to mirror (numpy, pillow, ...) from there, in whatever version it has.
        `--torch-backend` is not used: it is experimental, and it hides PyPI, which alone has some companions
        (torchaudio 2.11 for CUDA 13.2). Best match prefers `2.5.1+cu121` over `2.5.1`, and `constraints` settle it.
        """
        options = self.requirements.options
        args = ["--index-strategy", "unsafe-best-match"]
        if torch is not None and torch.index_url is not None and torch_index_tag(torch.index_url):
            args += ["--extra-index-url", torch.index_url]
        # uv passes over these lines of a requirements file, pip does not.
        if options.allows_prereleases:
            args += ["--prerelease", "allow"]
        if options.requires_hashes:
            args.append("--require-hashes")
        for host in options.trusted_hosts:
            args += ["--allow-insecure-host", host]
        for setting in options.config_settings:
            args += ["--config-settings-package", setting]
        return tuple(args)
