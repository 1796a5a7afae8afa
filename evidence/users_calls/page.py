"""The rows, and the page that is written from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True)
class Row:
    """One call. ``error``: of the library beside the reference, relative L2.

    ``floor``: the reference in float32 beside itself in float64, where the two do not agree.
    """

    library: str
    model: str
    form: str
    name: str
    method: str
    status: str
    error: float | None
    floor: float | None
    reason: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells a call from the others."""
        return self.library, self.model, self.form, self.name

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Row:
        """A row from its text."""
        numbers = {key: float(values[key]) if values[key] else None for key in ("error", "floor")}
        return cls(**{**values, **numbers})  # type: ignore[arg-type]

    def fields(self) -> tuple[str, ...]:
        """A row as text."""
        return tuple("" if value is None else f"{value}" for value in astuple(self))


FIELDS = tuple(each.name for each in fields(Row))


def page(rows: Sequence[Row], bound: float) -> str:
    """The report: a count by library, model and form, and what does not agree with its reason."""
    lines = [
        "# signxai and iNNvestigate as their users call them",
        "",
        "Written by `python -m evidence.users_calls`. The libraries run in their own interpreters, on Keras models",
        "with activations inside the layers, functional and, where the network is a chain, sequential. They are handed",
        "no class and nothing that has a default. Beside them runs the reference, in float32, with the method that the",
        "dialect has for that call.",
        f"Agreement is a relative L2 of at most {bound:g}.",
        "",
        "| library | network | model | agree | others |",
        "| --- | --- | --- | --- | --- |",
    ]
    groups = list(dict.fromkeys((row.library, row.model, row.form) for row in rows))
    for group in groups:
        counts = Counter(row.status for row in rows if row.key[:3] == group)
        agree = counts.pop("agrees", 0)
        others = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        lines.append(f"| {' | '.join(group)} | {agree} | {others} |")
    lines += ["", "## What does not agree, and why", "", "| where | names | why |", "| --- | --- | --- |"]
    together: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.status != "agrees":
            where = " ".join(row.key[:3])
            together.setdefault((where, row.status, _without_name(row)), []).append(row)
    for (where, status, reason), same in together.items():
        errors = [row.error for row in same if row.error is not None]
        figure = f" ({min(errors):.1e} to {max(errors):.1e})" if errors else ""
        names = ", ".join(f"`{row.name}`" for row in same)
        lines.append(f"| {where} | {names} | {status}{figure}: {reason} |")
    return "\n".join(lines) + "\n"


def _without_name(row: Row) -> str:
    """The reason on one line, the method's name and figures of its own taken out."""
    text = " ".join(row.reason.replace(row.method, "NAME").split()).replace("|", "/")
    if row.status == "ill-conditioned":
        return "the reference in float32 is as far from itself in float64"
    return text if len(text) <= 300 else f"{text[:297]}..."
