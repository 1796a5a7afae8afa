"""The command `xai-harness compare`: two arrays, traces, runs or goldens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import InvalidInputError
from harness.naming import printable

if TYPE_CHECKING:
    from harness.comparison import Comparison

_KINDS = (
    "two .npy arrays, two traces (.safetensors), the folders of two runs, "
    "or two goldens (digits-cnn/gradient.float64)"
)


def compare_command(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="A", help="What is trusted: an array (.npy), a trace (.safetensors), a run or a golden."
        ),
    ],
    candidate: Annotated[str, typer.Argument(metavar="B", help="Another of the same kind.")],
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Axes of two arrays: batch,height,width,channel. Left out: not known.",
        ),
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option(help="Of two arrays: how far rounding moves A, relative L2; left out, one rounding."),
    ] = None,
    tolerance: Annotated[
        str | None, typer.Option(metavar="close|NUMBER", help="What passes beside what rounding explains.")
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="Folder of the goldens.")] = Path("golden"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Say whether two arrays, traces, runs or goldens agree. Exit status 1 where they do not."""
    import harness
    from harness.run_cli import checked_tolerance

    allowed = checked_tolerance(tolerance)
    kinds = [_kind(reference, root), _kind(candidate, root)]
    if kinds[0] != kinds[1]:
        raise InvalidInputError(f"{reference} is {kinds[0]}, {candidate} is {kinds[1]}; compare {_KINDS}")
    if kinds[0] != "an array" and (axes is not None or floor is not None):
        raise InvalidInputError(
            f"--axes and --floor are for two arrays, found two of: {kinds[0]}; leave them out"
        )
    if kinds[0] == "a run":
        _runs(Path(reference), Path(candidate), as_json)
    if kinds[0] == "a golden":
        _goldens(root, reference, candidate, as_json)
    if kinds[0] == "a trace":
        one, other = (harness.load_trace(name) for name in (reference, candidate))
        comparison = harness.compare(one, other, tolerance=allowed)
    else:
        from harness.checks import read_array

        names = tuple(name.strip() for name in axes.split(",")) if axes is not None else None
        left: Any = read_array(Path(reference))
        right: Any = read_array(Path(candidate))
        comparison = harness.compare(left, right, tolerance=allowed, floor=floor, axes=names)
    _show(comparison, as_json)


def _kind(name: str, root: Path) -> str:
    """What ``name`` names. Raises InvalidInputError where it is nothing that can be compared."""
    from harness.report import DOCUMENT

    path = Path(name)
    if path.suffix == ".npy":
        return "an array"
    if path.suffix == ".safetensors":
        return "a trace"
    if path.is_dir() and ((path / DOCUMENT).is_file() or not (root / name).exists()):
        return "a run"
    if "/" in name and not path.exists():
        return "a golden"
    raise InvalidInputError(f"{name} is nothing that can be compared; name {_KINDS}")


def _runs(one: Path, other: Path, as_json: bool) -> None:
    from harness.report import changes, read_document
    from harness.terminal import print_json

    changed = changes(read_document(other), read_document(one), str(other), str(one))
    if as_json:
        print_json(changed.document)
    else:
        groups = (
            ("broke", changed.broke),
            ("improved", changed.improved),
            ("only in B", changed.new),
            ("only in A", changed.gone),
        )
        for title, group in groups:
            for each in group:
                verdicts = ", now ".join(verdict for verdict in (each.before, each.now) if verdict)
                print(printable(f"{title}  {each.model} {each.method} {each.dtype}: {verdicts}"))
        print(printable(f"B against A: {changed.sentence}."))
    raise typer.Exit(1 if changed.broke or changed.improved or changed.new or changed.gone else 0)


def _goldens(root: Path, one: str, other: str, as_json: bool) -> None:
    from harness.golden import distances
    from harness.golden_cli import golden_named
    from harness.terminal import print_json, print_table

    apart = distances(golden_named(root, one), golden_named(root, other))
    rows = [
        {"tensor": name, "rel_l2": each.rel_l2, "max_abs": each.max_abs}
        for name, each in apart.items()
        if not each.identical
    ]
    if as_json:
        print_json(rows)
    elif rows:
        shown = [
            {key: f"{value:.2e}" if isinstance(value, float) else value for key, value in row.items()}
            for row in rows
        ]
        print_table(shown, ("tensor", "rel_l2", "max_abs"))
    else:
        print("No difference.")
    raise typer.Exit(1 if rows else 0)


def _show(comparison: Comparison, as_json: bool) -> None:
    from harness.comparison import layers_around, verdict_line
    from harness.terminal import print_json

    if as_json:
        print_json(
            {
                "verdict": comparison.verdict,
                "passed": comparison.passed,
                "first_divergent": comparison.first_divergent,
                "first_divergent_forward": comparison.first_divergent_forward,
                "notes": comparison.notes,
                "table": comparison.table.to_dict("records"),
                "forward_table": comparison.forward_table.to_dict("records"),
            }
        )
    else:
        print(printable(verdict_line(comparison)))
        for note in comparison.notes:
            print(printable(f"note: {note}"))
        if len(comparison.rows) > 1:
            print(printable(layers_around(comparison), lines=True))
    raise typer.Exit(0 if comparison.passed else 1)
