"""What loads of the torch networks that people have, and what comes of four methods on them.

    python -m evidence.models.torch_table [--only NAME]... [--again] [--load] [--only-page]

Each network is a process of its own with a time limit; its row is kept in ``reports/models-torch.json`` at once, and
measured again with ``--again`` only. ``--load`` measures loading alone. ``--only-page`` writes the page from the rows
that are kept. timm has to be importable for its rows: ``pip install --target FOLDER --no-deps timm``, and
``PYTHONPATH=FOLDER``. Writes ``reports/models-torch.md``.
"""

from __future__ import annotations

import sys
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from evidence.models import rows as tables
from evidence.models.rows import ROOT, Row, apart, closed, verdicts_on
from evidence.models.torch_networks import NETWORKS, built


def measured(name: str, load_only: bool) -> Row:
    """The row of a network, measured in this process."""
    import numpy as np
    import torch

    import harness

    network = NETWORKS[name]
    module, example = built(network)
    start = time.monotonic()
    row = Row(name, network.pixels)
    try:
        try:
            model = _loaded(module, example)
        except harness.HarnessError as error:
            if "load it in double precision" not in str(error):
                raise
            row = replace(row, double=True)
            module, example = module.double(), example.double()
            model = _loaded(module, example)
    except harness.HarnessError as error:
        return closed(replace(row, refusal=str(error)), start)
    except Exception as error:  # a raw one is a fault, which the table shows
        return closed(replace(row, refusal=f"RAW {type(error).__name__}: {error}"), start)
    with torch.no_grad():
        own = module(example.clone()).numpy()
    x = np.ascontiguousarray(np.moveaxis(example.numpy(), 1, -1))
    dtype = "float64" if row.double else "float32"
    row = replace(row, layers=len(model.layers), twins=_twins(model, x, own, dtype))
    if load_only:
        return closed(row, start)
    verdicts = verdicts_on(model, x, dtype)
    return closed(replace(row, verdicts=verdicts, autograd=autograd(model, module, example)), start)


def _loaded(module: Any, example: Any) -> Any:
    import harness

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return harness.load_model(module, example=example)


def autograd(
    model: Any, module: Any, example: Any, numbers: AbstractContextManager[Any] | None = None
) -> float:
    """How far ``gradient`` of the largest output, on either side, is from the network's own autograd, in float64.

    ``numbers``: what the network computes inside of, such as `evidence.models.file_numbers.FileNumbers`.
    """
    import numpy as np

    import harness

    x = example.double().requires_grad_()
    with numbers or nullcontext():
        output = module.double()(x)
    output.max().backward()
    own = np.moveaxis(x.grad.numpy(), 1, -1)
    inputs = np.ascontiguousarray(np.moveaxis(x.detach().numpy(), 1, -1))
    target = int(output.argmax())
    sides = (
        harness.explain(model, inputs, "gradient", backend, target, "float64", layers=False)
        for backend in ("tensorflow", "torch")
    )
    return max(apart(side.attribution, own) for side in sides)


def _twins(model: Any, x: Any, own: Any, dtype: str) -> float:
    import numpy as np
    import torch

    with torch.no_grad():
        torch_output = model.torch(dtype)(
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
        ).numpy()
    keras_output = np.asarray(model.keras(dtype)(x, training=False))
    return max(apart(torch_output, own), apart(keras_output, own))


TABLE = tables.Table(
    module="evidence.models.torch_table",
    groups={name: network.library for name, network in NETWORKS.items()},
    pixels={name: network.pixels for name, network in NETWORKS.items()},
    measured=measured,
    kept=ROOT / "reports" / "models-torch.json",
    page=ROOT / "reports" / "models-torch.md",
    intro=(
        "# Torch networks",
        "",
        "Written by `python -m evidence.models.torch_table`. Seeded weights, batch-norm statistics of noise; single",
        "precision, batches of one. *twins*: relative difference of the twins' output from the network's own, the",
        "larger. *autograd*: the same of `gradient` from the network's own autograd, all in double precision. *end to",
        "end*: all four methods equivalent, or refused by name because no rule exists while `gradient` is equivalent;",
        f"and *autograd* within {tables.AUTOGRAD_BOUND:g}.",
        "",
    ),
)


if __name__ == "__main__":
    sys.exit(tables.run(TABLE, __doc__))
