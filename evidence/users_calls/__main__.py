"""Every published name of signxai and iNNvestigate on the networks of the zoo, called as its users call it.

    python -m evidence.users_calls [--library NAME] [--model NAME] [--out reports]

The library gets a Keras 2 model with activations inside its layers, functional, and sequential where the network is a
chain; it is handed no class and no argument that has a default. The reference runs the method that the dialect has for
that call. Results are kept in a file by library and model, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from evidence.users_calls.calls import FORMS, LIBRARIES, MODELS, Call, calls, is_chain
from evidence.users_calls.page import EVERY_NAME, FIELDS, Row, page
from harness.api import load_model
from harness.backends import Backend, backend_named
from harness.case import Case
from harness.engine import Engine
from harness.errors import HarnessError
from harness.files import write_text
from harness.methods import method
from harness.runner import chosen_input

#: Relative L2: what certification asks for as well.
BOUND = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evidence.users_calls", description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES, action="append")
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--out", type=Path, default=Path("reports"))
    chosen = parser.parse_args()
    csv_path = chosen.out / "users-calls.csv"
    rows = _read(csv_path)
    for library in chosen.library or LIBRARIES:
        for name in chosen.model or MODELS:
            for row in run(library, name, {each.key for each in rows}):
                rows.append(row)
                _write(csv_path, rows)
                print(f"{time.strftime('%H:%M:%S')} {' '.join(row.key)} {row.status} {row.error}", flush=True)
    write_text(chosen.out / "users-calls.md", page(rows, BOUND))


def run(library: str, name: str, done: set[tuple[str, ...]]) -> Iterator[Row]:
    """A row for each call of ``library`` on the model that is not ``done`` yet."""
    model = load_model(name)
    x = chosen_input(model, None)[0][:1]
    reference = backend_named("tensorflow")
    engine = Engine()
    for form in FORMS:
        if form == "sequential" and not is_chain(model.graph):
            continue
        peer = _peer(library, form)
        try:
            peer.prepare(model, "float32")
        except HarnessError as error:
            if (library, name, form, EVERY_NAME) not in done:
                yield Row(library, name, form, EVERY_NAME, "", "cannot be hosted", reason=str(error))
            continue
        for call in calls(library, form):
            if (library, name, form, call.name) not in done:
                yield _row(engine, reference, peer, model, x, call, (library, name, form))
        peer.worker.close()  # type: ignore[attr-defined]


def _peer(library: str, form: str) -> Backend:
    """The library with models whose activations are written like that, in both dtypes.

    signxai is written for float32. In float64 its relevance rules work and its gradients fail.
    """
    peer = backend_named(library)
    both = replace(peer.adapter, dtypes=("float32", "float64"))  # type: ignore[attr-defined]
    return type(peer)(both, FORMS[form])  # type: ignore[call-arg]


def _row(
    engine: Engine,
    reference: Backend,
    peer: Backend,
    model: object,
    x: np.ndarray,
    call: Call,
    where: tuple[str, str, str],
) -> Row:
    called = partial(Row, *where, call.name, call.method)
    try:
        case = Case.checked(model, x, method(call.method), None, "float32", layers=False)
        expected = engine.run(case, reference)
    except HarnessError as error:
        return called("does not apply", reason=str(error))
    assert expected.case is not None
    try:
        trace = engine.run(expected.case, peer)
    except HarnessError as error:
        return called("the library fails", reason=str(error))
    distance = _apart(expected.attribution, trace.attribution)
    if distance <= BOUND:
        return called("agrees", distance)
    doubled = expected.case.in_dtype("float64")
    exact = engine.run(doubled, reference).attribution
    floor = _apart(exact, expected.attribution)
    try:
        distance64 = _apart(exact, engine.run(doubled, peer).attribution)
        why = f"{distance64:.1e} apart in float64"
    except HarnessError as error:
        distance64, why = None, f"the library fails in float64: {error}"
    if call.rounding_alone:
        reason = "the bounded rule without its factors: nothing but rounding is left on both sides"
        return called("rounding alone", distance, floor, distance64, reason)
    reason = f"in float32 the reference is {floor:.1e} from itself in float64; {why}"
    return called(status(distance, floor, distance64), distance, floor, distance64, reason)


def status(distance: float, floor: float, distance64: float | None) -> str:
    """What is said of a call whose sides are ``distance`` apart in float32, more than the bound.

    ``floor``: the reference in float32 from itself in float64. ``distance64``: the sides in float64, None where
    the library fails there.
    """
    if distance > 10 * floor or (distance64 is not None and distance64 > BOUND):
        return "differs"
    return "ill-conditioned" if distance64 is None else "agrees in float64"


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Relative L2; 0 where both are the same, NaN included."""
    if np.array_equal(one, other, equal_nan=True):
        return 0.0
    size = float(np.linalg.norm(np.asarray(one, np.float64)))
    return float(np.linalg.norm(np.asarray(one, np.float64) - np.asarray(other, np.float64))) / (size or 1.0)


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [Row.of(each) for each in csv.DictReader(file)]


def _write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(row.fields() for row in rows)


if __name__ == "__main__":
    main()
