"""What a known host changes: packages its driver or GPU cannot run, and forward compatibility where it helps."""

from __future__ import annotations

from dataclasses import replace

from cog_cli.compat.drivers import Host, compat_runs, driver_runs, has_kernels, minimum_driver
from cog_cli.compat.needs import Need, Needs
from cog_cli.compat.releases import Choice
from cog_cli.compat.tables import Tables
from cog_cli.compat.torch_build import TorchPick
from cog_cli.errors import Problem


def with_forward_compatibility(needs: Needs, torch: TorchPick | None, host: Host | None, tables: Tables) -> Needs:
    """The needs, with an nvidia/cuda image instead of slim where only its cuda-compat lets the host's driver run it."""

    def needs_compat(cuda: str | None) -> bool:
        return cuda is not None and not driver_runs(cuda, host, tables) and compat_runs(cuda, host, tables)

    found = []
    for need in needs.needs:
        if not need.is_of_image and needs_compat(need.cuda):
            need = replace(need, flavour="base", is_exact=True)
        found.append(need)
    if torch is not None and torch.cuda is not None and needs_compat(torch.cuda) and not needs.are_of_image:
        label = f"torch {torch.version}"
        reason = f"{label} needs the cuda-compat libraries of an nvidia/cuda image on {host}"
        found.append(Need(label, "base", "", "", reason, "torch", torch.cuda, is_exact=True))
    compatible = [need for need in found if need.is_of_image and needs_compat(need.cuda)]
    if not compatible:
        return needs
    labels = ", ".join(need.label for need in compatible)
    warning = (
        f"{labels} is newer than driver {host.driver if host else ''} carries: it runs by CUDA forward compatibility, "
        "which data-center GPUs have; nobody has tested this pair"
    )
    return replace(needs, needs=tuple(found), warnings=(*needs.warnings, warning))


def host_problems(needs: Needs, choices: tuple[Choice, ...], host: Host | None, tables: Tables) -> tuple[Problem, ...]:
    """Packages that cannot run on the host, each with what of the same package can. torch is judged by its builds."""
    if host is None:
        return ()
    problems = []
    for need in needs.needs:
        if need.cuda is None or driver_runs(need.cuda, host, tables):
            continue
        if need.is_of_image and compat_runs(need.cuda, host, tables):
            continue
        minimum = minimum_driver(need.cuda, tables)
        message = f"{need.label} is CUDA {need.cuda}, which needs driver >={minimum}; the host has {host.driver}"
        problems.append(Problem(need.where, need.key, message, _instead(need, choices, host, tables)))
    for choice in choices:
        release = choice.release
        if release.cuda and release.sm and has_kernels(release.sm, release.cuda, host, tables) is False:
            message = f"{choice.label} has no kernels for {host}: it has {', '.join(release.sm)}"
            problems.append(Problem(choice.asked.where, choice.asked.key, message))
    return tuple(problems)


def _instead(need: Need, choices: tuple[Choice, ...], host: Host, tables: Tables) -> str:
    """Another extra of the same release, or an older release, that the host's driver runs."""
    choice = next((choice for choice in choices if choice.asked.name == need.name), None)
    if choice is None:
        return "Update the driver."
    for extra, variant in choice.release.variants:
        is_other = variant.flavour == "slim" and extra not in choice.asked.extras and not variant.is_missing
        if is_other and variant.cuda and driver_runs(variant.cuda, host, tables):
            return f"Use {need.name}[{extra}]=={choice.release.version}, or update the driver."
    for row in reversed(choice.package.releases):
        if row.cuda and driver_runs(row.cuda, host, tables):
            return f"Use {need.name}=={row.version} (CUDA {row.cuda}), or update the driver."
    return "Update the driver."
