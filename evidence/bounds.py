"""Whether a derived bound ever decides otherwise than the measured floor: python -m evidence.bounds

    python -m evidence.bounds [--model NAME]... [--method GLOB]... [--bugs SHARE] [--share SHARE] [--no-sampled]
        [--runs N] [--kept-only] [--out FILE]

Every method of the catalogue on every network of the zoo, in both dtypes, and a fixed sample of the planted bugs: the
two runs are compared twice, once as `harness.compare` does it, with the least evidence that decides, and once with the
floor and equal ground measured in any case. Wherever a bound, or what rounding does to single steps, stood for a floor,
the two must agree, row by row, on what passes. With ``--runs`` the methods that join many runs make so many in place
of their own number, which takes minutes a case on a large network. What was done is kept; an interrupted run goes on
where it stopped. Networks that are not asked for stay on the page as `reports/bounds.json` has them. Exit status 1
where they part.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from evidence.kept import commit, key_of
from evidence.planted_bugs.collection import Collection, collect
from evidence.planted_bugs.command import BUGS, CODE
from evidence.planted_bugs.run import cases, input_of
from harness.api import explain, load_model
from harness.backends import Backend, backend_named, defaults_of
from harness.comparison import PASSING, Comparison
from harness.comparison.joining import ManyRuns
from harness.comparison.verdict import by_measured_floor
from harness.engine import Store, compare, engine
from harness.engine.evidence import floor_of, raised_floors
from harness.errors import HarnessError
from harness.files import in_sample, write_json, write_text
from harness.methods import IntegratedGradients, Method, Smoothed, method
from harness.runner import chosen_input
from harness.runner.suites import is_sampled, suite_named
from harness.trace import Trace

PAGE = Path("reports/bounds.md")
#: Of the planted bugs, where nothing else is asked for.
BUGS_SHARE = 0.2

Row = dict[str, Any]
Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """``bug``: the planted bug in the candidate; empty for the port as it is.

    ``runs``: how many a method that joins many makes in place of its own number; 0 where it makes its own.
    """

    model: str
    method: str
    dtype: str
    bug: str = ""
    runs: int = 0

    @property
    def label(self) -> str:
        shortened = f"{self.runs} runs" if self.runs else ""
        return " / ".join(filter(None, (self.model, self.method, self.dtype, self.bug, shortened)))

    @property
    def asked(self) -> Method:
        """The method, with so many runs."""
        own = method(self.method)
        if self.runs and isinstance(own.procedure, Smoothed):
            return replace(own, procedure=replace(own.procedure, samples=self.runs))
        if self.runs and isinstance(own.procedure, IntegratedGradients):
            return replace(own, procedure=replace(own.procedure, steps=self.runs))
        return own


def healthy(models: Sequence[str], patterns: Sequence[str], sampled: bool) -> Iterator[Case]:
    """The catalogue on the networks of ``models``, all of the zoo's where there are none."""
    suite = suite_named("catalogue")
    for model in (name for name in suite.models if not models or name in models):
        graph = load_model(model).graph
        for name in suite.methods:
            chosen = not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
            if not chosen or (is_sampled(name) and not sampled):
                continue
            try:
                method(name).check(graph)
            except HarnessError:
                continue
            if not backend_named("torch").supports(method(name), graph):
                yield from (Case(model, name, dtype) for dtype in ("float32", "float64"))


def planted(
    collection: Collection, models: Sequence[str], patterns: Sequence[str], share: float
) -> Iterator[Case]:
    """A fixed sample of the planted bugs."""
    for case in cases(collection, models=models):
        named = not patterns or any(fnmatchcase(case.method, pattern) for pattern in patterns)
        if named and in_sample(case.label, share):
            yield Case(case.model, case.method, collection.named(case.mutant).dtype, case.mutant)


def with_runs(case: Case, runs: int) -> Case:
    """``case``, whose method makes ``runs`` runs where it joins more."""
    procedure = method(case.method).procedure
    if case.bug or not isinstance(procedure, Smoothed | IntegratedGradients):
        return case
    own = procedure.samples if isinstance(procedure, Smoothed) else procedure.steps
    return replace(case, runs=runs) if 0 < runs < own else case


def joins_many_runs(name: str) -> bool:
    return isinstance(method(name).procedure, ManyRuns)


def compared_twice(case: Case, collection: Collection) -> Row:
    """How many tensors bounds and single steps decided, and where the measured floor says something else."""
    model = collection.model(case.model)
    mutant = collection.named(case.bug) if case.bug else None
    x = input_of(mutant, model) if mutant else chosen_input(model, None)[0]
    candidate: Backend | str = mutant.build() if mutant else "torch"
    reference = explain(model, x, case.asked, defaults_of(case.asked).reference, dtype=case.dtype)
    target = None if case.asked.selects_itself else reference.target
    run = explain(model, x, case.asked, candidate, target=target, dtype=case.dtype)
    least = compare(reference, run)
    bounded = sum(_by_bound(least, row) for row in _rows(least))
    stepped = sum(row.decided_by == "single steps" for row in _rows(least))
    counts = {"bounded": bounded, "stepped": stepped, "verdict": least.verdict}
    if not bounded and not stepped:
        return {**counts, "parted": []}
    measured = [row.verdict in PASSING for row in _rows(by_measured_floors(reference, run, least))]
    parted = [
        row.layer
        for row, passes in zip(_rows(least), measured, strict=True)
        if (row.verdict in PASSING) != passes
    ]
    return {**counts, "parted": parted}


def by_measured_floors(reference: Trace, run: Trace, least: Comparison) -> Comparison:
    """The comparison whose floors are measured in any case; ``least``: what `harness.compare` makes of the same two.

    Equal ground is held against the measured floor too. What it leaves open in methods of many runs in float32 is held
    against floors raised by moved runs, as it is where no side takes part in equal ground.
    """
    floor = floor_of(engine(), reference) if least.floor.how.startswith("derived") else least.floor
    full = compare(reference, run, floor=floor)
    for raised in raised_floors(engine(), reference, floor):
        if full.settled or full.verdict == "error":
            break
        full = by_measured_floor(full, raised)
    return full


def _rows(comparison: Comparison) -> list[Any]:
    return [*comparison.rows, *comparison.forward, comparison.attribution]


def _by_bound(comparison: Comparison, row: Any) -> bool:
    """Whether a bound stood for the floor: at the row itself, or for all of equal ground."""
    return row.decided_by == "bound" or (
        row.decided_by == "equal ground" and comparison.floor.how.startswith("derived")
    )


def figures_of(rows: Mapping[Case, Row], missing: Mapping[str, int], commit: str) -> dict[str, Json]:
    """By network and candidate, what the page says of it. ``missing``: by network, how many cases were not run."""
    figures: dict[str, Json] = {}
    for model, faulty in dict.fromkeys((case.model, bool(case.bug)) for case in rows):
        those = {case: row for case, row in rows.items() if (case.model, bool(case.bug)) == (model, faulty)}
        bounded, stepped = (
            sum(row.get(what, 0) for row in those.values()) for what in ("bounded", "stepped")
        )
        figures[f"{model}, {'planted bugs' if faulty else 'the port'}"] = {
            "dtypes": sorted({case.dtype for case in those}),
            "cases": len(those),
            "passed": sum(row.get("verdict") in PASSING for row in those.values()),
            "bounded": bounded,
            "stepped": stepped,
            "parted": {case.label: row["parted"] for case, row in those.items() if row["parted"]},
            "errors": {case.label: row["error"] for case, row in those.items() if "error" in row},
            "runs": sorted({case.runs for case in those if case.runs}),
            "not run": 0 if faulty else missing.get(model, 0),
            "commit": commit,
        }
    return figures


def page(figures: Mapping[str, Json]) -> str:
    """The page as Markdown, of `figures_of`."""
    lines = [
        f"| {name} | {', '.join(each['dtypes'])} | {each['cases']} | {each['passed']} | {each['bounded']} | "
        f"{each['stepped']} | {sum(map(len, each['parted'].values()))} | {each['not run']} | {each['commit']} |"
        for name, each in figures.items()
    ]
    parts = [
        "# Bounds and measured floors",
        "Every case compared twice: with the least evidence that decides, and with floor and equal ground measured "
        "in any case. *By a bound*: tensors that a derived bound decided. *By single steps*: those that passed by what "
        "rounding does to single steps on equal ground. *Parted*: tensors of which the measured floor says otherwise.",
        "| network, candidate | dtypes | cases | passed | by a bound | by single steps | parted | not run | commit |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(lines),
    ]
    if shortened := {count for each in figures.values() for count in each["runs"]}:
        counts = ", ".join(map(str, sorted(shortened)))
        parts[1] += f" Methods that join more runs made {counts} in place of their own number (`--runs`)."
    parted = [
        f"- {label}: {', '.join(layers)}"
        for each in figures.values()
        for label, layers in each["parted"].items()
    ]
    errors = [f"- {label}: {error}" for each in figures.values() for label, error in each["errors"].items()]
    for title, texts in (("Parted", parted), ("Not compared", errors)):
        if texts:
            parts += [f"## {title}", "\n".join(texts)]
    return "\n\n".join([*parts, "Written by `python -m evidence.bounds`.\n"])


def main() -> int:
    """0 where no bound decides otherwise than the measured floor, 1 where one does or a case failed."""
    options = argparse.ArgumentParser(prog="python -m evidence.bounds", description=__doc__.splitlines()[0])
    options.add_argument("--model", action="append", default=[])
    options.add_argument("--method", action="append", default=[], metavar="GLOB")
    options.add_argument("--bugs", type=float, default=BUGS_SHARE, help="share of the planted bugs")
    options.add_argument("--share", type=float, default=1.0, help="a fixed sample of the healthy cases")
    options.add_argument("--no-sampled", action="store_true", help="leave out methods that draw samples")
    options.add_argument("--kept-only", action="store_true", help="run nothing; report what was run before")
    options.add_argument(
        "--runs", type=int, default=0, help="of methods that join many, in place of their own number"
    )
    options.add_argument("--out", type=Path, default=PAGE)
    chosen = options.parse_args()
    if chosen.out == PAGE and (chosen.method or chosen.share < 1 or chosen.no_sampled):
        options.error("some of the methods are no row of the page: name another file with --out")
    collection, store = collect(BUGS), Store()
    rows: dict[Case, Row] = {}
    missing: Counter[str] = Counter()
    todo = [
        *(
            with_runs(case, chosen.runs)
            for case in healthy(chosen.model, chosen.method, not chosen.no_sampled)
            if in_sample(case.label, chosen.share)
        ),
        *planted(collection, chosen.model, chosen.method, chosen.bugs),
    ]
    # What takes one run of the network first, and single precision before double.
    todo.sort(key=lambda case: (joins_many_runs(case.method), case.model, case.dtype))
    for place, case in enumerate(todo, 1):
        bug = collection.digests[case.bug] if case.bug else ""
        key = key_of("bounds", case.label, bug, code=CODE)
        row: Row | None = store.get(key)
        if row is None and chosen.kept_only:
            missing[case.model] += 1
            continue
        if row is None:
            try:
                row = compared_twice(case, collection)
            except HarnessError as error:
                row = {"error": str(error), "parted": []}
            else:
                store.put(key, f"bounds: {case.label}", row)
            # Nobody asks for this case again. What both sides keep of it is gigabytes, which go back to the system.
            engine().clear()
            engine().make_room(collection.model(case.model))
        rows[case] = row
        what = row.get("error") or ("parted: " + ", ".join(row["parted"]) if row["parted"] else "agree")
        print(f"{place}/{len(todo)}  {case.label}: {what}", file=sys.stderr, flush=True)
    kept = PAGE.with_suffix(".json")
    figures: dict[str, Json] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    figures |= figures_of(rows, missing, commit())
    write_json(chosen.out.with_suffix(".json"), figures)
    write_text(chosen.out, page(figures))
    print(f"{len(rows)} cases, {sum(bool(row['parted']) for row in rows.values())} part; see {chosen.out}")
    return int(any(row["parted"] or "error" in row for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
