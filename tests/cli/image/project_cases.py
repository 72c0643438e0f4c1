"""The projects in tests/projects: each a cog.yaml and what it comes to (`expected.Dockerfile`)."""

from __future__ import annotations

import json
from pathlib import Path

from cog_cli.compat.solver import resolve_stack
from cog_cli.compat.tables import load_tables
from cog_cli.config import load_config
from cog_cli.image.dockerfile import render
from cog_cli.image.plan import BuildPlan, PlanOptions, make_plan
from cog_cli.requirements.packages import Requirements, read_requirements
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "tests" / "projects"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())


def options_of(case: Path) -> PlanOptions:
    """The command line's part: `options.json`, if the case has one."""
    file = case / "options.json"
    return PlanOptions(**json.loads(file.read_text())) if file.exists() else PlanOptions()


def requirements_of(case: Path) -> Requirements:
    loaded = load_config(case / options_of(case).config_name)
    return read_requirements(loaded.config.build, case, locate=loaded.locate)


def plan_for(case: Path) -> BuildPlan:
    loaded = load_config(case / options_of(case).config_name)
    requirements = read_requirements(loaded.config.build, case, locate=loaded.locate)
    stack = resolve_stack(loaded.config.build, requirements, tables=load_tables(), locate=loaded.locate)
    return make_plan(loaded.config, stack, requirements, options_of(case))


def main() -> None:
    """Write every expected.Dockerfile anew; `git diff` shows what changed."""
    for case in CASES:
        (case / "expected.Dockerfile").write_text(render(plan_for(case)))


if __name__ == "__main__":
    main()
