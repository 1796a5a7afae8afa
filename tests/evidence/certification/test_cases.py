"""No name is missing, and every kind of layer is tested."""

from __future__ import annotations

import numpy as np

from evidence.certification.cases import SINGLE_LAYERS, SMALL_SETS, cases_of, dialect_of, names_of, names_on
from evidence.certification.single_layers import UNKNOWN_TO_PEERS, single_layers
from harness.graph import KERNEL_KINDS, KINDS
from harness.methods import DIALECTS, method
from harness.methods.dialects.signxai import published_names
from reference_impls.peers.graph_json import NOT_IN_KERAS_2


def test_all_152_names_of_signxai_are_tried() -> None:
    names = {method(name).name.partition(":")[0] for name in names_of("signxai")}
    published = set(published_names())
    assert len(published) == 152
    assert published <= names


def test_every_analyzer_of_innvestigate_is_tried() -> None:
    names = {name.partition(":")[0] for name in names_of("innvestigate")}
    assert names == {entry.name for entry in DIALECTS["innvestigate"]}


def test_a_name_is_of_the_library_in_whose_dialect_it_is_read() -> None:
    assert dialect_of("gradient") == "innvestigate"
    assert dialect_of("gradient:dialect=signxai") == "signxai"
    assert dialect_of("lrp.z:low=0,high=1") == "innvestigate"
    assert dialect_of("lrp_epsilon_0_33") == "signxai"
    assert dialect_of("epsilon_plus") == "zennit"


def test_a_small_set_holds_names_of_its_library() -> None:
    for sets in SMALL_SETS.values():
        for library, names in sets.items():
            assert {dialect_of(name) for name in names} == {library}


def test_every_kind_of_layer_stands_under_trial() -> None:
    assert UNKNOWN_TO_PEERS == NOT_IN_KERAS_2
    tried = {model.graph["layer"].kind for model, _ in single_layers()}
    assert tried == set(KINDS) - {"input", *UNKNOWN_TO_PEERS}


def test_every_kernel_is_tried_with_and_without_bias() -> None:
    biased = {
        (layer.kind, "bias" in layer.weights)
        for layer in (model.graph["layer"] for model, _ in single_layers())
        if layer.kind in KERNEL_KINDS
    }
    assert biased == {
        (kind, bias) for kind in KERNEL_KINDS if kind not in UNKNOWN_TO_PEERS for bias in (True, False)
    }


def test_single_layers_are_classifiers_with_negative_inputs_and_the_same_every_time() -> None:
    first, second = list(single_layers()), list(single_layers())
    for (model, x), (again, y) in zip(first, second, strict=True):
        assert model.digest == again.digest
        np.testing.assert_array_equal(x, y)
        assert x.min() < 0 < x.max()
        assert model.graph[model.graph.output].shape == (3,)
    assert len({model.name for model, _ in first}) == len(first)


def test_a_trial_of_the_single_layers_has_every_name() -> None:
    cases = next(cases_of("signxai", SINGLE_LAYERS, names_on("signxai", SINGLE_LAYERS)))
    assert cases.names == names_of("signxai")
