"""The commands `xai-harness golden ...`: record, verify, list, show, diff, import, prune."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.golden_options import (
    GOLDEN_ROOT,
    AsJson,
    Dtypes,
    Input,
    Methods,
    Reason,
    RootFolder,
    Suite,
    is_wanted,
    selection,
)
from harness.golden_verify_cli import verify_command
from harness.model_options import ModelKeras, Models, ModelTorch, sources
from harness.naming import printable
from harness.sides import InProcess, Sides, Timeout

if TYPE_CHECKING:
    from harness.golden import Golden

app = typer.Typer(
    help="Record golden outputs of the reference; verify a candidate against them.", no_args_is_help=True
)


app.command("verify")(verify_command)


@app.command("record")
def record_command(
    models: Models = None,
    methods: Methods = None,
    model_keras: ModelKeras = None,
    model_torch: ModelTorch = None,
    suite: Suite = None,
    reference: Annotated[
        str, typer.Option(help="Backend that is trusted; a name, or FILE.py:NAME.")
    ] = "tensorflow",
    dtype: Dtypes = None,
    form: Annotated[
        str, typer.Option(help="full (every tensor) or sketch (at most 2.5 kB a layer).")
    ] = "full",
    reason: Reason = "",
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave goldens that are there; compute the others.")
    ] = False,
    no_sampled: Annotated[
        bool, typer.Option("--no-sampled", help="Leave out methods that draw samples, such as SmoothGrad.")
    ] = False,
    root: RootFolder = GOLDEN_ROOT,
    input_file: Input = None,
    target: Annotated[int | None, typer.Option(help="Class to explain; left out, the largest logit.")] = None,
    in_process: InProcess = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Store the reference's traces with their noise floors (all suite methods on digits-cnn unless selected)."""
    from harness.checks import checked_dtype, read_input
    from harness.engine import engine, in_shared_order
    from harness.errors import HarnessError, MethodDoesNotApplyError, UnknownNameError
    from harness.golden import read_manifest, record
    from harness.methods import SUITE_METHODS
    from harness.methods import method as method_named
    from harness.runner import chosen_input, is_sampled, known_methods, select_methods, suite_named
    from harness.runner.run import why_not

    chosen = suite_named(suite) if suite else None
    among = known_methods() if methods else chosen.methods if chosen else SUITE_METHODS
    names = [name for name in select_methods(methods or (), among) if not (no_sampled and is_sampled(name))]
    dtypes = [checked_dtype(name) for name in dtype or ["float64"]]
    if form not in ("full", "sketch"):
        raise UnknownNameError("form of golden", form, ("full", "sketch"))
    named = sources(models, model_keras, model_torch) or sources(
        list(chosen.models) if chosen else ["digits-cnn"], None, None
    )
    x_given = read_input(input_file)
    read_manifest(root)
    counts: Counter[str] = Counter()
    recorded: list[dict[str, str]] = []

    def report(status: str, case: str, words: str) -> None:
        recorded.append({"status": status, "case": case, "words": words})
        if not as_json:
            _show_one(recorded[-1])

    with Sides(in_process, timeout, per_case=True).named(reference) as (backend,), engine().copies_kept():
        for source in named:
            model, facts = source.load(x_given), source.facts()
            x, input_name = chosen_input(model, x_given)
            apply = [name for name in names if not why_not(method_named(name), model)]
            if not apply:
                raise MethodDoesNotApplyError(f"{source.words}: {why_not(method_named(names[0]), model)}")
            counts["do not apply"] += len(names) - len(apply)
            ordered = in_shared_order([method_named(name) for name in apply], model.graph)
            for each, name in product(dtypes, (one.name for one in ordered)):
                try:
                    (done,) = record(
                        root, model, x, input_name, [name], backend, each, form, reason, facts, keep, target
                    )
                except HarnessError as error:
                    counts["failed"] += 1
                    report("failed", f"{model.name} {name}", str(error))
                    continue
                counts[done.status] += 1
                report(done.status, f"{model.name} {name}", str(done.path))
    _show_recorded(recorded, counts, as_json)
    raise typer.Exit(1 if counts["failed"] else 0)


@app.command("import")
def import_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="HDF5 files, one an analyzer.")],
    layers: Annotated[
        Path,
        typer.Option(metavar="LAYERS.json", help="Kind and sizes of each group's layer (docs/goldens.md)."),
    ],
    method: Annotated[
        str | None, typer.Option(help="Method of the catalogue, where a file's analyzer has no name there.")
    ] = None,
    reference: Annotated[str, typer.Option(help="Backend that measures the noise floor.")] = "tensorflow",
    reason: Reason = "",
    root: RootFolder = GOLDEN_ROOT,
    as_json: AsJson = False,
) -> None:
    """Store references that a library has published (the layout of test-data-innvestigate) as goldens."""
    from harness.golden.importing import import_files
    from harness.golden.single_layer import read_descriptions

    counts: Counter[str] = Counter()
    imported: list[dict[str, str]] = []
    for done in import_files(root, files, read_descriptions(layers), reference, method, reason):
        counts[done.status] += 1
        imported.append({"status": done.status, "case": done.case, "words": done.words})
        if not as_json:
            _show_one(imported[-1])
    _show_recorded(imported, counts, as_json)
    raise typer.Exit(1 if counts["failed"] else 0)


def _show_one(row: Mapping[str, str]) -> None:
    status = "FAILED" if row["status"] == "failed" else row["status"]
    print(printable(f"{status} {row['case']}: {row['words']}"))


def _show_recorded(rows: Sequence[Mapping[str, str]], counts: Counter[str], as_json: bool) -> None:
    from harness.terminal import print_json

    if as_json:
        print_json({"counts": dict(counts), "goldens": rows})
    else:
        print(", ".join(f"{number} {what}" for what, number in counts.items() if number))


@app.command("list")
def list_command(
    models: Models = None,
    methods: Methods = None,
    model_keras: ModelKeras = None,
    suite: Suite = None,
    dtype: Dtypes = None,
    root: RootFolder = GOLDEN_ROOT,
    as_json: AsJson = False,
) -> None:
    """List the goldens, and what is wrong with the folder. Exit status 1 if something is."""
    from harness.golden import inspect
    from harness.terminal import print_json, print_table

    inspected = inspect(root)
    of_models, patterns = selection(models, model_keras, methods, suite, dtype)
    rows = []
    for name, entry in sorted(inspected.entries.items()):
        if is_wanted(name, of_models, patterns, dtype):
            sizes = [inspected.manifest.files[entry[key]]["size"] for key in ("file", "shared")]
            rows.append(
                {"golden": name, "kB": round(sizes[0] / 1e3, 1), "shared kB": round(sizes[1] / 1e3, 1)}
            )
    problems = [vars(each) for each in inspected.problems]
    if as_json:
        print_json({"goldens": rows, "problems": problems, "leftovers": list(inspected.leftovers)}, indent=1)
    else:
        if rows:
            print_table(rows, ("golden", "kB", "shared kB"))
        else:
            print(
                printable(f"no golden under {root} is selected; record some with: xai-harness golden record")
            )
        for problem in inspected.problems:
            print(printable(f"{problem.kind}: {problem.name}: {problem.message}"))
    raise typer.Exit(1 if inspected.problems else 0)


@app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="As `golden list` has it: digits-cnn/gradient.float64")],
    root: RootFolder = GOLDEN_ROOT,
    as_json: AsJson = False,
) -> None:
    """Where a golden comes from, what it holds, what it replaced."""
    from harness.golden import read_manifest
    from harness.terminal import print_json

    golden = golden_named(root, name)
    facts = {key: value for key, value in golden.facts.items() if key not in ("layers", "method", "run")}
    replaced = [each for each in read_manifest(root).replaced if each.get("entry") == name]
    if as_json:
        print_json({**golden.facts, "replaced": replaced}, indent=1)
        return
    for key, value in facts.items():
        print(printable(f"{key}: {value if isinstance(value, str) else json.dumps(value)}"))
    print(printable(f"layers: {', '.join(each['name'] for each in golden.facts['layers'])}"))
    for each in replaced:
        print(
            printable(
                f"replaced: {each.get('time', '')} {each['reason']} {json.dumps(each.get('moved', {}))}"
            )
        )


@app.command("diff")
def diff_command(
    one: Annotated[str, typer.Argument(metavar="A", help="A golden, or the folder of a run.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another of the same kind.")],
    root: RootFolder = GOLDEN_ROOT,
    other_root: Annotated[Path | None, typer.Option(help="Folder of B, where that is another.")] = None,
    as_json: AsJson = False,
) -> None:
    """How far two goldens, or two runs, are apart. Exit status 1 if they differ."""
    from harness.golden import distances
    from harness.golden.summary import run_differences
    from harness.terminal import print_json, print_table

    if (Path(one) / "summary.parquet").is_file() and (Path(other) / "summary.parquet").is_file():
        rows = run_differences(Path(one), Path(other))
        columns: tuple[str, ...] = ("model", "method", "dtype", "what", "A", "B")
    else:
        apart = distances(golden_named(root, one), golden_named(other_root or root, other))
        rows = [
            {"tensor": name, "rel_l2": f"{each.rel_l2:.2e}", "max_abs": f"{each.max_abs:.2e}"}
            for name, each in apart.items()
            if not each.identical
        ]
        columns = ("tensor", "rel_l2", "max_abs")
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, columns)
    else:
        print("No difference.")
    raise typer.Exit(1 if rows else 0)


@app.command("prune")
def prune_command(
    models: Models = None,
    methods: Methods = None,
    model_keras: ModelKeras = None,
    model_torch: ModelTorch = None,
    suite: Suite = None,
    dtype: Dtypes = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Of these, those whose model or method is another now.")
    ] = False,
    missing: Annotated[bool, typer.Option("--missing", help="Forget goldens whose files are gone.")] = False,
    reason: Reason = "",
    root: RootFolder = GOLDEN_ROOT,
    as_json: AsJson = False,
) -> None:
    """Remove what interrupted recordings left; with a selection, those goldens too (--reason says why)."""
    from harness.golden import Models as Loaded
    from harness.golden import inspect, locked, read_manifest, remove, tidy
    from harness.golden.regression import stale_entries
    from harness.terminal import print_json

    inspected = inspect(root)
    of_models, patterns = selection(models, model_keras, methods, suite, dtype)
    wanted = [name for name in inspected.manifest.entries if is_wanted(name, of_models, patterns, dtype)]
    gone: list[str] = []
    if stale:
        gone = stale_entries(inspected, Loaded(tuple(sources(models, model_keras, model_torch))), wanted)
    elif missing:
        lost = {each.name for each in inspected.problems if each.kind == "missing"}
        gone = [name for name in wanted if name in lost]
    elif of_models or patterns or dtype:
        gone = wanted
    if gone:
        remove(root, gone, reason)
    with locked(root):
        left = tidy(root, read_manifest(root))
    if as_json:
        print_json({"goldens": gone, "leftovers": left})
        return
    for name in (*gone, *left):
        print(printable(f"removed {name}"))
    print(f"{len(gone)} goldens and {len(left)} leftovers removed.")


def golden_named(root: Path, name: str) -> Golden:
    """The golden of this name under ``root``; raises UnknownNameError, or ModelSourceError for a damaged one."""
    from harness.errors import UnknownNameError
    from harness.golden import load_entry, read_manifest

    manifest = read_manifest(root)
    if name not in manifest.entries:
        raise UnknownNameError("golden", name, manifest.entries, "See: xai-harness golden list")
    return load_entry(root, name, manifest.entries[name], manifest.files)
