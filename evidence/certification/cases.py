"""The cases: the names of each library, and the models they are run on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from evidence.certification.results import Result, Status
from evidence.certification.single_layers import single_layers
from harness.api import load_model
from harness.methods import ALL_METHODS, DIALECTS
from harness.runner import chosen_input

#: The libraries that run as peers, in the order in which they are run.
LIBRARIES = ("innvestigate", "signxai")

#: Models of the zoo that every name is run on.
FULL_MODELS = ("digits-cnn", "ecg-cnn1d", "fer-xception")
#: The name under which all single layers are chosen and counted.
SINGLE_LAYERS = "single layers"
#: A model whose runs take minutes, and the names it is left with: one of each family, sampling left out.
SMALL_SETS = {
    "vgg16-mri": {
        "innvestigate": (
            "gradient",
            "guided_backprop",
            "deconvnet",
            "lrp.z",
            "lrp.epsilon",
            "lrp.alpha_1_beta_0",
            "lrp.sequential_preset_a_flat",
            "deep_taylor",
        ),
        "signxai": (
            "gradient_x_sign",
            "lrp_z",
            "lrpsign_z",
            "lrpz_epsilon_1",
            "lrp_epsilon_0_1_std_x",
            "w2lrp_sequential_composite_a",
            "zblrp_epsilon_0_1_VGG16ILSVRC",
            "grad_cam_VGG16ILSVRC",
            "guided_grad_cam_VGG16ILSVRC",
        ),
    }
}
#: What `--model` takes: the columns of the report.
GROUPS = ("digits-cnn", "ecg-cnn1d", SINGLE_LAYERS, "fer-xception", *SMALL_SETS)


@dataclass(frozen=True, eq=False)
class ModelCases:
    """A model and an input, and the names to run on them. ``group``: where its results are counted."""

    library: str
    group: str
    model: Any
    x: np.ndarray
    names: tuple[str, ...]

    def result(self, name: str, status: Status, **facts: Any) -> Result:
        """The result of ``name`` on this model; ``facts``: the other fields of a result."""
        return Result(self.library, self.group, self.model.name, name, status, **facts)


def dialect_of(name: str) -> str:
    """The key of `harness.methods.DIALECTS` that ``name`` is read in."""
    base, _, tail = name.partition(":")
    chosen = re.search(r"(?:^|,)dialect=(\w+)", tail)
    if chosen:
        return chosen[1]
    for dialect, entries in DIALECTS.items():
        if any(entry.name == base for entry in entries):
            return dialect
    return "signxai"  # the only dialect whose grammar has names that are not listed


@cache
def names_of(library: str) -> tuple[str, ...]:
    """Every name of ``library``, those that need parameters with some, and its parameter variants."""
    return tuple(name for name in ALL_METHODS if dialect_of(name) == library)


def names_on(library: str, group: str) -> tuple[str, ...]:
    """The names of ``library`` that are run on the models of ``group``."""
    return SMALL_SETS[group][library] if group in SMALL_SETS else names_of(library)


@cache
def models_of(group: str) -> tuple[str, ...]:
    """The names of the models of ``group``."""
    return tuple(model.name for model, _ in single_layers()) if group == SINGLE_LAYERS else (group,)


def cases_of(library: str, group: str, names: tuple[str, ...]) -> Iterator[ModelCases]:
    """``names`` on the models of ``group`` with an input each, loaded one after the other."""
    if group == SINGLE_LAYERS:
        for model, x in single_layers():
            yield ModelCases(library, group, model, x, names)
    else:
        loaded: Any = load_model(group)
        yield ModelCases(library, group, loaded, chosen_input(loaded, None)[0], names)
