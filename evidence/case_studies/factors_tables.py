"""The tables of study 1, and the rows that show most plainly what they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from evidence.case_studies.factors import FITTED, MODELS, PORTS, value
from evidence.case_studies.measure import Json
from evidence.case_studies.wording import correlation, number, table

Cases = Mapping[str, Json]
#: What the report asks of a finished method.
WANTED_R, WANTED_MAE = 0.99, 1e-4
#: The epsilon whose diagnoses are shown.
SHOWN = "0_1"
#: What each port is, in a few words, and the letter that the tables have for it.
DESCRIPTION = {
    "from one": "right at every layer; starts from one",
    "epsilon forgotten": "starts from one; epsilon is 1e-6, whatever is asked for",
    "another composite": "signxai2 0.5.0's `epsilon`: starts from one; alpha 2, beta 1 at convolutions; a constant at "
    "the end (left out of the ratio)",
    "no factor x": "signxai2 0.5.0's epsilon hook: starts from one; epsilon is 1e-6; the factor x is missing; no hook "
    "at other layers",
}
LETTER = dict(zip(DESCRIPTION, "ABCD", strict=True))


@dataclass(frozen=True)
class Row:
    """One port on one network with one epsilon.

    ``sizes``: of that network and epsilon; ``run``: of the port; ``diagnosis``: None where none was made.
    """

    model: str
    epsilon: str
    port: str
    sizes: Json
    run: Json
    diagnosis: Json | None


def rows(cases: Cases) -> Iterator[Row]:
    """All of them."""
    for model in MODELS:
        for port in PORTS:
            for epsilon in FITTED:
                sizes = cases[f"factors: {model}: {epsilon}"]
                diagnosis = cases.get(f"factors: {model}: {epsilon}: {port}")
                yield Row(model, f"{value(epsilon):g}", port, sizes, sizes["ports"][port], diagnosis)


def factor_table(cases: Cases) -> str:
    """The fitted factor of every port by epsilon, below those of the report."""
    lines = [("the report: VGG16, ImageNet", "", *(f"{factor:g}" for factor in FITTED.values()))]
    for model in MODELS:
        for port in PORTS:
            these = [row for row in rows(cases) if (row.model, row.port) == (model, port)]
            name = f"{model}, logit {number(these[0].sizes['logit'])}"
            lines.append((name, LETTER[port], *(number(row.run["factor"]) for row in these)))
    return table(("epsilon", "port", *(f"{value(epsilon):g}" for epsilon in FITTED)), lines)


def agreement_table(cases: Cases, model: str) -> str:
    """By port and epsilon: the factor, r and MAE as the report computes them, what the harness says, what is left."""
    columns = ("port", "epsilon", "factor", "r", "MAE", "scaled", "zeros", "left", "next input")
    of_diagnosis = ("the harness says", "left when mended")
    lines = [
        (
            LETTER[row.port],
            row.epsilon,
            number(row.run["factor"]),
            correlation(row.run["before"]["r"]),
            number(row.run["before"]["mae"], 3),
            number(row.run["after"]["mae"], 3),
            number(row.sizes["mean"], 3),
            number(row.run["after"]["rel_l2"], 3),
            number(row.run["second input"]["rel_l2"], 3),
            *_of_diagnosis(row.diagnosis),
        )
        for row in rows(cases)
        if row.model == model
    ]
    return table((*columns, *of_diagnosis), lines)


def _of_diagnosis(diagnosis: Json | None) -> tuple[str, str]:
    """The causes named, and what mending leaves; empty where it was not diagnosed."""
    if diagnosis is None:
        return "", ""
    causes = dict.fromkeys(cause for fault in diagnosis["planted"] for cause in fault["causes"])
    others = f", {len(diagnosis['besides'])} not built in" if diagnosis["besides"] else ""
    return ", ".join(f"`{cause}`" for cause in causes) + others, number(diagnosis["left"], 2)


def high_r(cases: Cases) -> Row:
    """A wrong epsilon that r passes: of these the one with most left after scaling."""
    passing = (
        row for row in rows(cases) if row.port == "epsilon forgotten" and row.run["before"]["r"] > WANTED_R
    )
    return max(passing, key=lambda row: row.run["after"]["rel_l2"])


def other_image(cases: Cases) -> Row:
    """Right but for the start: where the factor of the first input is worth least on the second."""
    return max(
        (row for row in rows(cases) if row.port == "from one"),
        key=lambda row: row.run["second input"]["rel_l2"],
    )


def small_map(cases: Cases) -> Row:
    """A map so small that MAE passes without scaling: of these the one with r nearest to zero."""
    passing = (row for row in rows(cases) if row.run["before"]["mae"] < WANTED_MAE)
    return min(passing, key=lambda row: abs(row.run["before"]["r"]))


def shown(cases: Cases) -> Iterator[Row]:
    """The rows whose diagnosis is shown in full."""
    epsilon = f"{value(SHOWN):g}"
    yield from (row for row in rows(cases) if row.epsilon == epsilon and row.diagnosis is not None)
