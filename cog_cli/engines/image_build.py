"""`build_with_buildx`: one image, by as few calls to BuildKit as its labels allow."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cog.schema.spec import PredictorSpec
from cog_cli.console import console
from cog_cli.engines.base import Image
from cog_cli.engines.buildx import BuildCall, find_docker, run_build
from cog_cli.engines.image_digests import check_images
from cog_cli.image.build import BuildOrder, Secret
from cog_cli.image.certificates import read_ca_bundle
from cog_cli.image.context import StagedContext, stage_context, stage_schema
from cog_cli.image.labels import LABEL_CREATED, LABEL_FREEZE, image_labels, schema_json
from cog_cli.image.plan import BuildPlan, PlanOptions, make_plan
from cog_cli.progress import BuildProgress

# Settings of the host that uv must know in the build too, for networks that reach neither GitHub nor its mirrors.
_PASSED_ARGUMENTS = ("UV_PYTHON_DOWNLOADS_JSON_URL", "UV_PYTHON_INSTALL_MIRROR", "SOURCE_DATE_EPOCH")


class ImageStore(Protocol):
    """What a build asks of the engine about images, which it names by id."""

    def inspect(self, name: str) -> Image | None:
        """The image of this name or id, if it is here."""

    def layers(self, image_id: str) -> list[str]:
        """Digests of an image's layers, the base's first."""

    def forget(self, image_id: str) -> None:
        """Delete an image that nothing needs."""

    def describe(self, image_id: str, reference: str, mode: str) -> PredictorSpec:
        """The spec of an image's predictor, from live objects."""


def build_with_buildx(order: BuildOrder, store: ImageStore) -> str:
    """Build the order's image and give its id; it has no name yet. Raises CogError."""
    docker_program = find_docker()
    check_images(order.resolved.images)
    with tempfile.TemporaryDirectory(prefix="cog-build-") as name:
        folder = Path(name)
        secrets, plan_options = _certificates(order, folder)
        plan = make_plan(order.project.config, order.resolved.stack, order.resolved.requirements, plan_options)
        context_folder = folder / "context"
        context_folder.mkdir()
        staged = stage_context(plan, order.resolved.requirements, order.project.root, context_folder)
        for warning in staged.warnings:
            console.warn(warning)
        return _Build(store, docker_program, order, plan, staged, secrets, folder).run()


class _Build:
    """The calls to buildx that make one image, as few as its labels allow."""

    def __init__(
        self,
        store: ImageStore,
        docker_program: str,
        order: BuildOrder,
        plan: BuildPlan,
        staged: StagedContext,
        secrets: tuple[Secret, ...],
        folder: Path,
    ) -> None:
        self._store = store
        self._docker = docker_program
        self._order = order
        self._plan = plan
        self._staged = staged
        self._secrets = secrets
        self._folder = folder
        self._progress = BuildProgress(order.options.progress)
        self._train_spec = order.train_spec
        self._arguments = {name: os.environ[name] for name in _PASSED_ARGUMENTS if os.environ.get(name)}
        self._arguments |= _proxies(os.environ)
        if "SOURCE_DATE_EPOCH" in self._arguments:
            # Byte code that holds no time, nor becomes invalid when all files get another one. A constant, not the
            # epoch itself: that may be new with every commit, and would make every layer new.
            self._arguments["PYC_INVALIDATION_MODE"] = "CHECKED_HASH"
        if order.options.no_cache:
            # Not buildx's own --no-cache: the calls that follow (for the freeze, the labels) would find older layers
            # than those just made. A value that no build had before is a key that all calls of this one share.
            self._arguments["COG_FRESH"] = uuid.uuid4().hex

    def run(self) -> str:
        """Give the id of the finished image.

        The freeze is a label, and labels come before the build. So the earlier image's freeze is taken on trust; if
        the layers that hold packages turn out to be others, it is made anew and the (cached) build labelled again.
        """
        # docs/decisions/001-labels-come-last.md
        earlier = self._store.inspect(self._order.name)
        freeze = earlier.labels.get(LABEL_FREEZE) if earlier else None
        if freeze is None:
            freeze = self._freeze()
        spec = self._order.spec
        image_id = self._image(spec, freeze)
        if earlier is not None and self._package_layers(image_id) != self._package_layers(earlier.id):
            fresh = self._freeze()
            if fresh.strip() != freeze.strip():
                freeze = fresh
                image_id = self._relabelled(image_id, spec, freeze)
        config = self._order.project.config
        if (spec is None and config.predict) or (self._train_spec is None and config.train):
            if spec is None and config.predict:
                spec = self._store.describe(image_id, config.predict, "predict")
            if config.train and self._train_spec is None:
                self._train_spec = self._store.describe(image_id, config.train, "train")
            image_id = self._relabelled(image_id, spec, freeze)
        return self._same_as_earlier(earlier, image_id)

    def _same_as_earlier(self, earlier: Image | None, image_id: str) -> str:
        """The earlier image, if nothing but the time of the build tells the new one apart from it."""
        if earlier is None or earlier.id == image_id:
            return image_id
        new = self._store.inspect(image_id)
        assert new is not None, image_id
        old_labels, new_labels = dict(earlier.labels), dict(new.labels)
        old_labels.pop(LABEL_CREATED, None)
        new_labels.pop(LABEL_CREATED, None)
        if old_labels != new_labels or self._store.layers(image_id) != self._store.layers(earlier.id):
            return image_id
        self._store.forget(image_id)
        return earlier.id

    def _relabelled(self, image_id: str, spec: PredictorSpec | None, freeze: str) -> str:
        labelled = self._image(spec, freeze)
        if labelled != image_id:
            self._store.forget(image_id)
        return labelled

    def _labels(self, spec: PredictorSpec | None, freeze: str) -> dict[str, str]:
        project = self._order.project
        labels = image_labels(project.config, spec, self._train_spec, freeze, project.root)
        return {**labels, **dict(self._order.options.labels)}

    def _package_layers(self, image_id: str) -> list[str]:
        source_layers = (
            3 if self._plan.config_file else 2
        )  # The schema, the source, and the config if it has another name.
        return self._store.layers(image_id)[:-source_layers]

    def _freeze(self) -> str:
        target = self._folder / "freeze"
        shutil.rmtree(target, ignore_errors=True)
        self._call("freeze", output=f"type=local,dest={target}", labels={})
        return (target / "pip_freeze.txt").read_text(encoding="utf-8")

    def _image(self, spec: PredictorSpec | None, freeze: str) -> str:
        if spec is not None:
            stage_schema(schema_json(spec), self._staged.cog_context)
        return self._call("model", output=None, labels=self._labels(spec, freeze))

    def _call(self, target: str, *, output: str | None, labels: dict[str, str]) -> str:
        call = BuildCall(
            dockerfile=self._staged.dockerfile,
            context=self._staged.project,
            cog_context=self._staged.cog_context,
            target=target,
            output=output,
            labels=labels,
            secrets=self._secrets,
            arguments=self._arguments,
            platform=self._order.options.platform,
        )
        return run_build(self._docker, call, self._progress)


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies of the shell, for every step: some programs read the one spelling, some the other.

    BuildKit knows these arguments by itself: no layer, label, history or cache key has them.
    """
    found: dict[str, str] = {}
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"):
        value = environ.get(name) or environ.get(name.upper())
        if value:
            found |= {name: value, name.upper(): value}
    return found


def _certificates(order: BuildOrder, folder: Path) -> tuple[tuple[Secret, ...], PlanOptions]:
    """The secrets of a build, with the CA bundle among them if there is one."""
    options = order.options
    if options.ca_cert is None:
        return options.secrets, PlanOptions(config_name=order.project.config_name)
    bundle = read_ca_bundle(options.ca_cert).encode()
    file = folder / "ca.pem"
    file.write_bytes(bundle)
    digest = hashlib.sha256(bundle).hexdigest() if options.image_ca else None
    plan_options = PlanOptions(ca_cert=True, image_ca_sha256=digest, config_name=order.project.config_name)
    return (*options.secrets, Secret("cog-ca", file=file)), plan_options
