"""Every planted bug is found where it was put, and called what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import harness
from evidence.planted_bugs import Result, collect, run_case, score
from evidence.planted_bugs.command import BUGS
from evidence.planted_bugs.effect import owed
from evidence.planted_bugs.run import case_of
from harness.diagnosis import CAUSES
from harness.files import in_sample
from harness.runner import chosen_input

pytestmark = pytest.mark.thinned(0.15)

COLLECTION = collect(BUGS)
#: From the fastest to the slowest.
BY_SPEED = (
    "tokens-net",
    "branches-net",
    "halves-net",
    "groups-net",
    "slopes-net",
    "encoder-net",
    "gated-net",
    "deformable-net",
    "encoder-pair",
    "vit-digits",
    "vit-digits-pair",
    "digits-cnn",
    "ecg-cnn1d",
    "fer-xception",
    "minilm-l6",
    "vgg19-cifar10",
    "efficientnet-lite0",
    "vgg16-mri",
    "mask-decoder-quarter",
    "vit-s-focus",
)
SLOW = BY_SPEED[BY_SPEED.index("fer-xception") :]
#: Not named before pairs of deviations were tried, which takes half a minute.
PAIRS_SEARCHED = "back-through-two-kernels"
#: About this share of the functions without layers.
FUNCTIONS_ON_PUSH = 0.15


def cases() -> Iterator[object]:
    """Every mutant, model and method; the first method on the fastest model on every push, the rest nightly.

    Of the functions without layers, each of which takes hundreds of whole runs, a fixed sample on every push.
    """
    for mutant in COLLECTION.mutants:
        models = sorted(mutant.models, key=BY_SPEED.index)
        for model in models:
            for method in mutant.methods:
                first = model == models[0] and method == mutant.methods[0] and model not in SLOW
                first &= not mutant.name.startswith("fn-") or in_sample(mutant.name, FUNCTIONS_ON_PUSH)
                first &= mutant.name != PAIRS_SEARCHED
                marks = [] if first else [pytest.mark.nightly]
                yield pytest.param(mutant.name, model, method, marks=marks)


@pytest.mark.parametrize(("mutant", "model", "method"), list(cases()))
def test_the_fault_is_found_and_named(mutant: str, model: str, method: str) -> None:
    case = case_of(COLLECTION, COLLECTION.named(mutant), model, method)
    assert case is not None, f"{mutant} has no place in {model}: take the model off its list"
    result = run_case(COLLECTION, case)
    words = "; ".join(each.sentence for each in result.findings) or result.error or "nothing found"
    scored = score(owed(COLLECTION, case, result), result)
    assert scored.detected, words
    assert scored.layer_right, f"expected {case.expected}, found: {words}"
    assert scored.cause_right, f"expected {case.expected}, found: {words}"
    assert not case.first_seen or all(each.first_seen for each in result.findings if each.stage == "rule"), (
        words
    )


@pytest.mark.tensorflow
@pytest.mark.torch
def test_a_layer_where_the_bug_changes_nothing_is_not_owed() -> None:
    mutant = COLLECTION.named("bias-left-out-at-one-convolution")
    case = case_of(COLLECTION, mutant, "digits-cnn", mutant.methods[0])
    assert case is not None
    (planted,) = case.expected
    assert planted.layers is not None and "dense1" not in planted.layers
    more = replace(case, expected=(replace(planted, layers=(*planted.layers, "dense1")),))
    assert owed(COLLECTION, more, Result((), 0.0)) == case.expected
    nowhere = replace(case, expected=(replace(planted, layers=("dense1",)),))
    assert owed(COLLECTION, nowhere, Result((), 0.0)) == nowhere.expected


def test_every_cause_that_a_candidate_can_have_is_planted() -> None:
    planted = {fault.cause for mutant in COLLECTION.mutants for fault in mutant.faults}
    assert planted == set(CAUSES)


def test_every_zoo_model_has_mutants() -> None:
    tried = {model for mutant in COLLECTION.mutants for model in mutant.models}
    assert set(harness.list_models()) <= {*tried, "mask-decoder"}, (
        "a quarter of the mask decoder stands for it"
    )


def test_the_readme_names_only_mutants_that_exist() -> None:
    """Names in the last column of its tables, but for the parts that mutants are made of."""
    import re

    text = (BUGS.parent / "README.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[2] for line in text.splitlines() if line.startswith("| ") and line.count("|") == 3
    ]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}
    assert named, "the tables hold no names"
    assert named <= {mutant.name for mutant in COLLECTION.mutants}


@pytest.mark.parametrize("model", BY_SPEED[:5])
def test_without_a_plant_the_machinery_adds_no_fault(model: str) -> None:
    """What the mutants are made of is the healthy port, so that their fault is all that is wrong with them."""
    port = type(COLLECTION.named("std-ddof-1").build())("nothing planted", ())
    loaded = COLLECTION.model(model)
    x = chosen_input(loaded, None)[0].astype(np.float64)
    reference, candidate = (
        harness.explain(loaded, x, "lrp.epsilon", backend, dtype="float64")
        for backend in ("tensorflow", port)
    )
    assert harness.compare(reference, candidate).passed
