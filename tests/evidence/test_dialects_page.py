"""The page on dialects: what its data says, and that its tables are what was measured."""

import importlib.util
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from evidence.dialects.absent import no_batch_norm, nothing_below, one_kernel_sees_the_input
from evidence.dialects.computed import right_ends, target_of_each_step
from evidence.dialects.idea import Bug, Idea, Reading, Source, wrong_citations
from evidence.dialects.ideas import IDEAS
from evidence.dialects.measure import Effect, Runner, Subject, effect, effects, subject
from evidence.dialects.page import anchor, correlation, page, settings_of
from evidence.dialects.settings import SETTINGS, Setting, padding_as_a_layer
from harness.api import load_model
from harness.backends import backend_named
from harness.engine import Store
from harness.errors import UnsupportedMethodError
from harness.graph import Graph, Layer
from harness.methods import method
from tests.harness.linear_network import GradientBackend, network
from tests.prepared import ready

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = {"iNNvestigate": "2.1.2", "signxai": "1.1.9.2", "Zennit": "0.5.1"}
LIBRARY = Source("Library", "1.2", "Rule.apply", "library/rules.py", (3, 4), "x * y")
READINGS = [(idea, reading) for idea in IDEAS for reading in idea.readings]


def reading(label, how="gradient"):
    return Reading(label, f"`{label}`", (LIBRARY,), how)


def idea(*readings, **fields):
    return Idea("idea", "An idea", "What is at stake.", readings, settings=("here",), **fields)


def page_of(made, *figures, absent=""):
    return page(
        [made], {"here": Subject("here", "an input", {"idea": figures}, {"idea": absent})}, {"numpy": "2"}
    )


# The tables ----------------------------------------------------------------------------------------------


def test_a_row_holds_the_figures_that_were_measured():
    made = idea(reading("one"), reading("other"))
    text = page_of(
        made,
        Effect(0.0, 1.0, 1.0, 1.0, 4.5, identical=True, floor=2e-15),
        Effect(0.25, 0.98765, 1.5, 0.75, -3.25, floor=2e-15),
    )
    assert "**here** (noise floor of the first reading 2e-15)" in text
    assert "| one | 0 | 1 | 1 | 1 | 4.5 | the first reading |" in text
    assert "| other | 0.25 | 0.9877 | 1.5 | 0.75 | -3.25 |  |" in text


def test_the_overview_has_the_largest_distance_of_each_idea():
    made = idea(reading("one"), reading("other"), reading("third"))
    first = Effect(0.0, identical=True)
    assert "| [An idea](#an-idea) | 0.5 |" in page_of(
        made, first, Effect(0.25, floor=1e-15), Effect(0.5, floor=1e-15)
    )
    broken = Effect(not_finite=3)
    assert "| [An idea](#an-idea) | NaN or infinite |" in page_of(
        made, first, Effect(0.5, floor=1e-15), broken
    )
    assert "| [An idea](#an-idea) | no difference |" in page_of(made, first, first, first)


def test_a_reading_is_shown_with_its_formula_library_version_lines_and_name():
    text = page_of(idea(reading("one", "lrp.z")), Effect(identical=True, sum=1.0))
    assert "| one | `one` | Library 1.2 | `Rule.apply`, `library/rules.py:3-4` | `lrp.z` |" in text


def test_a_table_of_equal_readings_becomes_a_sentence_with_the_reason():
    made = idea(reading("one"), reading("other"))
    within = Effect(9e-15, 1.0, 1.0, 1.0, 2.0, floor=1e-15)
    text = page_of(
        made, Effect(0.0, sum=2.0, identical=True, floor=1e-15), within, absent="there is no batch norm"
    )
    assert (
        "no difference here: there is no batch norm. All readings are the same to rounding (sum 2)." in text
    )
    assert "| other | 9e-15" not in text


@pytest.mark.parametrize(
    "value, shown",
    [(0.98765, "0.9877"), (1 - 2**-20, "1 - 1e-06"), (1.0, "1"), (1 - 2**-53, "1"), (None, "-")],
)
def test_a_correlation_near_one_says_how_near(value, shown):
    assert correlation(value) == shown


@pytest.mark.parametrize(
    "figures, same",
    [
        (Effect(1.0e-14, floor=1e-15), True),
        (Effect(1.1e-14, floor=1e-15), False),
        (Effect(0.0, floor=1e-15, not_finite=1), False),
        (Effect(identical=True), True),
        (Effect(error="no"), False),
    ],
)
def test_ten_floors_are_the_same_and_more_is_not(figures, same):
    assert figures.same is same


def test_one_equal_reading_among_others_says_so_in_its_row():
    made = idea(reading("one"), reading("equal"), reading("other"))
    text = page_of(
        made,
        Effect(0.0, identical=True),
        Effect(0.0, identical=True),
        Effect(0.5, floor=1e-15),
        absent="of this",
    )
    assert "| equal | 0 | - | - | - | - | no difference here, bit for bit: of this |" in text
    assert "| other | 0.5 | - | - | - | - |  |" in text


def test_values_that_are_no_numbers_and_errors_are_written():
    made = idea(reading("one"), reading("broken"), reading("refused"))
    text = page_of(made, Effect(0.0, identical=True), Effect(0.5, not_finite=7), Effect(error="not for this"))
    assert "| broken | 0.5 | - | - | - | - | 7 values are NaN or infinite |" in text
    assert "| refused | - | - | - | - | - | cannot be run: not for this |" in text


def test_what_is_not_measured_is_named_with_its_reason():
    made = idea(reading("one"), unmeasured={"vgg16-mri": "it takes an hour"})
    assert "**vgg16-mri**: not measured: it takes an hour." in page_of(made, Effect(identical=True))


def test_plain_bugs_are_listed_by_whether_they_are_reproduced():
    bugs = (Bug("It adds.", (LIBRARY,), reproduced=True), Bug("It crashes.", (LIBRARY,), reproduced=False))
    text = page_of(idea(reading("one"), bugs=bugs), Effect(identical=True))
    same, other = text.index("Reproduced by the dialect:"), text.index("Not reproduced:")
    assert same < text.index("It adds.") < other < text.index("It crashes.")
    assert "- **Library 1.2**, [An idea](#an-idea): It adds. (`Rule.apply`, `library/rules.py:3-4`)" in text


# The measurements ----------------------------------------------------------------------------------------


@pytest.fixture
def ones():
    return np.ones((1, 3))


def test_a_reading_is_held_against_the_first(ones):
    # logits of ones: (0.5 * 2 - 1.25, 0.5 + 1.25 / 2) = (-0.25, 1.125), so the second is explained;
    # its gradient is first @ (1, 0.5) = (0, 2, -0.875), and twice that sums to 2.25.
    double = reading("double", lambda runs: 2 * runs.trace(method("gradient")).attribution)
    first, second = effects(idea(reading("one"), double), Runner(network(), ones, GradientBackend()))
    assert (first.identical, first.sum) == (True, 1.125)
    assert (second.rel_l2, second.best_scale, second.norm, second.sum) == (1.0, 0.5, 2.0, 2.25)
    assert second.pearson_r == pytest.approx(1.0, abs=1e-15)


def test_a_place_without_a_number_is_counted_and_left_out():
    figures = effect(np.array([3.0, 4.0, 5.0]), np.array([6.0, 8.0, np.nan]), floor=1e-15)
    assert (figures.not_finite, figures.rel_l2, figures.norm, figures.sum) == (1, 1.0, 2.0, 14.0)


def test_a_reading_of_nothing_but_nan_has_no_sum():
    figures = effect(np.ones(2), np.full(2, np.nan), floor=1e-15)
    assert (figures.not_finite, figures.sum, figures.rel_l2) == (2, None, None)


def test_a_reading_that_cannot_be_run_leaves_its_reason(ones):
    def refuse(runs):
        raise UnsupportedMethodError("not for this network")

    found = effects(
        idea(reading("one"), reading("other", refuse)), Runner(network(), ones, GradientBackend())
    )
    assert found[1] == Effect(error="not for this network")


def test_an_interrupted_measurement_is_taken_up_where_it_stopped(own_cache):
    setting, backend = Setting("here", "ones", network), GradientBackend()
    made = idea(reading("one"), reading("other", "input_t_gradient"))
    before = subject(setting, [made], backend, Store())
    runs = backend.runs
    assert subject(setting, [made], backend, Store()) == before
    assert backend.runs == runs
    subject(setting, [replace(made, readings=made.readings[:1])], backend, Store())
    again = backend.runs
    assert again > runs
    subject(setting, [made], backend, Store(force=True))
    assert backend.runs > again


@dataclass
class Squares:
    """Runs on f(x) = x^2 / 2, whose gradient is x; ``targets`` keeps who chose the target."""

    x: np.ndarray
    targets: list

    def trace(self, method, x=None, own_target=False, layers=False):
        self.targets.append(own_target)
        return type("Trace", (), {"attribution": self.x if x is None else x})


def test_the_path_without_the_baseline_takes_the_right_ends():
    # Gradients x * (1/4, 2/4, 3/4, 1), mean 0.625 x, times x = 2.
    runs = Squares(np.array([2.0]), [])
    assert right_ends(runs) == 2.5
    assert runs.targets == [False] * 4


def test_the_path_of_changing_targets_takes_both_ends():
    # Gradients x * (0, 1/3, 2/3, 1), mean 0.5 x, times x = 2.
    runs = Squares(np.array([2.0]), [])
    assert target_of_each_step(runs) == pytest.approx(2.0, rel=1e-15)
    assert runs.targets == [True] * 4


def test_padding_made_a_layer_leaves_the_function_as_it_is():
    model = load_model("digits-cnn")
    padded = replace(model, graph=padding_as_a_layer(model.graph))
    assert [layer.kind for layer in padded.graph][:3] == ["input", "zero_pad", "conv2d"]
    x = np.asarray(next(iter(model.examples.values()))(), dtype=np.float64)
    logits = [
        ready(backend_named("oracle"), each, "float64").explain(x, method("gradient"), None, False).logits
        for each in (model, padded)
    ]
    np.testing.assert_array_equal(*logits)


# Why there is no difference ------------------------------------------------------------------------------


def test_a_network_without_batch_norm_tells_of_its_scales():
    plain = network().graph
    assert no_batch_norm(plain, np.ones(3)) == "the network has no batch norm"
    scaled = Graph("scaled", (*plain.layers, replace(plain["second"], name="third", kind="scale")), "third")
    assert "scales per channel (1)" in no_batch_norm(scaled, np.ones(3))
    normed = Graph(
        "normed", (*plain.layers, replace(plain["second"], name="third", kind="batch_norm")), "third"
    )
    assert no_batch_norm(normed, np.ones(3)) == ""


def test_two_kernels_on_the_input_are_no_reason():
    one = network().graph
    assert "`first`" in one_kernel_sees_the_input(one, np.ones(3))
    axes = ("batch", "feature")
    two = Layer("beside", "dense", ("x",), ((3,),), (2,), axes, {}, {"kernel": np.ones((3, 2))})
    assert one_kernel_sees_the_input(Graph("two", (*one.layers, two), "second"), np.ones(3)) == ""


def test_an_input_below_the_threshold_is_no_reason():
    reason = partial(nothing_below, -1.5)
    assert reason(network().graph, np.array([-1.5, 0.0])) == "no value of the input is below -1.5"
    assert reason(network().graph, np.array([-1.6, 0.0])) == ""


# The data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", IDEAS, ids=lambda made: made.name)
def test_every_reading_names_a_library_and_its_version(made):
    for each in made.readings:
        assert each.sources
    for source in made.sources:
        if source.path:
            assert source.version == VERSIONS[source.library]
            assert 0 < source.lines[0] <= source.lines[1]
            assert source.quote
        else:
            assert 1900 < int(source.version) < 2100


def test_every_name_on_the_page_is_a_name_of_the_catalogue():
    names = [each.how for _, each in READINGS if isinstance(each.how, str)]
    assert len(names) > 20
    for name in names:
        assert method(name).name


@pytest.mark.parametrize("made", IDEAS, ids=lambda made: made.name)
def test_every_idea_is_measured_or_says_why_not(made):
    assert {"vgg16-mri", "fer-xception"} <= {
        *made.settings,
        *made.unmeasured,
    }
    assert set(made.settings) <= set(SETTINGS)
    assert made.readings[0].method is not None


def test_readings_of_one_idea_are_different():
    for made in IDEAS:
        methods = [replace(each.method, name="") for each in made.readings if each.method]
        assert len({each.label for each in made.readings}) == len(made.readings) >= 2
        assert len(set(methods)) == len(methods)


def test_links_of_the_page_lead_to_one_section_each():
    anchors = [anchor(made.title) for made in IDEAS]
    assert len(set(anchors)) == len(anchors) == len({made.name for made in IDEAS})
    assert anchor("Where LRP starts: the logit or one") == "where-lrp-starts-the-logit-or-one"


def test_every_setting_is_used():
    assert settings_of(IDEAS) == tuple(SETTINGS)


def test_a_citation_is_wrong_where_its_lines_do_not_hold_its_quote(tmp_path):
    file = tmp_path / "library" / "rules.py"
    file.parent.mkdir()
    file.write_text("a\nb\nreturn x *\\\n    y\n")
    made = idea(replace(reading("one"), sources=(replace(LIBRARY, quote="x *\\ y"),)))
    assert wrong_citations([made], [tmp_path]) == ([], 1)
    moved = idea(replace(reading("one"), sources=(replace(LIBRARY, quote="x *\\ y", lines=(1, 2)),)))
    assert wrong_citations([moved], [tmp_path])[0] == ["idea: library/rules.py:1-2 does not hold 'x *\\\\ y'"]


def test_citations_hold_in_the_libraries_that_are_installed():
    found = (importlib.util.find_spec(name) for name in ("innvestigate", "signxai", "zennit"))
    roots = [Path(spec.origin).parents[1] for spec in found if spec and spec.origin]
    if not roots:
        pytest.skip("none of the libraries is installed")
    wrong, seen = wrong_citations(IDEAS, roots)
    assert seen > 10
    assert wrong == []


def test_the_page_in_docs_is_the_one_that_the_data_makes():
    text = (ROOT / "docs" / "dialects.md").read_text(encoding="utf-8")
    for made in IDEAS:
        assert f"## {made.title}\n\n{made.stake}\n" in text
        for each in made.readings:
            assert f"| {each.label} | {each.formula} |" in text
        for bug in made.bugs:
            assert bug.what in text
