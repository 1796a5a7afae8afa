"""The text of a reproducer: script and README, and the arrays that the script reads."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from harness.backends.protocol import StepProgram
from harness.comparison.floor import MULTIPLE
from harness.diagnosis.findings import Finding
from harness.naming import docstring, markdown, printable

_WIDTH = 108

_HEAD = '''\
"""{what}

Prints how far the candidate is from what is expected. Exits with 1 while the error is there, with 0 once it
is gone. Needs {needs}, and data.npz beside it: arrays are batch first, channels last.
"""

import sys
from pathlib import Path

import numpy as np
'''

_DATA = """
#: Above this relative L2 error rounding is no explanation: {multiple:g} times {floor:.2e}, which it may explain.
LIMIT = {limit!r}

data = np.load(Path(__file__).with_name("data.npz"), allow_pickle=False)
"""

_COMPARISON = '''

# --- the comparison ---


def compare(place, want, got):
    """Prints one array's figures; returns whether rounding explains the difference."""
    want, got = np.asarray(want, np.float64), np.asarray(got, np.float64)
    if want.shape != got.shape:
        print(f"array {place}: shape {got.shape}, expected {want.shape}")
        return False
    finite = np.isfinite(want) & np.isfinite(got)
    stray = int((~finite & ~((want == got) | (np.isnan(want) & np.isnan(got)))).sum())
    w, g = want[finite], got[finite]
    distance, size = np.linalg.norm(g - w), np.linalg.norm(w)
    error = 0.0 if distance == 0 else distance / size if size else np.inf
    scale = w @ g / (g @ g) if g.any() else np.nan
    left = np.linalg.norm(scale * g - w) / size if size and g.any() else np.nan
    print(f"array {place}: relative L2 error {error:.6e} (limit {LIMIT:.1e})")
    print(f"  best scale {scale:.6g} on the candidate, {left:.1e} left after it")
    if stray:
        print(f"  {stray} entries are NaN or infinite on one side and not so on the other")
    with np.errstate(invalid="ignore"):
        off = np.where(finite, np.abs(got - want), np.where(np.isnan(want) & np.isnan(got), 0.0, np.inf))
        off[want == got] = 0.0
    print("  the worst entries:          index        expected           found")
    for flat in np.argsort(-off, axis=None, kind="stable")[:5]:
        index = tuple(int(i) for i in np.unravel_index(flat, off.shape))
        print(f"    {str(index):>28} {want[index]:15.8e} {got[index]:15.8e}")
    return error <= LIMIT and not stray


def main():
    inputs = [data[f"input_{place}"] for place in range(COUNT)]
    relevance = data["relevance"] if "relevance" in data else None
    copies = [x.copy() for x in inputs]  # the candidate may compute in place
    given = candidate(copies, None if relevance is None else relevance.copy(), CONSTANTS)
    recorded = [data[f"expected_{place}"] for place in RESULTS]
    with np.errstate(all="ignore"):
        wanted = recomputed(inputs, relevance)
    if wanted is None:
        wanted = recorded
        print("expected: as recorded from the NumPy float64 reference")
    else:
        wanted = [wanted[place] for place in RESULTS]
        size = max(np.linalg.norm(w) for w in recorded) or 1.0
        gap = max(np.linalg.norm(np.nan_to_num(w - r)) for w, r in zip(wanted, recorded))
        print(f"expected: recomputed here; {gap / size:.1e} from what the float64 reference gave")
    agree = [compare(*each) for each in zip(RESULTS, wanted, given)]
    print("the error is gone" if all(agree) else "the error is there")
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
'''

_RECOMPUTED = '''

def recomputed(inputs, relevance):
    """The same in float64, whatever the candidate computes in."""
    R = None if relevance is None else relevance.astype(np.float64)
    return expected([x.astype(np.float64) for x in inputs], R)
'''

_NOT_RECOMPUTED = '''

def recomputed(inputs, relevance):
    """None: there is no short formula for this here, the recorded result stands."""
    return None
'''

_RECORDED = '''

def candidate(inputs, relevance, constants):
    """What the candidate gave, as recorded ({why}).

    Put a call of the candidate here, on these inputs{relevance}, to see whether the error is gone.
    """
    return [data[f"observed_{{place}}"] for place in RESULTS]
'''


@dataclass(frozen=True, eq=False)
class Contents:
    """What goes into the folder.

    ``finding`` and ``versions`` say what it is about. ``compared``: what the arrays are. ``specified``:
    what is expected, in words; ``formula``: as code (`formulas`), None where there is none. ``weights``: by
    name, in canonical layout. ``program``: the candidate's, None where ``observed`` stands for it, and
    ``why_recorded`` says why. ``part``: the case in words.
    """

    finding: Finding
    compared: str
    part: str
    specified: str
    formula: str | None
    inputs: tuple[np.ndarray, ...]
    relevance: np.ndarray | None
    target: np.ndarray | None
    weights: Mapping[str, np.ndarray]
    expected: tuple[np.ndarray, ...]
    observed: tuple[np.ndarray | None, ...]
    program: StepProgram | None
    why_recorded: str
    error: float
    floor: float
    versions: Mapping[str, Mapping[str, str]]

    @property
    def seen(self) -> list[int]:
        """The places of the results that there are on both sides."""
        return [place for place, array in enumerate(self.observed) if array is not None]


def arrays(contents: Contents) -> dict[str, np.ndarray]:
    """What is in data.npz."""
    stored = {f"input_{place}": x for place, x in enumerate(contents.inputs)}
    if contents.relevance is not None:
        stored["relevance"] = contents.relevance
    if contents.target is not None:
        stored["target"] = contents.target
    for place in contents.seen:
        stored[f"expected_{place}"] = contents.expected[place]
    shared = _shared(contents)
    if contents.program is None:
        stored |= {
            f"observed_{place}": array for place, array in enumerate(contents.observed) if array is not None
        }
    else:
        stored |= {
            f"candidate_{name}": array
            for name, array in contents.program.constants.items()
            if name not in shared
        }
    read = {weight for weight, _ in shared.values()} | (
        set(contents.weights) if contents.formula is not None else set()
    )
    return stored | {name: array for name, array in contents.weights.items() if name in read}


def script(contents: Contents) -> str:
    """The text of reproduce.py."""
    program = contents.program
    needs = "NumPy alone" if program is None else f"NumPy and {docstring(program.framework)} alone"
    text = _HEAD.format(what=_docstring(contents), needs=needs)
    limit = MULTIPLE * contents.floor
    text += _DATA.format(multiple=MULTIPLE, floor=contents.floor, limit=limit)
    text += f"COUNT, RESULTS = {len(contents.inputs)}, {contents.seen}\n"
    text += "\n\n# --- what is expected ---\n#\n" + _commented(contents.specified)
    text += contents.formula or ""
    text += _NOT_RECOMPUTED if contents.formula is None else _RECOMPUTED
    text += "\n\n# --- what the candidate does ---\n"
    if program is None:
        given = "" if contents.relevance is None else " and this relevance"
        text += "\nCONSTANTS = {}\n" + _RECORDED.format(why=docstring(contents.why_recorded), relevance=given)
    else:
        text += f"\n{program.code}" + _constants(contents)
    return text + _COMPARISON


def readme(contents: Contents) -> str:
    """The text of README.md."""
    program = contents.program
    lines = [
        "# Reproducer",
        "",
        markdown(contents.finding.sentence),
        "",
        "| | |",
        "|---|---|",
        f"| compared | {markdown(contents.compared)} |",
        f"| case | {markdown(contents.part)} |",
        f"| error here | relative L2 {contents.error:.3e}; rounding explains {contents.floor:.1e} |",
    ]
    lines += [
        f"| {side} | {markdown(', '.join(f'{name} {_short(version)}' for name, version in versions.items()))} |"
        for side, versions in contents.versions.items()
    ]
    packages = "numpy" if program is None else f"numpy {markdown(program.framework)}"
    lines += [
        "",
        f"Run it with `python reproduce.py`, after `pip install {packages}`. It prints how far the candidate is "
        "from what is expected, and exits with 1 while the error is there, with 0 once it is gone.",
        "",
    ]
    if program is None:
        lines += [
            "What the candidate gave is recorded in `data.npz` and not computed anew "
            f"({markdown(contents.why_recorded)}). "
            "To go further, put a call of the candidate into `candidate()` in `reproduce.py`.",
        ]
    else:
        lines += [
            f"`candidate()` in `reproduce.py` holds the operations that the candidate carried out, one by one, in "
            f"{markdown(program.framework)} alone. Mend it there, or put a call of the mended candidate in its place.",
        ]
    return "\n".join(lines) + "\n"


def _short(version: str) -> str:
    """A version as it is, a digest by its first digits."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", version)


def _docstring(contents: Contents) -> str:
    what = f"Compared: {contents.compared} ({contents.part})."
    texts = (contents.finding.sentence, what)
    return "\n\n".join(docstring("\n".join(textwrap.wrap(printable(text), _WIDTH))) for text in texts)


def _commented(text: str) -> str:
    lines = []
    for line in text.split("\n"):
        lines += textwrap.wrap(printable(line), _WIDTH, drop_whitespace=False, break_on_hyphens=False) or [""]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _shared(contents: Contents) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The candidate's constants that are a weight of the layer with its axes in another order, bit for bit."""
    if contents.program is None:
        return {}
    shared = {}
    for name, constant in contents.program.constants.items():
        for weight, array in contents.weights.items():
            order = _order(array, constant)
            if order is not None:
                shared[name] = (weight, order)
                break
    return shared


def _order(array: np.ndarray, transposed: np.ndarray) -> tuple[int, ...] | None:
    if array.dtype != transposed.dtype or array.ndim != transposed.ndim:
        return None
    for order in permutations(range(array.ndim)):
        other = array.transpose(order)
        if other.shape == transposed.shape and np.array_equal(other, transposed):
            return order
    return None


def _constants(contents: Contents) -> str:
    assert contents.program is not None
    shared = _shared(contents)
    lines = ["\n\n#: By name, in the candidate's own layout.\nCONSTANTS = {"]
    for name in contents.program.constants:
        if name not in shared:
            lines.append(f"    {_string(name)}: data[{_string(f'candidate_{name}')}],")
            continue
        weight, order = shared[name]
        moved = "" if order == tuple(range(len(order))) else f".transpose({', '.join(map(str, order))})"
        lines.append(f"    {_string(name)}: data[{_string(weight)}]{moved},")
    return "\n".join([*lines, "}"]) + "\n"


def _string(text: str) -> str:
    """``text`` as a string of Python in double quotes."""
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
