"""What a pair ported by hand means for its cases: they never pass while it is not verified, and a batch norm that one
side has folded is explained as folded."""

from __future__ import annotations

from typing import Any

from harness.errors import MethodDoesNotApplyError
from harness.graph import Graph, Input
from harness.methods import Backward, GradCam, Gradient, Method, Pass, Rollout
from harness.trace import Trace

#: Under this key the provenance of a trace says why its pair is not verified.
UNVERIFIED = "unverified"
#: Rules under which a batch norm and the layer that took it in are explained as that one layer.
_FOLDING = (Gradient, Pass)


def check_applies(method: Method, model: Any) -> None:
    """Raise where ``method`` cannot be run on ``model``: what `Method.check` raises.

    And MethodDoesNotApplyError for a method that moves the input of a model whose input is numbers of rows, and for
    a method with a rule of its own for a batch norm that one side of a pair has
    folded: there is no such layer to apply it to.
    """
    method.check(model.graph)
    if model.graph.rows_at_input is not None and not isinstance(
        method.procedure, Backward | GradCam | Rollout
    ):
        rows = next((repr(each.name) for each in model.graph.inputs if _names_rows(model.graph, each)), "")
        raise MethodDoesNotApplyError(
            f"{method.name} runs {model.name} on inputs between or beside the given one, and its input "
            f"{f'{rows} ' if rows else ''}is numbers of rows, which have nothing between them; choose a method of one "
            "run, such as gradient or lrp.epsilon"
        )
    for norm, kernel in getattr(model, "folded", {}).items():
        graph = model.norms[norm]
        rule = method.composite.rule_for(graph[norm], graph)
        if not isinstance(rule, _FOLDING):
            raise MethodDoesNotApplyError(
                f"{method.name} has a rule of its own for batch norm ({type(rule).__name__}), and {norm!r} of "
                f"{model.name} is folded into {kernel!r} on one side; choose a method without one, such as gradient "
                "or lrp.gamma, or port the batch norm as a layer"
            )


def _names_rows(graph: Graph, one: Input) -> bool:
    rows = graph.rows_at_input
    return rows is not None and bool(rows[one.places].any())


def unverified(model: Any) -> str | None:
    """Why the two sides of a pair are not one network; None where they are, and for every model of one source."""
    reason = getattr(model, "unverified", None)
    return None if reason is None else f"the pair {model.name!r} is not verified: {reason}"


def of_model(trace: Trace, model: Any) -> Trace:
    """``trace`` with what the harness knows of its model.

    That is which layers each layer reads, and, in its provenance, that the pair it is a run of is not verified.
    """
    trace.name_inputs(model.graph)
    reason = unverified(model)
    if reason is not None:
        trace.provenance[UNVERIFIED] = reason
    return trace
