"""The command: record the libraries, run the reference against the recordings, write the report."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from evidence.certification.cases import GROUPS, LIBRARIES, ModelCases, cases_of, models_of, names_on
from evidence.certification.comparison import results_of
from evidence.certification.page import Facts, certified, page, table
from evidence.certification.recordings import Recordings
from evidence.certification.results import Result, Status
from harness.backends import Backend, backend_named
from harness.backends.worker.worker import LIMIT_VARIABLE
from harness.engine import Store
from harness.errors import HarnessError, InvalidInputError
from harness.files import cache_folder, in_sample, write_json, write_text
from harness.runner import environment

#: Where the report of all cases goes, and that of a sample, which must not take its place.
WHOLE, PART = Path("reports"), Path("reports/runs")
#: What it takes a library to explain the largest network once, several times over.
LIMIT_S = 900.0


def main() -> int:
    """0 where the reference is certified, 1 where it is not, 2 where the command cannot be run."""
    arguments = _parser().parse_args()
    try:
        return certify(arguments)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evidence.certification", description=__doc__)
    parser.add_argument("--library", action="append", choices=LIBRARIES, help="only this one")
    parser.add_argument("--model", action="append", choices=GROUPS, help="only these")
    parser.add_argument(
        "--method", action="append", metavar="GLOB", help="only names that match one of these"
    )
    parser.add_argument(
        "--share", type=float, default=1.0, help="only a fixed sample of about this share of all cases"
    )
    parser.add_argument("--seed", default="", help="draws another sample of that share")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"folder of the report; if not given, {WHOLE}, or {PART} where only a sample is asked for",
    )
    parser.add_argument(
        "--recordings",
        type=Path,
        default=cache_folder() / "recordings",
        help="folder of the libraries' recordings; if not given, in the cache",
    )
    parser.add_argument("--force", action="store_true", help="compare again what was compared before")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="for one recording")
    parser.add_argument("--retry", action="store_true", help="record again where the library failed")
    parser.add_argument(
        "--kept-only",
        action="store_true",
        help="run no library, which need not be installed; what there is no recording of counts as not run",
    )
    parser.add_argument(
        "--trust-recordings",
        action="store_true",
        help="also use recordings that an adapter as it is here did not make (the report counts them)",
    )
    return parser


def certify(arguments: argparse.Namespace) -> int:
    """Run what ``arguments`` select and write the report, anew after every model; the exit status."""
    # One limit for everything the library does: its start, its model, its run.
    os.environ[LIMIT_VARIABLE] = f"{arguments.limit:g}"
    libraries = tuple(arguments.library or LIBRARIES)
    groups = tuple(group for group in GROUPS if not arguments.model or group in arguments.model)
    reference = backend_named("tensorflow")
    versions = environment([reference])
    recordings = {
        library: Recordings(
            arguments.recordings,
            backend_named(library),
            arguments.limit,
            trust=arguments.trust_recordings,
            retry=arguments.retry,
            kept_only=arguments.kept_only,
        )
        for library in libraries
    }
    names = _selected(arguments, libraries, groups)
    facts = Facts(
        f"python -m evidence.certification {shlex.join(sys.argv[1:])}".strip(),
        {
            "reference": versions,
            **{library: kept.versions for library, kept in recordings.items()},
        },
        libraries,
        groups,
        {
            (library, group): sum(
                len(_sampled(library, model, chosen, arguments.share, arguments.seed))
                for model in models_of(group)
            )
            for (library, group), chosen in names.items()
        },
    )
    results: list[Result] = []
    store = Store(force=arguments.force)
    out = arguments.out or (PART if arguments.share < 1 else WHOLE)
    for (library, group), chosen in names.items():
        for cases in cases_of(library, group, chosen) if chosen else ():
            sample = replace(
                cases, names=_sampled(library, cases.model.name, chosen, arguments.share, arguments.seed)
            )
            if sample.names:
                results += _with_progress(sample, recordings[library], reference, versions, store)
        # What the page is made of comes first, so that it is there wherever the page is.
        write_text(out / "certification.csv", table(results))
        write_json(out / "certification.json", facts.as_json())
        write_text(out / "certification.md", page(results, facts))
    return 0 if certified(results, facts) else 1


def _sampled(library: str, model: str, names: Sequence[str], share: float, seed: str) -> tuple[str, ...]:
    """The names that the sample of ``seed`` has on one model."""
    return tuple(name for name in names if in_sample(f"{seed}{library} / {model} / {name}", share))


def _selected(
    arguments: argparse.Namespace, libraries: Sequence[str], groups: Sequence[str]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """The names to run, by library and group. Raises InvalidInputError where none matches."""
    patterns = arguments.method or ["*"]
    names = {
        (library, group): tuple(
            name
            for name in names_on(library, group)
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        )
        for group in groups
        for library in libraries
    }
    if not any(names.values()):
        raise InvalidInputError(f"no name matches {' or '.join(patterns)}; see: xai-harness methods")
    return names


def _with_progress(
    cases: ModelCases, recordings: Recordings, reference: Backend, versions: Mapping[str, str], store: Store
) -> Iterator[Result]:
    """The results on one model, a line of progress each."""
    for number, (result, reused) in enumerate(
        results_of(cases, recordings, reference, versions, store), start=1
    ):
        error = "" if result.worst is None else f"{result.worst:.1e}"
        before = "" if result.begins == "" else f"from {result.begins}"
        known = "(done before)" if reused else "" if result.seconds is None else f"{result.seconds:.1f} s"
        words = (
            time.strftime("%H:%M:%S"),
            f"{cases.library} {cases.model.name} [{number}/{len(cases.names)}]",
            result.method,
            result.status,
            error,
            before,
            "" if result.status in (Status.AGREES, Status.NOT_APPLICABLE) else result.reason,
            known,
        )
        print(" ".join(word for word in words if word), flush=True)
        yield result


if __name__ == "__main__":
    sys.exit(main())
