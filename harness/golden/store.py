"""Record, find and read goldens. The data lies in the folder `golden` of the project."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from harness.comparison import NoiseFloor
from harness.errors import InvalidInputError, ModelSourceError
from harness.files import array_digest
from harness.golden.entry import FORMS, Golden, encoded, encoded_shared
from harness.golden.inspect import load_entry
from harness.golden.judge import distances
from harness.golden.manifest import REMEDY, Manifest, commit, content_name, locked, read_manifest
from harness.methods import same_on, slug
from harness.naming import file_name
from harness.trace import Trace


@dataclass(frozen=True)
class Provenance:
    """What a recording says of itself beside its trace. ``source``: of the model; ``versions``: of the reference."""

    input_name: str
    source: Mapping[str, Any]
    versions: Mapping[str, str]


def entry_name(model: str, method: str, dtype: str) -> str:
    """The name of the golden of a case: a folder, and a file without what follows."""
    return f"{file_name(model)}/{file_name(slug(method))}.{dtype}"


def place_of_golden(root: Path, model: Any, method: str, dtype: str) -> Path | None:
    """Where the golden of a case on this very network lies; None where there is none."""
    manifest = read_manifest(root)
    name = _own_name(manifest, entry_name(model.name, method, dtype), model.digest)
    entry = manifest.entries.get(name)
    return None if entry is None else root / entry["file"]


def save_golden(
    root: Path,
    trace: Trace,
    floor: NoiseFloor,
    x: np.ndarray,
    provenance: Provenance,
    form: str = "full",
    reason: str = "",
    entry: str | None = None,
) -> tuple[Path, str]:
    """Store a run of the reference; returns where it lies, and "recorded", "unchanged" or "replaced".

    ``x``: the explained input. A golden of the same case that holds the same tensors in the same form, with a floor
    that was measured in the same way, is left as it is. One that differs is replaced where ``reason`` says why, and
    its record is kept in the manifest; one of another network of that name is left beside. ``entry``: its name, where
    it is not to be that of the case; what has it is replaced, whatever network it is of. Raises InvalidInputError for
    a replacement without a reason and for a sketch of float32, ModelSourceError where the manifest or the golden that
    is there is damaged.
    """
    if form not in FORMS:
        raise InvalidInputError(f"the form of a golden is {form!r}, expected one of {', '.join(FORMS)}")
    if form == "sketch" and trace.dtype != "float64":
        raise InvalidInputError(
            "a sketch of float32 cannot decide: where rounding moves units over a kink, the activations themselves are "
            "needed; record float64, or --form full"
        )
    digest = str(trace.provenance.get("model_digest"))
    with locked(root):
        manifest = read_manifest(root)
        name = entry or _own_name(manifest, entry_name(trace.model, trace.method.name, trace.dtype), digest)
        folder, stem = name.split("/")
        facts = {
            "entry": name,
            "model_digest": digest,
            "source": dict(provenance.source),
            "input": {"name": provenance.input_name, "sha256": array_digest(x)},
            "target": trace.target.tolist(),
            "versions": {"python": platform.python_version(), "numpy": np.__version__}
            | dict(provenance.versions),
            "harness": harness_version(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        shared = encoded_shared(trace, x, form)
        shared_file = f"{folder}/{content_name('input', shared)}"
        content = encoded(trace, floor, form, facts | {"shared": shared_file})
        file = f"{folder}/{content_name(stem, content)}"
        before = manifest.entries.get(name)
        record: tuple[Mapping[str, Any], ...] = ()
        if before is not None:
            old = load_entry(root, name, before, manifest.files)
            moved = _moved(old, trace, floor, x, provenance)
            graph = None if trace.case is None else trace.case.model.graph
            otherwise = old.floor.how != floor.how
            if old.form == form and not moved and not otherwise and same_on(graph, old.method, trace.method):
                return root / before["file"], "unchanged"
            if not reason:
                raise InvalidInputError(
                    f"{name} is there already and {_words(moved, old, form, otherwise)}; say why: --reason"
                )
            record = (_record(name, before, old, manifest, reason, moved),)
        entries = {**manifest.entries, name: {"file": file, "shared": shared_file, "model_digest": digest}}
        new = {file: content, shared_file: shared}
        files = {**manifest.files} | {
            each: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for each, data in new.items()
        }
        after = without_unused(Manifest(entries, files, (*manifest.replaced, *record)))
        commit(root, after, {each: data for each, data in new.items() if each not in manifest.files})
    return root / file, "replaced" if before is not None else "recorded"


def without_unused(manifest: Manifest) -> Manifest:
    """``manifest`` without files that no entry names; those are remembered as replaced, so that they are removed."""
    used = {facts[key] for facts in manifest.entries.values() for key in ("file", "shared")}
    unused = [file for file in manifest.files if file not in used]
    known = {each["file"] for each in manifest.replaced}
    gone = tuple(
        {"entry": None, "file": file, "sha256": manifest.files[file]["sha256"], "reason": "no entry names it"}
        for file in unused
        if file not in known
    )
    files = {file: facts for file, facts in manifest.files.items() if file in used}
    return replace(manifest, files=files, replaced=(*manifest.replaced, *gone))


def remove(root: Path, names: Sequence[str], reason: str) -> None:
    """Take entries out of ``root``; the manifest keeps their records. Raises InvalidInputError without a reason."""
    if not reason:
        raise InvalidInputError(f"{len(names)} goldens would be removed; say why: --reason")
    with locked(root):
        manifest = read_manifest(root)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        records = tuple(
            {
                "entry": name,
                "file": manifest.entries[name]["file"],
                "sha256": manifest.files[manifest.entries[name]["file"]]["sha256"],
                "reason": reason,
                "time": now,
            }
            for name in names
        )
        entries = {name: facts for name, facts in manifest.entries.items() if name not in names}
        commit(root, without_unused(Manifest(entries, manifest.files, (*manifest.replaced, *records))), {})


def harness_version() -> str:
    try:
        return version("xai-harness")
    except PackageNotFoundError:
        return "not installed"


def load_golden(path: Path) -> Golden:
    """Read one golden by its file. Raises ModelSourceError, which says what to do, for one that is damaged."""
    root = path.parent.parent
    manifest = read_manifest(root)
    file = path.relative_to(root).as_posix()
    for name, facts in manifest.entries.items():
        if facts["file"] == file:
            return load_entry(root, name, facts, manifest.files)
    raise ModelSourceError(f"{path} is not in the manifest of {root}; {REMEDY}")


def find_goldens(root: Path, models: Sequence[str] = (), methods: Sequence[str] = ()) -> Iterator[Path]:
    """Paths of the goldens under ``root``, of these models, whose method matches any of these globs; sorted.

    ``models``: names, or files, whose goldens have the name of the file without its suffix. Raises InvalidInputError
    where there is none.
    """
    manifest = read_manifest(root)
    names = [name for name in sorted(manifest.entries) if is_selected(name, models, methods)]
    if not names:
        raise InvalidInputError(nothing_there(root, models, methods))
    for name in names:
        yield root / manifest.entries[name]["file"]


def nothing_there(root: Path, models: Sequence[str], methods: Sequence[str]) -> str:
    """That a selection finds nothing, and what to do."""
    wanted = " ".join((*models, *methods))
    return f"no golden{f' for {wanted}' if wanted else ''} under {root}; make one with: xai-harness golden record"


def is_selected(name: str, models: Sequence[str], methods: Sequence[str], dtypes: Sequence[str] = ()) -> bool:
    """Whether the entry ``name`` is of one of these models, methods (names or globs) and dtypes; none given: all."""
    folder, _, rest = name.partition("/")
    stem, _, dtype = rest.rpartition(".")
    return (
        (not models or any(_is_of(folder, model) for model in models))
        and (
            not methods
            or any(fnmatchcase(stem, slug(each)) or stem == file_name(slug(each)) for each in methods)
        )
        and (not dtypes or dtype in dtypes)
    )


def _is_of(folder: str, model: str) -> bool:
    """Whether ``folder`` holds goldens of ``model``, or of another network with its name."""
    name = model.rpartition(":")[2] if ".py:" in model else model
    stems = {file_name(name), file_name(Path(name).stem)}
    return folder in stems or (folder[-9:-8] == "-" and folder[:-9] in stems)


def _own_name(manifest: Manifest, name: str, digest: str) -> str:
    """``name``, but beside the goldens of another network of that name, never over them."""
    folder, stem = name.split("/")
    others = {
        facts["model_digest"] for each, facts in manifest.entries.items() if each.startswith(f"{folder}/")
    }
    return name if others <= {digest} else f"{folder}-{digest[:8]}/{stem}"


def _moved(
    old: Golden, trace: Trace, floor: NoiseFloor, x: np.ndarray, provenance: Provenance
) -> dict[str, float]:
    """Relative L2 distances of the tensors of ``trace`` from those of ``old``, of all that are not equal."""
    bare = replace(old, facts={**old.facts, "form": "full"}, relevance={}, activation={}, attribution=None)
    apart = distances(old, replace(bare, trace=trace, x=x))
    moved = {name: each.rel_l2 for name, each in apart.items() if not each.identical}
    if trace.target.tolist() != old.trace.target.tolist():
        moved["target"] = float("inf")
    if array_digest(old.x) != array_digest(x):
        moved["input"] = float("inf")
    return moved


def _words(moved: Mapping[str, float], old: Golden, form: str, otherwise: bool) -> str:
    if not moved and otherwise:
        return f"has the same tensors, but another floor ({old.floor.how})"
    if not moved:
        return f"has the form {old.form}, not {form}" if old.form != form else "is of another method"
    worst = max(moved, key=lambda name: moved[name])
    return f"differs from this run in {len(moved)} tensors, most in {worst} (relative L2 {moved[worst]:.1e})"


def _record(
    name: str,
    before: Mapping[str, Any],
    old: Golden,
    manifest: Manifest,
    reason: str,
    moved: Mapping[str, float],
) -> dict[str, Any]:
    kept = ("form", "versions", "harness", "time", "source", "model_digest", "backend", "target", "input")
    return {
        "entry": name,
        "file": before["file"],
        "sha256": manifest.files[before["file"]]["sha256"],
        "reason": reason,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "moved": {each: f"{figure:.3e}" for each, figure in moved.items()},
        "was": {key: old.facts[key] for key in kept if key in old.facts} | {"floor": old.floor.how},
    }
