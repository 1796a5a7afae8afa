"""torch's layers of sequences, with torch's own parameters: recurrent modules of any depth, either direction or both,
and embeddings.

torch keeps gates as rows, an LSTM's in the graph's order and a GRU's with the reset gate first, and a bias for each of
the two products; only a GRU's second one is not the same as the first (`nn.GRU`, documentation).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ported_models.sources.torch_cuts import index
from ported_models.sources.torch_joins import concatenate
from ported_models.sources.torch_site import Site, Value, as_it_is

#: By kind, the place among torch's gates of each of the graph's.
_GATES = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "simple_rnn": (0,)}


def recurrent(
    site: Site,
    input: Value,
    hx: Any = None,
    *,
    kind: str,
    weights: dict[str, np.ndarray],
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    projection: int,
    activation: str,
) -> tuple[Value, Any]:
    """``(states, last states)`` as the module gives them; of an LSTM the last are ``(states, cells)``.

    The last states are a list, one a layer and direction; an LSTM's cells are refused where they are read.
    ``weights``: the module's parameters by their names.
    """
    if hx is not None:
        raise site.refuse("a first state", "none, which begins at zero")
    if not batch_first or input.rank != 3:
        raise site.refuse(f"batch_first={batch_first} on {input.rank} axes", "batch_first=True on three")
    if projection:
        raise site.refuse(f"proj_size={projection}", "0")
    value, last = site.arranged(input, as_it_is(3)), []
    steps = value.shape[1]
    for number in range(layers):
        directions = []
        for reverse in (False, True)[: 1 + bidirectional]:
            suffix = f"l{number}{'_reverse' if reverse else ''}"
            attributes: dict[str, Any] = {"reverse": reverse, "sequences": True}
            if kind == "gru":
                attributes["reset_after"] = True
            if kind == "simple_rnn":
                attributes["activation"] = activation
            states = site.add(kind, value, attributes, _weights(kind, weights, suffix), order=as_it_is(3))
            directions.append(states)
            last.append(index(site, states, (slice(None), 0 if reverse else steps - 1)))
        value = concatenate(site, directions, 2)
    return value, (last, _Cells(site)) if kind == "lstm" else last


class _Cells:
    """The last cell states of an LSTM, which the graph's layer does not show: whatever reads them is refused."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __getitem__(self, place: Any) -> Any:
        raise self._site.refuse("its last cell states read", "its states alone")


def _weights(kind: str, weights: dict[str, np.ndarray], suffix: str) -> dict[str, np.ndarray]:
    def gates(name: str) -> np.ndarray | None:
        array = weights.get(f"{name}_{suffix}")
        if array is None:
            return None
        rows = np.split(array, len(_GATES[kind]))
        return np.concatenate([rows[gate] for gate in _GATES[kind]])

    kernel, recurrent_kernel = gates("weight_ih"), gates("weight_hh")
    assert kernel is not None and recurrent_kernel is not None
    arrays = {"kernel": kernel.T, "recurrent_kernel": recurrent_kernel.T}
    bias, recurrent_bias = gates("bias_ih"), gates("bias_hh")
    if bias is None or recurrent_bias is None:
        return arrays
    if kind == "gru":
        return {**arrays, "bias": bias, "recurrent_bias": recurrent_bias}
    return {**arrays, "bias": bias + recurrent_bias}


def embedding(
    site: Site,
    input: Value,
    weight: np.ndarray,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Value:
    """``padding_idx`` and the two after the norm say what training does, and nothing else."""
    if max_norm is not None:
        raise site.refuse(f"max_norm={max_norm}", "None: rows as they are")
    value = site.features_last(input)
    return site.add("embedding", value, {}, {"kernel": weight}, order=(*value.order, len(value.order)))
