"""Captum 0.9.0: integrated gradients with its quadratures, DeepLIFT, LRP. Parameters have the library's names.

Classes and files named here are those of that version. Its LRP goes through a network twice: the second pass, with the
weights that the rules have changed, gives the denominators, and each layer sees the inputs of the first. All
stabilizers are ``z + 1e-9 * sign(z)``, ``sign(0) = +1``. Max pooling, average pooling, additions and batch norms get
`EpsilonRule` unless the user says otherwise; what is no module (a flatten written as a function) is left to autograd,
and a ReLU or a tanh passes relevance on.
"""

from __future__ import annotations

from harness.errors import InvalidInputError, UnknownNameError
from harness.graph import AVERAGE_POOLING_KINDS, WEIGHTED_KINDS
from harness.methods.composite import GRADIENT, Assignment, Composite
from harness.methods.definition import Method
from harness.methods.entries import Entry, Parameters, above_zero, choice, flag, number, whole
from harness.methods.procedures import MAX_POOLING_KINDS, DeepLift, IntegratedGradients
from harness.methods.rules import (
    Epsilon,
    Gamma,
    Gradient,
    Linearized,
    Pass,
    Rule,
    Z,
    ZPlusFast,
)
from harness.methods.stabilizers import SignedEpsilon

DIALECT = "Captum 0.9.0"

#: `approximation_methods.SUPPORTED_METHODS`, the default first.
QUADRATURES = ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")


def _integrated_gradients(name: str, parameters: Parameters) -> Method:
    """`IntegratedGradients`: the output itself, not its logarithm, is differentiated; weights are `.float()`."""
    procedure = IntegratedGradients(
        whole(name, parameters, "n_steps", 50, least=2),
        endpoint=False,
        baseline=number(name, parameters, "baselines", 0.0),
        quadrature=choice(name, parameters, "method", "gausslegendre", QUADRATURES),  # type: ignore[arg-type]
        float32_weights=choice(name, parameters, "weights", "float32", ("float32", "exact")) == "float32",
        times_difference=flag(name, parameters, "multiply_by_inputs", True),
    )
    return Method(name, GRADIENT, head="one", procedure=procedure)


def _deep_lift(name: str, parameters: Parameters) -> Method:
    """`DeepLift`: one baseline."""
    procedure = DeepLift(
        (number(name, parameters, "baselines", 0.0),),
        eps=number(name, parameters, "eps", 1e-10),
        times_difference=flag(name, parameters, "multiply_by_inputs", True),
    )
    return Method(name, GRADIENT, head="one", procedure=procedure)


def _deep_lift_shap(name: str, parameters: Parameters) -> Method:
    """`DeepLiftShap`: the mean over baselines, which users bring; here constants, or samples that both sides share."""
    values = tuple(
        number(name, {"baselines": text}, "baselines", 0.0)
        for text in parameters.get("baselines", "0").split("/")
    )
    samples = whole(name, parameters, "samples", 0 if "baselines" in parameters else 8, least=0)
    if samples and "baselines" in parameters:
        raise InvalidInputError(
            f"{name}: baselines are given or drawn, not both; leave out baselines or samples"
        )
    if max(samples, len(values)) < 2:
        raise InvalidInputError(f"{name}: 2 baselines or more are needed; with one, use deep_lift")
    procedure = DeepLift(
        values,
        samples,
        above_zero(name, parameters, "scale", 1.0),
        whole(name, parameters, "seed", 0, least=0),
        number(name, parameters, "eps", 1e-10),
        flag(name, parameters, "multiply_by_inputs", True),
    )
    return Method(name, GRADIENT, head="one", procedure=procedure)


# LRP -------------------------------------------------------------------------------------------------------

_STABILIZER = SignedEpsilon(1e-9)
#: `lrp_rules.py`, without "Rule".
RULES = ("Epsilon", "Gamma", "Alpha1_Beta0", "Identity")
#: Activations that pass relevance on (`lrp.SUPPORTED_NON_LINEAR_LAYERS`); at another one `LRP` raises TypeError.
_ACTIVATIONS = ("relu", "tanh")


def _lrp(name: str, parameters: Parameters) -> Method:
    """`LRP`: one rule for all layers with weights, or one for each of them in the order of the network."""
    rules = [_rule(name, each, parameters) for each in parameters.get("rule", "Epsilon").split("/")]
    if len(rules) == 1:
        kernels = [Assignment(rules[0], kinds=WEIGHTED_KINDS)]
    else:
        kernels = [
            Assignment(rule, kinds=WEIGHTED_KINDS, kernel_index=place) for place, rule in enumerate(rules)
        ]
        # A layer that the list is too short for has Captum's default.
        kernels.append(Assignment(_rule(name, "Epsilon", {}), kinds=WEIGHTED_KINDS))
    additions = choice(name, parameters, "additions", "module", ("module", "function"))
    sums = (*AVERAGE_POOLING_KINDS, *(("add",) if additions == "module" else ()))
    batch_norm = choice(name, parameters, "batch_norm", "Epsilon", ("Epsilon", "Identity"))
    composite = Composite(
        (
            *kernels,
            Assignment(Z(stabilizer=_STABILIZER), kinds=sums),
            Assignment(Linearized(_STABILIZER), kinds=MAX_POOLING_KINDS),
            Assignment(Linearized(_STABILIZER) if batch_norm == "Epsilon" else Pass(), kinds=("batch_norm",)),
            Assignment(Pass(), kinds=_ACTIVATIONS),
            Assignment(Gradient()),
        )
    )
    return Method(name, composite, activations=_ACTIVATIONS)


def _rule(name: str, rule: str, parameters: Parameters) -> Rule:
    biased = not flag(name, parameters, "set_bias_to_zero", False)
    match rule:
        case "Epsilon":
            return Epsilon(above_zero(name, parameters, "epsilon", 1e-9))
        case "Gamma":
            factor = number(name, parameters, "gamma", 0.25)
            return Gamma(factor, False, _STABILIZER, "kept" if biased else "none")
        case "Alpha1_Beta0":
            return ZPlusFast(_STABILIZER, biased)
        case "Identity":
            return Pass()
    raise UnknownNameError(f"rule of {name}", rule, RULES)


_MULTIPLY = {
    "multiply_by_inputs": "true (default) or false: the factor x - baseline stands in front or is left out"
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "integrated_gradients",
        "path",
        DIALECT,
        "Sundararajan et al. 2017; `IntegratedGradients`",
        _integrated_gradients,
        {
            "n_steps": "points on the path, 2 or more (default 50)",
            "method": f"{', '.join(QUADRATURES)} (default {QUADRATURES[0]})",
            "baselines": "value of the baseline at every place (default 0)",
            "weights": "float32 (default, as Captum in every dtype) or exact: how weights, and places of Riemann sums, "
            "are rounded",
            **_MULTIPLY,
        },
    ),
    Entry(
        "deep_lift",
        "path",
        DIALECT,
        "Shrikumar et al. 2017, rescale rule; `DeepLift`",
        _deep_lift,
        {
            "baselines": "value of the baseline at every place (default 0)",
            "eps": "changes of a layer's input below it count as none (default 1e-10)",
            **_MULTIPLY,
        },
    ),
    Entry(
        "deep_lift_shap",
        "path",
        DIALECT,
        "Lundberg and Lee 2017; `DeepLiftShap`",
        _deep_lift_shap,
        {
            "baselines": "values of constant baselines, 2 or more: 0/0.5/1",
            "samples": "random baselines in their place, 2 or more (default 8, where no baselines are given)",
            "scale": "standard deviation of random baselines, above 0 (default 1)",
            "seed": "of the generator that both sides share (default 0)",
            "eps": "changes of a layer's input below it count as none (default 1e-10)",
            **_MULTIPLY,
        },
    ),
    Entry(
        "lrp",
        "lrp",
        DIALECT,
        "Montavon et al. 2019; `LRP`",
        _lrp,
        {
            "rule": f"{', '.join(RULES)} (default Epsilon); or one for each layer with weights: rule=Gamma/Epsilon",
            "epsilon": "of Epsilon, above 0 (default 1e-9)",
            "gamma": "of Gamma, 0 or above (default 0.25)",
            "set_bias_to_zero": "of Gamma and Alpha1_Beta0: true or false (default)",
            "batch_norm": "rule of batch norms: Epsilon (default) or Identity",
            "additions": "module (default: `Addition_Module`) or function (``a + b``: each summand gets all of it)",
        },
    ),
)
