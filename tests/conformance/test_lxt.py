"""AttnLRP and CP-LRP as lxt 2.1 reads them: numbers by hand, the rules as data, and lxt itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import harness
from evidence.planted_bugs.bugs.networks import NETWORKS
from harness.backends import Backend, backend_named
from harness.errors import InvalidInputError
from harness.methods import AddedEpsilon, HeldNorm, Pass, ShareProduct, SoftmaxTaylor, Z, method
from ported_models import PortedModel
from ported_models.build import Builder
from tests.peers.library import needs
from tests.prepared import ready

BACKENDS = ("oracle", "tensorflow", "torch")
SMALL = AddedEpsilon(1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["attnlrp", "cp_lrp"])
def test_epsilon_brings_a_negative_denominator_nearer_to_zero(backend: str, name: str) -> None:
    # z = 2 * -1.5 = -3 = R, S(z) = -3 + 1: R_x = 2 * -1.5 * -3 / -2. On the side of the sign it were -9 / 4.
    b = Builder("negative", (1,))
    b.add("dense", "logits", weights={"kernel": np.array([[-1.5]])})
    run = ready(backend_named(backend), PortedModel.from_graph(b.graph()))
    trace = run.explain(np.array([[2.0]]), method(f"{name}:dialect=lxt,epsilon=1"))
    assert trace.attribution.tolist() == [[-4.5]]


def test_every_layer_has_the_epsilon_of_the_function_that_it_is_written_with() -> None:
    """`lxt/explicit/functional.py`: the defaults of `linear_epsilon`, `add2`, `matmul` and of `layer_norm_grad_fn`."""
    graph = NETWORKS["encoder-net"]().graph
    rules = method("attnlrp:dialect=lxt").composite.assign(graph)
    assert rules["query"] == rules["up"] == Z(stabilizer=AddedEpsilon(1e-6))
    assert rules["residual1"] == Z(stabilizer=SMALL)
    assert rules["scores"] == rules["mixed"] == ShareProduct("both", SMALL)
    assert rules["norm1"] == HeldNorm(stabilizer=AddedEpsilon(1e-6))
    assert (rules["weights"], rules["up_gelu"], rules["scaled"]) == (SoftmaxTaylor(), Pass(), Pass())
    gated = method("attnlrp:dialect=lxt").composite.assign(NETWORKS["gated-net"]().graph)
    assert gated["norm1"] == Pass()


def test_cp_lrp_holds_the_weights_and_has_an_epsilon_of_its_own_for_the_values() -> None:
    """`lxt/explicit/special.py`: ``epsilon_lrp(torch.matmul, 1e-6, attention.detach(), v)``."""
    rules = method("cp_lrp:dialect=lxt").composite.assign(NETWORKS["encoder-net"]().graph)
    assert rules["mixed"] == ShareProduct("second", AddedEpsilon(1e-6))


def test_an_epsilon_of_zero_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="epsilon must be above 0, found 0"):
        method("attnlrp:dialect=lxt,epsilon=0")


@pytest.fixture(scope="module")
def lxt() -> Iterator[Backend]:
    needs("lxt")
    backend = backend_named("lxt")
    yield backend
    backend.close()  # type: ignore[attr-defined]


@pytest.mark.peer
@pytest.mark.parametrize(("name", "layers"), [("attnlrp:dialect=lxt", 31), ("cp_lrp:dialect=lxt", 20)])
def test_lxt_itself_gives_every_layer_the_relevance_that_the_oracle_gives_it(
    lxt: Backend, name: str, layers: int
) -> None:
    model = NETWORKS["encoder-net"]()
    x = model.examples["seeded"]()
    reference = harness.explain(model, x, name, backend="oracle", dtype="float64")
    candidate = harness.explain(model, x, name, backend=lxt, target=reference.target, dtype="float64")
    comparison = harness.compare(reference, candidate)
    assert (comparison.verdict, len(comparison.table)) == ("equivalent", layers)
    assert comparison.table["rel_l2"].max() < 1e-13


@pytest.mark.peer
def test_the_rms_norm_of_lxt_is_one_of_float32(lxt: Backend) -> None:
    model = NETWORKS["gated-net"]()
    x, verdicts = model.examples["seeded"](), {}
    for dtype in ("float32", "float64"):
        given = x.astype(dtype)
        traces = [
            harness.explain(model, given, "attnlrp:dialect=lxt", backend=each, target=0, dtype=dtype)
            for each in ("tensorflow" if dtype == "float32" else "oracle", lxt)
        ]
        verdicts[dtype] = harness.compare(*traces).verdict
    assert verdicts == {"float32": "equivalent", "float64": "close"}
