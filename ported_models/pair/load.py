"""A pair from two models: read, aligned, brought under one set of names, and compared layer by layer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ported_models.endings import ending_notes
from ported_models.model import PortedModel
from ported_models.pair.align import align
from ported_models.pair.fold import Fold, folded
from ported_models.pair.ported_pair import ForwardRow, PortedPair
from ported_models.pair.report import apart, compared, feature_orders, with_folds
from ported_models.pair.rewrite import after_alignment, before_alignment, renamed
from ported_models.pair.source import check_keras, check_torch, example_of, read_keras, read_torch
from ported_models.pair.structure import with_same_numbers
from ported_models.sources.steps import Reading
from ported_models.twins.forward import LAYER_BOUND, LOGITS_BOUND, keras_activations, torch_activations


def load_pair(
    keras_model: Any,
    torch_module: Any,
    layer_map: Mapping[str, str] | None = None,
    example: Any = None,
    name: str | None = None,
) -> PortedPair:
    """A Keras model and the torch module that a user ported from it, aligned by their weights.

    ``keras_model``: a built keras.Model, or the path of a file. ``layer_map``: Keras layer name to torch
    module path, for layers that weights cannot tell; it always wins. ``example``: one batch for the
    comparison of the forward pass, NumPy in canonical layout or a torch tensor in torch's (default: two
    samples of standard normal noise from a fixed seed). Of several inputs it is a mapping by the Keras side's names;
    forward's parameters have these names, or those that ``layer_map`` has for them.

    A final softmax, log-softmax or sigmoid of either side is taken off, and a note says so. A batch norm that one
    side has folded into the layer before it is folded on the other side too (`ported_models.pair.fold`).

    Where the two compute different things the pair is loaded all the same: ``verified`` is False,
    ``forward_report`` has the figures, and a warning names the first layer. Raises ModelSourceError where
    the layers cannot be aligned or a side does not compute what was read from it, and what reading either
    side raises.
    """
    keras = read_keras(keras_model, name)
    x = example_of(example, keras.graph)
    torch, module = read_torch(torch_module, x, keras.graph, layer_map or {})
    unchecked = check_keras(keras_model, keras, x)
    check_torch(module, torch, x)
    keras_graph, keras_folds = folded(keras.graph, torch.graph)
    torch_graph, torch_folds = folded(torch.graph, keras.graph)
    torch_graph = before_alignment(keras_graph, torch_graph)
    named_inputs = {each.name for each in keras_graph.inputs}
    mapped = {layer: path for layer, path in (layer_map or {}).items() if layer not in named_inputs}
    pairs = align(replace(keras, graph=keras_graph), replace(torch, graph=torch_graph), mapped)
    named = renamed(after_alignment(keras_graph, torch_graph, pairs), pairs, keras_graph, torch.origins)
    orders = feature_orders(keras_graph, named.graph)
    canonical = {there: here for here, there in pairs.items()}
    notes, warning = _endings(keras.removed, torch.removed)
    pair = PortedPair(
        graph=keras_graph,
        removed=keras.removed,
        notes=(*keras.notes, *torch.notes, *unchecked, *notes),
        source=f"ported by hand: {type(torch_module).__name__}",
        torch_graph=with_same_numbers(keras_graph, named.graph, orders),
        torch_paths={layer: named.origins[layer] for layer in pairs if layer in named.origins},
        torch_order=orders,
        folded={
            **{fold.norm: fold.kernel for fold in keras_folds},
            **{fold.norm: canonical[fold.kernel] for fold in torch_folds},
        },
        norms={
            **{fold.norm: keras.graph for fold in keras_folds},
            **{fold.norm: torch.graph for fold in torch_folds},
        },
    )
    pair = _as_read(compared(pair, x), _Sides(keras, torch, keras_folds, torch_folds), x)
    if warning is not None:
        warnings.warn(f"{pair.name}: {warning}", stacklevel=2)
    _warn(pair)
    return pair


@dataclass(frozen=True, eq=False)
class _Sides:
    """Both sides as they were read, and the batch norms of each that the other has folded."""

    keras: Reading
    torch: Reading
    keras_folds: tuple[Fold, ...]
    torch_folds: tuple[Fold, ...]


def _as_read(pair: PortedPair, sides: _Sides, x: np.ndarray) -> PortedPair:
    """The pair with the figures of the sides as they were read: their outputs, and each batch norm that is folded.

    A batch norm of one side is compared with the layer of the other that took it in.
    """
    keras, torch = PortedModel(sides.keras.graph), PortedModel(sides.torch.graph)
    own_keras = keras_activations(keras.keras("float64"), keras.graph, x)
    own_torch = torch_activations(torch.torch("float64"), torch.graph, x)
    folded_keras = keras_activations(pair.keras("float64"), pair.graph, x) if sides.torch_folds else {}
    folded_torch = torch_activations(pair.torch("float64"), pair.torch_graph, x) if sides.keras_folds else {}
    rows = {}
    for fold in (*sides.keras_folds, *sides.torch_folds):
        kernel = pair.folded[fold.norm]
        if fold in sides.keras_folds:
            relative = apart(own_keras[fold.norm], folded_torch[kernel])
        else:
            relative = apart(folded_keras[kernel], own_torch[fold.norm])
        ok = relative <= LOGITS_BOUND
        rows[kernel] = ForwardRow(fold.norm, "batch_norm", kernel, relative, ok, "folded", reaches=(kernel,))
    outputs = apart(own_keras[keras.graph.output], own_torch[torch.graph.output])
    return replace(with_folds(pair, rows), sources_apart=outputs)


def _endings(keras: str | None, torch: str | None) -> tuple[tuple[str, ...], str | None]:
    """The notes on what the two sides end in, and a warning where these are two different functions."""
    if keras is None and torch is None:
        return (), None
    if keras == torch:
        return ending_notes(keras), None
    endings = [f"a {each.replace('_', '-')}" if each else "the value before it" for each in (keras, torch)]
    note = f"Keras ends in {endings[0]}, torch in {endings[1]}"
    if keras is None:
        note = f"torch ends in {endings[1]}, Keras in the value before it"
    note += ": what is compared and explained is the value before the ending"
    one_family = {keras, torch} <= {"softmax", "log_softmax", None} or None in (keras, torch)
    return (note,), None if one_family else f"the endings differ: {note}"


def _warn(pair: PortedPair) -> None:
    """Name the first layer that computes something else, or the first that would on another example."""
    first = pair.first_difference
    suspect = next(
        (row for row in pair.forward_report if row.structure and row.structure != "folded" and _unseen(row)),
        None,
    )
    if first is not None:
        why = f" ({first.structure})" if first.structure else ""
        warnings.warn(
            f"{pair.name}: the torch port first differs from the Keras model at layer {first.name!r} "
            f"({first.kind}), by {first.relative:.3g} relative in float64, expected at most {LAYER_BOUND:g}{why}",
            stacklevel=3,
        )
    elif not pair.verified:
        warnings.warn(f"{pair.name}: {pair.unverified}", stacklevel=3)
    elif suspect is not None:
        warnings.warn(
            f"{pair.name}: both sides compute the same on the example, but layer {suspect.name!r} differs: "
            f"{suspect.structure}; pass an example= that shows it",
            stacklevel=3,
        )


def _unseen(row: ForwardRow) -> bool:
    """Whether a layer that differs would show on another example; what others make up for does not."""
    return row.relative <= LAYER_BOUND
