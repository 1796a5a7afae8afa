"""The case studies: the rebuilt ports do what their descriptions say, and the page says what was measured."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evidence.case_studies.planted import EVERY_HEAD, FORGOTTEN, FROM_ONE, answers
from evidence.case_studies.sources import ALL
from evidence.case_studies.wording import answer, correlation, number
from evidence.dialects.idea import wrong_citations
from harness.api import explain, load_model
from harness.diagnosis.findings import Finding
from harness.engine import Store
from harness.errors import HarnessError

torch = pytest.importorskip("torch")

from evidence.case_studies import factors, flat, heads, hooks, ports  # noqa: E402  (they need torch)
from evidence.case_studies.measure import RELEASED, Kept, agreement  # noqa: E402
from evidence.case_studies.page import page  # noqa: E402
from evidence.case_studies.ports import Port, mend  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
STORED = json.loads((ROOT / "reports" / "case-studies.json").read_text(encoding="utf-8"))


def digits():
    model = load_model("digits-cnn")
    return model, np.asarray(next(iter(model.examples.values()))())


def finding(cause, words="", layer="conv1", stage="rule", also=()):
    return Finding(stage, layer, cause, words, error=1.0, floor=0.0, also=also)


def step(hook, module, x, relevance):
    """Relevance of the input of ``module`` under a copy of ``hook``, as Zennit puts it there."""
    seen = torch.tensor(x, dtype=torch.float64).requires_grad_()
    handles = hook.copy().register(module)
    (found,) = torch.autograd.grad(module(seen), seen, torch.tensor(relevance, dtype=torch.float64))
    handles.remove()
    return found.numpy()


def dense(weights):
    module = torch.nn.Linear(len(weights[0]), len(weights), bias=False).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weights, dtype=torch.float64))
    return module


# The page ------------------------------------------------------------------------------------------------


def test_the_page_in_docs_is_the_one_that_the_stored_figures_make():
    text = (ROOT / "docs" / "case-studies.md").read_text(encoding="utf-8")
    assert text == page(STORED["cases"], STORED["environment"])


def test_a_figure_that_changes_changes_the_page():
    cases = json.loads(json.dumps(STORED["cases"]))
    cases["factors: digits-cnn: 0_1"]["ports"]["from one"]["factor"] = 123.45
    assert "| 123.5 |" in page(cases, STORED["environment"])


def test_every_case_of_the_studies_is_stored():
    asked = []

    class Asked:
        def case(self, name, measure):
            asked.append(name)

    for study in (heads, flat, factors):
        study.measure(Asked())
    assert sorted([*asked, RELEASED]) == sorted(STORED["cases"])


def test_citations_hold_in_the_libraries_that_are_installed():
    found = (importlib.util.find_spec(name) for name in ("zennit", "innvestigate", "signxai"))
    roots = [Path(spec.origin).parents[1] for spec in found if spec and spec.origin]
    wrong, seen = wrong_citations(ALL, roots)
    assert seen >= 2
    assert wrong == []


def test_numbers_are_short_and_r_is_never_rounded_up():
    assert [number(each) for each in (0.0, 4.81794, 233746.5, 5e10, 1e-6, None)] == [
        "0",
        "4.818",
        "233,746",
        "5.000e+10",
        "1.000e-06",
        "-",
    ]
    assert [correlation(each) for each in (1 - 1e-16, 0.99999, 0.98999, None)] == [
        "1",
        "0.9999",
        "0.9899",
        "-",
    ]


def test_an_answer_says_where_a_fault_was_not_named():
    diagnosis = {
        "planted": [
            {"words": "no x", "layers": ["a", "b"], "named at": ["b"], "causes": ["flat-input"]},
            {"words": "one", "layers": [], "named at": [], "causes": []},
        ],
        "besides": ["a: something else"],
        "left": 2e-16,
        "verdict": "equivalent",
    }
    text = answer(diagnosis)
    assert "| no x | `a`, `b` | `flat-input` at 1 of 2 |" in text
    assert "| one | the run | not named |" in text
    assert "- a: something else" in text
    assert "2.0e-16 is left (relative L2): equivalent." in text


# The measurements ----------------------------------------------------------------------------------------


def test_the_fitted_factor_is_the_ratio_of_the_mean_sizes():
    # mean |(3, -5)| = 4, mean |(1, 1)| = 1.
    assert factors.fitted_factor(np.array([3.0, -5.0]), np.array([1.0, 1.0])) == 4.0
    assert [factors.value(name) for name in factors.FITTED] == [0.001, 0.01, 0.1, 0.2, 0.5]


def test_r_of_a_constant_map_is_none_and_not_a_number():
    figures = agreement(np.array([1.0, 2.0]), np.array([3.0, 3.0]))
    assert (figures["r"], figures["mae"]) == (None, 1.5)


def test_an_interrupted_run_is_taken_up_where_it_stopped(own_cache):
    runs = []

    def measure():
        runs.append(1)
        return {"value": 1}

    for force in (False, False, True):
        kept = Kept(Store(force=force), lambda what: None)
        assert kept.case("one", measure) == {"value": 1}
    assert len(runs) == 2


def test_a_fault_is_answered_by_its_cause_and_its_values_only():
    graph = digits()[0].graph
    named = finding("epsilon-value", "epsilon is 1e-06 instead of 0.1", "logits", also=("dense1",))
    wrong = finding("epsilon-value", "epsilon is 1e-05 instead of 0.1", "conv1")
    found = answers((FROM_ONE, FORGOTTEN, EVERY_HEAD), (named, wrong), graph)
    one, epsilon = found["planted"]  # the network has no heads: that fault cannot be in it
    assert (one["layers"], one["causes"]) == ([], [])
    assert epsilon["layers"] == ["logits", "dense1", "conv3", "conv2", "conv1"]
    assert (epsilon["named at"], epsilon["causes"]) == (["logits", "dense1"], ["epsilon-value"])
    assert found["besides"] == [wrong.sentence]


# The ports -----------------------------------------------------------------------------------------------


def test_a_hook_without_a_copy_of_its_own_forgets_its_epsilon():
    # x = (1, 3), w = (1, 1), z = 4, R = 4: with epsilon 1e-6 x R / (z + 1e-6), with epsilon 1 it would be x R / 5.
    found = step(hooks.ForgetfulEpsilon(1.0), dense([[1.0, 1.0]]), [[1.0, 3.0]], [[4.0]])
    np.testing.assert_allclose(found, [[4 / 4.000001, 12 / 4.000001]], rtol=1e-14)


def test_a_forgetful_port_makes_one_map_for_every_epsilon():
    model, x = digits()
    port = factors.PORTS["epsilon forgotten"].backend()
    maps = [
        explain(model, x, f"lrp_epsilon_{each}", port, 0, "float64").attribution for each in ("0_1", "0_5")
    ]
    np.testing.assert_array_equal(*maps)


def test_without_the_factor_x_the_weights_alone_share():
    # R w / (z + 1e-6) with z = 1 * 1 + 2 * 3 = 7.
    found = step(hooks.ForgetfulEpsilonWithoutInput(), dense([[1.0, 2.0]]), [[1.0, 3.0]], [[7.0]])
    np.testing.assert_allclose(found, [[7 / 7.000001, 14 / 7.000001]], rtol=1e-14)


def test_the_flat_hook_divides_by_the_real_input():
    # Each of two inputs gets R / (sum of inputs): 8 / 0.5 = 16. Sum in 8, sum out 32; the rule would give 4 and 4.
    found = step(hooks.flat_of_the_input(), dense([[5.0, -7.0]]), [[0.2, 0.3]], [[8.0]])
    np.testing.assert_allclose(found, [[8 / 0.500001, 8 / 0.500001]], rtol=1e-14)


def test_an_empty_window_makes_a_million_of_one():
    found = step(hooks.flat_of_the_input(), dense([[1.0, 1.0]]), [[0.0, 0.0]], [[1.0]])
    np.testing.assert_allclose(found, [[1e6, 1e6]], rtol=1e-14)


def test_every_head_carries_the_whole_relevance():
    # Epsilon gives x w R / z = (1, 3) R / 4 with R = 4: (1, 3); eight times that is (8, 24).
    found = step(hooks.every_head_gets_all(8), dense([[1.0, 1.0]]), [[1.0, 3.0]], [[4.0]])
    np.testing.assert_allclose(found, [[8.0, 24.0]], rtol=1e-6)


def test_a_factor_is_put_on_the_result_and_on_nothing_else():
    model, x = digits()
    plain = Port("plain", ports.as_asked, ())
    one, ten = (
        explain(model, x, "lrp.epsilon", each.backend(), 0, "float64")
        for each in (plain, replace(plain, factor=10.0))
    )
    np.testing.assert_array_equal(ten.attribution, 10 * one.attribution)
    np.testing.assert_array_equal(ten.layers["input"].relevance, one.layers["input"].relevance)


def test_mending_puts_right_what_is_named_and_nothing_else():
    port = Port("port", ports.forgetful, (), starts_from_one=True, factor=3.0)
    seed = finding("output-seed", layer="logits", stage="head")
    assert mend(port, [seed]) == replace(port, starts_from_one=False)
    assert mend(port, [finding("scale", stage="postprocess")]) == replace(port, factor=1.0)
    rule = finding("epsilon-value", layer="conv2", also=("conv1",))
    assert mend(port, [rule]).mended == {"conv1", "conv2"}


def test_a_mended_layer_does_what_the_method_asks():
    model, x = digits()
    kernels = ("logits", "dense1", "conv3", "conv2", "conv1")
    port = Port("port", ports.forgetful, ())
    runs = [
        explain(model, x, "lrp_epsilon_0_5", each.backend(), 0, "float64").attribution
        for each in (Port("asked", ports.as_asked, ()), replace(port, mended=frozenset(kernels)), port)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_what_has_no_name_is_not_mended():
    with pytest.raises(HarnessError, match="nothing to mend"):
        mend(Port("port", ports.as_asked, ()), [finding("unknown")])


def test_the_network_of_eight_heads_is_the_same_every_time():
    first, second = heads.network(), heads.network()
    assert first.digest == second.digest
    assert [layer.attributes["groups"] for layer in first.graph if layer.kind == "conv1d"] == [1, 8, 1]


def test_the_rebuilt_ports_are_what_was_released():
    assert set(STORED["cases"][RELEASED].values()) == {0.0}


@pytest.mark.parametrize("study", ["factors: digits-cnn: 0_1: from one", "heads: diagnosis"])
def test_what_was_built_in_is_named_and_mended(study):
    case = STORED["cases"][study]
    (fault,) = case["planted"]
    assert fault["causes"] in (["output-seed"], ["head-normalisation"])
    assert (case["besides"], case["verdict"]) == ([], "equivalent")
