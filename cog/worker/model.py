"""The user's predictor, made ready to be called: imported, described, set up, with its inputs decoded."""

import asyncio
import inspect
import os
from typing import Any, Callable, Dict, List, Optional, Tuple

from cog.input import MISSING
from cog.predictor import entry_method, load_target
from cog.reading.annotations import type_spec
from cog.reading.batching import item_type
from cog.reading.signature import _resolve_hints, field_info, input_parameters, none_if_optional, read_signature
from cog.schema.spec import PredictorSpec
from cog.types import Path
from cog.worker import wire
from cog.worker.convert import Decoder, LocalFile, make_decoder, make_default


class Model:
    """One predictor in this process. `predict` is what to call with decoded keyword arguments."""

    def __init__(self, reference: str, folder: str, mode: str) -> None:
        self._target = load_target(reference, folder)
        self.spec: PredictorSpec = read_signature(self._target, mode=mode)
        self._method = entry_method(self._target)
        self._decoders, self._defaults = _inputs(
            self._target, self._method, is_batched=self.spec.batch_size is not None
        )
        self._instance: Any = None
        self.predict: Callable[..., Any] = self._target

    def make(self) -> Any:
        """Make the predictor; give its `setup` bound to its arguments, or None when there is none to run."""
        if not self._method:
            return None
        self._instance = self._target()
        self.predict = getattr(self._instance, self._method)
        setup = getattr(self._instance, "setup", None)
        if setup is None:
            return None
        return lambda: setup(**_setup_arguments(setup))

    def decode(self, body: bytes, files: List[List[Any]]) -> Dict[str, Any]:
        """The keyword arguments for `predict` from a validated input (JSON object, files as local paths).

        `files` are the places of the files in it: keys and indexes.
        """
        given = wire.decode_json(body)
        for place in files:
            holder = given
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = LocalFile(holder[place[-1]])
        return {
            name: decode(given[name]) if name in given else self._defaults[name]()
            for name, decode in self._decoders.items()
            if name in given or name in self._defaults
        }

    async def teardown(self) -> None:
        """Run the user's `teardown()`, if there is one."""
        teardown = getattr(self._instance, "teardown", None)
        if teardown is not None:
            result = teardown()
            if inspect.isawaitable(result):
                await result

    @property
    def has_healthcheck(self) -> bool:
        """Whether the user wrote a `healthcheck()`."""
        return hasattr(self._instance, "healthcheck")

    async def healthcheck(self) -> bool:
        """What the user's `healthcheck()` says."""
        check = self._instance.healthcheck
        if inspect.iscoroutinefunction(check):
            return bool(await check())
        return bool(await asyncio.get_running_loop().run_in_executor(None, check))


def _inputs(target: Any, method: str, *, is_batched: bool) -> Tuple[Dict[str, Decoder], Dict[str, Callable[[], Any]]]:
    decoders: Dict[str, Decoder] = {}
    defaults: Dict[str, Callable[[], Any]] = {}
    for parameter, annotation in input_parameters(target, method):
        name = parameter.name
        if is_batched:
            annotation = item_type(annotation, name, may_be_none=parameter.default is None)
        decoders[name] = make_decoder(annotation)
        info = none_if_optional(name, annotation, field_info(parameter.default, annotation, name))
        if info.default is not MISSING:
            defaults[name] = make_default(info.default, decoders[name])
    return decoders, defaults


def _setup_arguments(setup: Callable[..., Any]) -> Dict[str, Any]:
    """`setup(weights)` gets what COG_WEIGHTS names, or the folder `weights/`, or None."""
    parameter = inspect.signature(setup).parameters.get("weights")
    if parameter is None or parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return {}
    value: Optional[str] = os.environ.get("COG_WEIGHTS") or ("weights" if os.path.isdir("weights") else None)
    hint = _resolve_hints(setup).get("weights")
    takes_path = hint is not None and type_spec(hint, "weights").kind == "path"
    return {"weights": Path(value) if value is not None and takes_path else value}
