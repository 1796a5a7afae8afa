"""Golden outputs: the reference's traces on disk, with everything needed to hold a port against them later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from harness.comparison import NoiseFloor
from harness.errors import InvalidInputError, ModelSourceError, described
from harness.files import array_digest
from harness.methods import slug
from harness.naming import file_name
from harness.trace import Trace, load_trace_with_facts, save_trace

#: What to do about a golden that is damaged. Not to record it again: that would make a golden of today's code.
_REMEDY = "restore it from version control"


@dataclass(frozen=True)
class Golden:
    """A stored run of the reference: its trace, its noise floor, and the input it was made of."""

    path: Path
    trace: Trace
    floor: NoiseFloor
    input_name: str

    @property
    def x(self) -> np.ndarray:
        """The explained input: what the input layer passed on."""
        first = next(iter(self.trace.layers.values()))
        if first.activation is None:
            raise ModelSourceError(f"{self.path} holds no input; {_REMEDY}")
        return first.activation


def golden_path(root: Path, model: str, method: str, dtype: str) -> Path:
    """Where the golden of a case lies under ``root``."""
    return root / file_name(model) / f"{file_name(slug(method))}.{dtype}.safetensors"


def _own_place(root: Path, trace: Trace) -> Path:
    """Where ``trace`` goes: `golden_path`, but beside the goldens of another network of that name, never over them."""
    path = golden_path(root, trace.model, trace.method.name, trace.dtype)
    digest = trace.provenance.get("model_digest")
    others = (_recorded_digest(each) for each in path.parent.glob("*.json"))
    return path if all(other == digest for other in others) else _beside(path, digest)


def _beside(path: Path, digest: object) -> Path:
    """The place of a golden whose network, of this digest, has the name of another's."""
    return path.parent.with_name(f"{path.parent.name}-{str(digest)[:8]}") / path.name


def _recorded_digest(sidecar: Path) -> object:
    """The digest of the network that a golden was recorded with; None where its facts cannot be read."""
    try:
        return json.loads(sidecar.read_bytes())["provenance"]["model_digest"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def save_golden(root: Path, trace: Trace, floor: NoiseFloor, input_name: str) -> Path:
    """Store a run of the reference with its provenance; returns the path of the arrays.

    A golden of the same network, method and dtype is replaced; one of another network with the same name is left
    where it is. The provenance says which backend and versions made it, on which model and input (by digest), for
    which target, with the method as data.
    """
    if not trace.layers:
        raise InvalidInputError("a golden needs every layer; explain with layers=True")
    path = _own_place(root, trace)
    first = next(iter(trace.layers.values()))
    extra = {
        "input": {
            "name": input_name,
            "sha256": array_digest(first.activation) if first.activation is not None else None,
        },
        "target": trace.target.tolist(),
        "floor": floor.to_json(),
    }
    save_trace(trace, path, extra)
    return path


def load_golden(path: Path) -> Golden:
    """Read one golden.

    Raises ModelSourceError, which says what to do, for a golden that is damaged, is not the one its name says,
    or is a trace without what makes a golden.
    """
    trace, facts = load_trace_with_facts(path, _REMEDY)
    try:
        golden = Golden(path, trace, NoiseFloor.from_json(facts["floor"]), str(facts["input"]["name"]))
        expected = facts["input"]["sha256"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelSourceError(f"{path} is a trace but no golden ({described(error)}); {_REMEDY}") from None
    place = golden_path(path.parent.parent, trace.model, trace.method.name, trace.dtype)
    if path not in (place, _beside(place, trace.provenance.get("model_digest"))):
        raise ModelSourceError(
            f"{path} holds the golden that belongs in {place}; {_REMEDY}, or give it its own name"
        )
    if array_digest(golden.x) != expected:
        raise ModelSourceError(f"{path}: the stored input is not the one it was recorded with; {_REMEDY}")
    return golden


def find_goldens(root: Path, models: Sequence[str] = (), methods: Sequence[str] = ()) -> Iterator[Path]:
    """Paths of the goldens under ``root``, of these models, whose method matches any of these globs; sorted.

    ``models``: names, or files, whose goldens have the name of the file without its suffix. Raises InvalidInputError
    where there is none.
    """
    found = False
    # Either file of an entry names it: one that has lost the other is a damaged entry, not an absent one.
    entries = {
        path.with_suffix(".safetensors")
        for suffix in ("safetensors", "json")
        for path in root.glob(f"*/*.{suffix}")
    }
    for path in sorted(entries):
        if path.name.startswith("."):  # what a recording that was killed has left
            continue
        name = path.name.rsplit(".", 2)[0]
        if models and not any(_is_of(path.parent.name, model) for model in models):
            continue
        if methods and not any(
            fnmatchcase(name, slug(each)) or name == file_name(slug(each)) for each in methods
        ):
            continue
        found = True
        yield path
    if not found:
        wanted = " ".join((*models, *methods))
        raise InvalidInputError(
            f"no golden{f' for {wanted}' if wanted else ''} under {root}; make one with: xai-harness golden record"
        )


def _is_of(folder: str, model: str) -> bool:
    """Whether ``folder`` holds goldens of ``model``, or of another network with its name."""
    stems = {file_name(model), file_name(Path(model).stem)}
    return folder in stems or (folder[-9:-8] == "-" and folder[:-9] in stems)
