"""A change of 1e-4 in one rule at one layer: from float64 sketches alone, exactly the cases that have it there are red.

python -m tests.golden.test_small_change vgg16-mri block4_conv2 Epsilon     # all goldens of a model
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from evidence.planted_bugs.bugs.planting import FaultyPort, after
from evidence.planted_bugs.bugs.sites import Where
from harness.files import in_sample
from harness.golden import Models, inspect, load_entry, verify_all
from harness.methods import rules

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2] / "golden"
CHANGE = 1e-4


@dataclass(frozen=True)
class Seen:
    """``affected``: goldens whose method has the rule at the layer. ``red``: what failed, with the layer that is named.

    ``hidden``: affected, and rounding alone moves what the layer hands on by a tenth of the change or more.
    """

    affected: frozenset[str]
    red: dict[str, str]
    hidden: frozenset[str]


def seen(root: Path, names: Sequence[str], layer: str, rule: str) -> Seen:
    """What a verification of ``names`` sees where the relevance that ``rule`` hands on at ``layer`` is changed."""
    found = inspect(root)
    at_layer = Where(having=lambda each, graph: each.name == layer, ruled=(getattr(rules, rule),))
    plant = after(at_layer, "scale", lambda module, x, relevance: relevance * (1 + CHANGE))
    wrong, models = FaultyPort("changed", (plant,)), Models()
    affected, hidden = set(), set()
    for name in names:
        golden = load_entry(found.root, name, found.entries[name], found.manifest.files)
        model = models.of(golden.trace.model, golden.facts["model_digest"], golden.facts["source"], golden.x)
        if at_layer(model.graph, golden.method):
            affected.add(name)
            below = [golden.floor.of_relevance(each) for each in model.graph[layer].inputs]
            if min(below) * 10 >= CHANGE:
                hidden.add(name)
    rows = list(verify_all(found, wrong, models, lambda name: name in names))
    red = {
        row["case"]: str(row.get("first_divergent") or row["message"]) for row in rows if not row["passed"]
    }
    return Seen(frozenset(affected), red, frozenset(hidden))


def test_exactly_the_affected_goldens_are_red_and_name_the_layer() -> None:
    names = [name for name in inspect(ROOT).entries if name.startswith("ecg-cnn1d/") and in_sample(name, 0.2)]
    result = seen(ROOT, names, "conv3", "Epsilon")
    assert len(result.affected) > 5 and len(names) - len(result.affected) > 5
    assert result.hidden == frozenset()
    assert result.red == dict.fromkeys(result.affected, "conv3")


def test_of_two_layers_that_read_one_the_changed_one_is_named() -> None:
    # The sum add_2 is read by conv2d_5 and separable_conv2d_5; a sketch does not hold their shares of its relevance.
    methods = ("lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.sequential_preset_a", "gradient")
    names = [f"fer-xception/{name}.float64" for name in methods]
    result = seen(ROOT, names, "conv2d_5", "AlphaBeta")
    assert result.affected == {names[1], names[2]}
    assert result.red == dict.fromkeys(result.affected, "conv2d_5")


@pytest.mark.nightly
def test_on_a_large_network_the_layer_is_named_from_sketches_alone() -> None:
    methods = ("lrp.epsilon", "lrp.epsilon-epsilon_0.25", "lrp.z_plus", "lrp.sequential_preset_a")
    names = [f"vgg16-mri/{name}.float64" for name in methods]
    result = seen(ROOT, names, "block4_conv2", "Epsilon")
    assert result.affected == {names[0], names[1]}
    assert result.hidden == frozenset()
    assert result.red == dict.fromkeys(result.affected, "block4_conv2")


def main(arguments: Sequence[str]) -> int:
    model, layer, rule, *root = arguments
    folder = Path(root[0]) if root else ROOT
    names = [name for name in inspect(folder).entries if name.startswith(f"{model}/")]
    result = seen(folder, names, layer, rule)
    right = [name for name, where in result.red.items() if name in result.affected and where == layer]
    print(
        f"{len(names)} goldens, {len(result.affected)} affected, {len(result.red)} red, {len(right)} of them affected "
        f"and naming {layer}; {len(result.hidden)} affected where rounding alone moves the layer by a tenth of it"
    )
    for name in sorted(result.affected.symmetric_difference(result.red)):
        print(f"  {name}: affected {name in result.affected}, red {name in result.red}")
    return int(len(right) != len(result.affected) or result.affected != set(result.red))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
