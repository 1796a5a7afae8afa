"""Ideas that libraries read differently: what a page says about them, and how each reading is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from harness.graph import Graph
from harness.methods import Method
from harness.methods import method as method_named
from harness.trace import Trace


class Runs(Protocol):
    """Runs of the reference on one network and input, in float64, with the target of that input."""

    @property
    def graph(self) -> Graph: ...
    @property
    def x(self) -> np.ndarray: ...
    def trace(
        self, method: Method, x: np.ndarray | None = None, own_target: bool = False, layers: bool = False
    ) -> Trace:
        """One run; on another input of the same shape where ``x`` is given, with its own target if asked."""
        ...


@dataclass(frozen=True)
class Source:
    """Where a reading stands: ``lines`` of ``path`` in a library's source hold ``quote`` (white space aside).

    A paper has its year for a version and no path.
    """

    library: str
    version: str
    name: str
    path: str = ""
    lines: tuple[int, int] = (0, 0)
    quote: str = ""


#: How a reading is run: a catalogue name, a method, or a function for what no method expresses.
How = str | Method | Callable[[Runs], np.ndarray]


@dataclass(frozen=True)
class Reading:
    """One library's reading. ``formula`` in the notation of `harness.methods.rules`."""

    label: str
    formula: str
    sources: tuple[Source, ...]
    how: How

    @property
    def method(self) -> Method | None:
        """The method that has this reading; None where none has."""
        if isinstance(self.how, str):
            return method_named(self.how)
        return self.how if isinstance(self.how, Method) else None


@dataclass(frozen=True)
class Bug:
    """What a library plainly does wrong. ``reproduced``: whether the dialect does the same."""

    what: str
    sources: tuple[Source, ...]
    reproduced: bool


def always_possible(graph: Graph, x: np.ndarray) -> str:
    """For ideas that may show in any network."""
    return ""


@dataclass(frozen=True)
class Idea:
    """``stake``: what depends on the reading. The first reading is the one that the others are held against.

    ``settings``: names of `settings.SETTINGS` it is measured on. ``unmeasured``: by setting, why it is not.
    ``absent``: why a difference cannot show in a network and input, empty where it can.
    """

    name: str
    title: str
    stake: str
    readings: tuple[Reading, ...]
    bugs: tuple[Bug, ...] = ()
    settings: tuple[str, ...] = ("vgg16-mri", "fer-xception")
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    absent: Callable[[Graph, np.ndarray], str] = always_possible

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every source of the readings and the bugs."""
        parts: tuple[Any, ...] = (*self.readings, *self.bugs)
        return tuple(source for part in parts for source in part.sources)


INNVESTIGATE = ("iNNvestigate", "2.1.2")
SIGNXAI = ("signxai", "1.1.9.2")
ZENNIT = ("Zennit", "0.5.1")
_RELEVANCE = "innvestigate/analyzer/relevance_based"
_SIGNXAI = "signxai/methods/innvestigate/analyzer"
#: Files that are cited often.
FILES = {
    "innvestigate rules": f"{_RELEVANCE}/relevance_rule.py",
    "innvestigate analyzers": f"{_RELEVANCE}/relevance_analyzer.py",
    "signxai rules": f"{_SIGNXAI}/relevance_based/relevance_rule_base.py",
    "signxai analyzers": f"{_SIGNXAI}/relevance_based/relevance_analyzer.py",
    "zennit rules": "zennit/rules.py",
    "zennit composites": "zennit/composites.py",
}


def innvestigate(name: str, path: str, first: int, last: int, quote: str) -> Source:
    """A place in iNNvestigate 2.1.2; ``path`` is a key of FILES or a path below the package."""
    return Source(*INNVESTIGATE, name, FILES.get(f"innvestigate {path}", path), (first, last), quote)


def signxai(name: str, path: str, first: int, last: int, quote: str) -> Source:
    """A place in signxai 1.1.9.2."""
    return Source(*SIGNXAI, name, FILES.get(f"signxai {path}", path), (first, last), quote)


def zennit(name: str, path: str, first: int, last: int, quote: str) -> Source:
    """A place in Zennit 0.5.1."""
    return Source(*ZENNIT, name, FILES.get(f"zennit {path}", path), (first, last), quote)


def wrong_citations(ideas: Iterable[Idea], roots: Iterable[Path]) -> tuple[list[str], int]:
    """Citations whose lines do not hold their quote, as sentences, and how many citations were looked at.

    ``roots``: folders with the packages of the libraries in them; a file that is in none of them is not looked at.
    """
    wrong, seen = [], 0
    folders = list(roots)
    for idea in ideas:
        for source in idea.sources:
            files = [root / source.path for root in folders if source.path and (root / source.path).is_file()]
            for path in files[:1]:
                seen += 1
                first, last = source.lines
                text = "".join(path.read_text(encoding="utf-8").splitlines()[first - 1 : last])
                if "".join(source.quote.split()) not in "".join(text.split()):
                    wrong.append(f"{idea.name}: {source.path}:{first}-{last} does not hold {source.quote!r}")
    return wrong, seen
