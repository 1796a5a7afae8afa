"""Writes `docs/api.md`, the page of the public names, from their signatures and docstrings: python -m evidence.api"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
from harness import errors
from harness.files import write_text
from harness.trace import LayerTrace

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
#: The names of `harness`, and what goes with them, in the order in which they are used.
SECTIONS: dict[str, tuple[Any, ...]] = {
    "Models": (harness.load_model, harness.load_pair, harness.LoadedModel, harness.LoadedPair),
    "Runs": (harness.explain, harness.load_trace, harness.Trace, LayerTrace),
    "Many targets of one input": (harness.explain_many, harness.Queries),
    "Comparison": (harness.compare, harness.Comparison, harness.NoiseFloor),
    "Diagnosis": (harness.diagnose, harness.Diagnosis, harness.Finding),
    "Implementations of your own": (
        harness.backend_from_composite,
        harness.backend_from_function,
        harness.register_backend,
    ),
    "Lists": (harness.list_methods, harness.list_models, harness.list_backends),
    "Tests": (harness.parametrize_with_methods,),
}
#: What callers need not know of an object: how it is made, and what the harness hands on in it.
_HIDDEN = frozenset({"case", "executed_by", "name_inputs", "shown", "reproduce_in"})


def page() -> str:
    """The page as Markdown."""
    parts = [
        "# The Python API",
        "Written by `python -m evidence.api` from the signatures and docstrings. `import harness` has these names and "
        "no others; it loads no framework. Errors: [below](#errors). What a release may change: "
        "[versions](versions.md).",
    ]
    for title, members in SECTIONS.items():
        parts.append(f"## {title}")
        for member in members:
            parts += _class(member) if inspect.isclass(member) else _function(member)
    return "\n\n".join([*parts, "## Errors", *_errors()]) + "\n"


def _function(function: Any) -> Iterator[str]:
    yield f"### `harness.{function.__name__}`"
    yield f"```text\n{function.__name__}{_signature(function)}\n```"
    yield _text(inspect.getdoc(function))


def _class(kind: type) -> Iterator[str]:
    public = f"harness.{kind.__name__}" if kind.__name__ in harness.__all__ else kind.__name__
    yield f"### `{public}`"
    yield _text(inspect.getdoc(kind))
    rows = [*_fields(kind), *_members(kind)]
    if rows:
        yield "\n".join(["| name | type | what it is |", "| --- | --- | --- |", *rows])


def _fields(kind: type) -> Iterator[str]:
    """The fields of a dataclass; what they are says the docstring of the class."""
    for each in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        if each.name not in _HIDDEN and not each.name.startswith("_"):
            yield f"| `{each.name}` | {_type(each.type)} | |"


def _members(kind: type) -> Iterator[str]:
    """Properties and methods; those of another class of the page are there."""
    others = {each for members in SECTIONS.values() for each in members} - {kind}
    for base in (each for each in reversed(kind.__mro__) if each not in others):
        for name, member in vars(base).items():
            if name.startswith("_") or name in _HIDDEN or base.__module__.partition(".")[0] != "harness":
                continue
            described = getattr(member, "fget", None) or getattr(member, "func", None)
            if described is not None:
                returned = inspect.signature(described).return_annotation
                yield f"| `{name}` | {_type(returned)} | {_cell(described)} |"
            elif inspect.isfunction(member):
                shown = f"{name}{_signature(member)}".replace("(self, ", "(").replace("(self)", "()")
                yield f"| `{_bars(shown)}` | | {_cell(member)} |"


def _errors() -> Iterator[str]:
    yield (
        "Every error that is raised on purpose is a `harness.HarnessError`; `harness.errors` has the kinds. The "
        "message is one line: what was found, what was expected, what to do."
    )
    rows = [
        f"| `{name}` | {', '.join(f'`{base.__name__}`' for base in kind.__bases__)} | {_cell(kind)} |"
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, harness.HarnessError)
    ]
    yield "\n".join(["| error | is a | raised for |", "| --- | --- | --- |", *rows])


def _signature(function: Any) -> str:
    """Over several lines where one would be long."""
    signature = inspect.signature(function)
    words = []
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        annotation = "" if each.annotation is each.empty else f": {each.annotation}"
        words.append(f"{each.name}{annotation}{'' if each.default is each.empty else f' = {each.default!r}'}")
    returned = f" -> {signature.return_annotation}"
    line = f"({', '.join(words)}){returned}"
    if len(line) < 90:
        return line
    return "\n".join(["(", *(f"    {word}," for word in words), f"){returned}"])


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return f"`{_bars(text)}`"


def _bars(text: str) -> str:
    return text.replace("|", "\\|")


def _cell(described: Any) -> str:
    return _bars(" ".join(_text(inspect.getdoc(described)).split()))


def _text(doc: str | None) -> str:
    """A docstring as Markdown: its code spans and references are code spans."""
    text = re.sub(r":(?:func|class|meth|attr|data):`~?([^`]+)`", r"`\1`", doc or "")
    return re.sub(r"``([^`]+)``", r"`\1`", text).strip()


if __name__ == "__main__":
    write_text(PAGE, page())
