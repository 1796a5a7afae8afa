"""The operations of a torch module in evaluation mode, by `torch.fx`; the module is left as it was found."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from harness.errors import ModelSourceError
from ported_models.sources.torch_own import evaluation


@dataclass(frozen=True)
class Trace:
    """``graph``: the operations. ``made``: what forward makes, tensors and modules, by name. ``notes``: on its mode."""

    graph: fx.Graph
    made: dict[str, Any]
    notes: list[str]


_MODE_MATTERS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@contextmanager
def _as_it_was(module: nn.Module) -> Iterator[None]:
    """Afterwards the module and its submodules have the attributes, parameters and buffers that they had."""
    kept = [
        (members, dict(members))
        for child in module.modules()
        for members in (vars(child), child._parameters, child._buffers, child._modules)
    ]
    try:
        yield
    finally:
        for members, before in kept:
            members.clear()
            members.update(before)


class _Tracer(fx.Tracer):
    """Also takes modules that forward makes, such as ``nn.ReLU()(x)``, where they hold no weights.

    An argument of forward that need not be given is not: what forward does without it is what is traced.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, nn.Module] = {}

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        given = list(inspect.signature(root_fn).parameters.values())[1:]
        needed = [
            each
            for each in given
            if each.default is each.empty and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
        inputs = [self.create_proxy("placeholder", each.name, (), {}) for each in needed or given[:1]]
        return root_fn, [self.root, *inputs]

    def path_of_module(self, mod: nn.Module) -> str:
        try:
            return super().path_of_module(mod)
        except NameError:
            if any(True for _ in (*mod.parameters(), *mod.buffers())):
                raise NameError(f"forward makes a {type(mod).__name__} with weights of its own") from None
        name = f"{type(mod).__name__}_{len(self.made) + 1}"
        self.made[name] = mod
        return name


def traced(module: nn.Module, origin: str) -> Trace:
    """The module's operations. Raises ModelSourceError where its forward cannot be traced."""
    training = [
        path for path, child in module.named_modules() if child.training and isinstance(child, _MODE_MATTERS)
    ]
    notes = []
    if training:
        notes.append(
            f"{origin} is in training mode, and {training[0]!r} differs between training and evaluation: "
            "it was read as in evaluation: call module.eval() first"
        )
    before = {*vars(module), *module._parameters}
    try:
        with evaluation(module), _as_it_was(module):
            # A module that is itself a torch layer would be traced into; inside a Sequential it is a leaf.
            root = nn.Sequential(module) if is_torchs_own(module) else module
            tracer = _Tracer()
            graph = tracer.trace(root)
            # The tracer keeps such tensors as attributes of the module.
            after = {**vars(module), **module._parameters}
            tensors = {name: after[name] for name in after.keys() - before}
            return Trace(graph, {**tensors, **tracer.made}, notes)
    except (
        Exception,
        SystemExit,
    ) as error:  # forward is the user's own code, which need not work on what a tracer hands it
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelSourceError(
            f"{origin}: cannot be traced ({reason}); its forward must not branch or loop on "
            "the values of tensors: take the branch out, or export the module to ONNX and load that"
        ) from None


def is_torchs_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential)
