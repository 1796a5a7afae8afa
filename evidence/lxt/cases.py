"""What is asked: a network, a method of ours, and lxt's own way to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from evidence.lxt.transformer import SIZES, seeded
from evidence.planted_bugs.bugs.networks import NETWORKS
from harness.api import load_model
from harness.backends import Backend, backend_named
from harness.backends.candidate import WorkerBackend
from harness.peers import python_of
from harness.runner import chosen_input

#: Networks whose twin lxt runs on, and what each is.
TWINS = {
    "encoder-net": "an encoder layer, seeded: class token, causal mask, layer norm, GELU",
    "gated-net": "the same with RMS norm and SwiGLU",
    "vit-digits": "a vision transformer of 3 blocks, trained",
    "minilm-l6": "all-MiniLM-L6-v2, a sentence transformer of 6 layers",
}
#: Calls of lxt with one thing changed, in `mended_side`.
MENDED = {
    "rms_norm": "`lxt.explicit`, `rms_norm_identity` in the dtype of its input",
    "gelu": "`lxt.efficient` without the 1e-10",
}
BIG = "torchvision-vit_b_16"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Asked:
    """``method``: ours, what the reference runs. ``lxt``: the method that its side is asked for, or one of its calls.

    ``same``: whether the two are meant to be one function; else how far a plainer name of ours is from lxt.
    """

    network: str
    method: str
    lxt: str
    dtype: str
    same: bool = True


def cases(big: bool) -> Iterator[Asked]:
    """Every case; those of `BIG` with ``big`` alone."""
    for network in TWINS:
        for name in ("attnlrp", "cp_lrp"):
            for dtype in ("float64", "float32"):
                yield Asked(network, f"{name}:dialect=lxt", f"{name}:dialect=lxt", dtype)
            for plain in (f"{name}:norm=held", name):
                yield Asked(network, plain, f"{name}:dialect=lxt", "float64", same=False)
    for name in ("attnlrp", "cp_lrp"):
        yield Asked("gated-net", f"{name}:dialect=lxt", "rms_norm", "float64")
    yield Asked("torchvision-vit-small", "cp_lrp:epsilon=0,norm=held", "gelu", "float64")
    for network in SIZES:
        if network == BIG and not big:
            continue
        for dtype in ("float32",) if network == BIG else ("float64", "float32"):
            yield Asked(network, "cp_lrp:dialect=lxt", "explicit", dtype)
            yield Asked(network, "cp_lrp:epsilon=0,norm=held", "efficient", dtype)


def model_of(network: str) -> tuple[Any, np.ndarray]:
    """The network and an input for it."""
    if network in SIZES:
        side = SIZES[network][0]
        x = np.random.default_rng(0).standard_normal((1, side, side, 3))
        return load_model(seeded(network), network, example=x.astype(np.float32)), x
    if network in NETWORKS:
        model = NETWORKS[network]()
        return model, model.examples["seeded"]()
    loaded = load_model(network)
    return loaded, chosen_input(loaded, None)[0]


@cache
def backend_of(lxt: str) -> Backend:
    """Raises PeerError where lxt is not installed."""
    if ":" in lxt:
        return backend_named("lxt")
    side = "mended_side.py" if lxt in MENDED else "torchvision_side.py"
    return WorkerBackend(f"{_FOLDER / side}:{lxt}", python=python_of("lxt"))
