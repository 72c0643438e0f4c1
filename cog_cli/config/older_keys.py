"""Keys that public models carry from earlier years: folded into today's, with a warning that says what becomes of each.

Which keys those are was counted over 129 public cog.yaml files from 2021 to 2026.
"""

from __future__ import annotations

from cog_cli.config.draft import Draft
from cog_cli.config.grammar import GrammarError, check_image, is_reference_to_code
from cog_cli.config.key_paths import escape
from cog_cli.config.model import Build

IGNORED_KEYS = {
    "name": "ignored; `image` names the image",
    "examples": "ignored; nothing reads examples from cog.yaml",
}
IGNORED_BUILD_KEYS = {
    "fast": "ignored; there is only one kind of build",
    "architectures": "ignored; `build.gpu` decides whether the image is for a GPU",
    "env": "ignored; write a list of NAME=value under the top-level key `environment`",
    "sdk_version": "ignored; the image gets the cog package of this version of cog",
}
INDEX_OPTIONS = {"python_extra_index_urls": "--extra-index-url", "python_find_links": "--find-links"}
OTHER_OLDER_KEYS = {
    "model": "a bare image name, used as `image`; the 2021 form file.py:Class has moved to `predict`",
}
_URL_SCHEMES = ("https://", "http://", "file://")


def fold_older_keys(draft: Draft) -> None:
    """Move, use or drop every older key of the draft, and say so."""
    for key, meaning in IGNORED_KEYS.items():
        if key in draft.data:
            del draft.data[key]
            draft.warn((key,), meaning)
    _fold_environment(draft)
    _fold_model(draft)
    _fold_run(draft)
    build = draft.section("build")
    if build is not None:
        _fold_build(draft, build)
    concurrency = draft.section("concurrency")
    if concurrency is not None and "default_target" in concurrency:
        del concurrency["default_target"]
        draft.warn(("concurrency", "default_target"), "ignored; only an autoscaler would read it")


def _fold_environment(draft: Draft) -> None:
    """In 2021 `environment` was what is `build` now."""
    environment = draft.section("environment")
    known = {*Build.model_fields, *IGNORED_BUILD_KEYS, *INDEX_OPTIONS}
    if environment is None or not known & environment.keys():
        return
    if "build" in draft.data:
        draft.find(
            ("environment",),
            "a mapping with build keys is the form of 2021, and there is a `build` already",
            "Move its keys under `build`; `environment` is now a list of KEY=VALUE.",
        )
        del draft.data["environment"]
        return
    draft.warn(("environment",), "used as `build`, which is the name of these keys since 2021")
    draft.data["build"] = draft.data.pop("environment")
    draft.locator.renamed["build"] = "environment"


def _fold_model(draft: Draft) -> None:
    model = draft.data.get("model")
    if not isinstance(model, str):
        return  # nothing, or the wrong type: reported with the unknown keys
    del draft.data["model"]
    has_predictor = bool(draft.data.keys() & {"predict", "run"})
    if is_reference_to_code(model):
        if has_predictor:
            draft.warn(("model",), "ignored; `predict` names the predictor")
            return
        rename = " rename `environment` to `build`," if "build" in draft.locator.renamed else ""
        draft.find(
            ("model",),
            "the form of 2021 (cog.Model with @cog.input) is not supported",
            f'Write `predict: "{escape(model)}"`,{rename} make the class a cog.BasePredictor, and give the inputs as'
            " annotated arguments: def predict(self, text: str = Input(description=...)) -> str.",
        )
        return
    if "image" in draft.data:
        draft.warn(("model",), "ignored; `image` names the image")
        return
    try:
        check_image(model)
    except GrammarError as error:
        draft.find(("model",), error.message, error.hint)
        return
    draft.warn(("model",), "used as `image`; write `image` instead")
    draft.data["image"] = model
    draft.locator.renamed["image"] = "model"


def _fold_run(draft: Draft) -> None:
    if "run" not in draft.data:
        return
    run = draft.data.pop("run")
    if "predict" in draft.data:
        draft.find(("run",), "`run` and `predict` are two names of the same key", "Keep one of them.", at_key=True)
        return
    draft.data["predict"] = run
    draft.locator.renamed["predict"] = "run"


def _fold_build(draft: Draft, build: dict[str, object]) -> None:
    for key, meaning in IGNORED_BUILD_KEYS.items():
        if key in build:
            del build[key]
            draft.warn(("build", key), meaning)
    for key, option in INDEX_OPTIONS.items():
        if key in build:
            _fold_urls(draft, build, key, option)
    if build.get("pre_install"):
        draft.warn(
            ("build", "pre_install"), "deprecated: its commands still run, before the Python packages; use `build.run`"
        )


def _fold_urls(draft: Draft, build: dict[str, object], key: str, option: str) -> None:
    """A list of URLs becomes installer options behind the packages."""
    urls = build.pop(key)
    lines: list[str] = []
    for index, url in enumerate(urls if isinstance(urls, list) else [urls]):
        path = ("build", key, index)
        if isinstance(url, str) and url.startswith(_URL_SCHEMES) and url.isprintable() and " " not in url:
            lines.append(f"{option} {url}")
        else:
            draft.warn(path, f"ignored; {escape(str(url))} is not the URL of a package index")
    packages = build.get("python_packages")
    if lines and (packages is None or isinstance(packages, list)):
        build["python_packages"] = [*(packages or []), *lines]
        draft.warn(("build", key), f"used as `{option} URL` lines of `build.python_packages`")
