"""The rows, and the page that is written from them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from evidence.users_calls.calls import MODELS


@dataclass(frozen=True)
class Row:
    """One call, or every name of a library on a network that it cannot hold.

    ``error``: of the library beside the reference in float32, relative L2. Where it is above the bound, also
    ``floor``, of the reference in float32 beside itself in float64, and ``error64``, of the library beside the
    reference in float64, None where the library fails there.
    """

    library: str
    model: str
    form: str
    name: str
    method: str
    status: str
    error: float | None = None
    floor: float | None = None
    error64: float | None = None
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells a call from the others."""
        return self.library, self.model, self.form, self.name

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Row:
        """A row from its text."""
        numbers = {key: float(values[key]) if values[key] else None for key in ("error", "floor", "error64")}
        return cls(**{**values, **numbers})  # type: ignore[arg-type]

    def fields(self) -> tuple[str, ...]:
        """A row as text."""
        return tuple("" if value is None else f"{value}" for value in astuple(self))


#: In the place of a name where no name can be called.
EVERY_NAME = "every name"
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
        f"Agreement is a relative L2 of at most {bound:g}. Where it is more, both sides run in float64 as well.",
        "`agrees in float64`: there it is at most that, and in float32 at most 10 times what the reference in float32",
        "is from itself in float64, so that rounding alone keeps the two apart. `ill-conditioned`: the second of the",
        "two holds, and the library fails in float64. `differs`: one of the two does not hold.",
        "",
        "| library | network | model | agree | agree in float64 | others |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows = sorted(rows, key=lambda row: (row.library, MODELS.index(row.model), row.form))
    groups = list(dict.fromkeys((row.library, row.model, row.form) for row in rows))
    for group in groups:
        counts = Counter(row.status for row in rows if row.key[:3] == group)
        agree, agree64 = counts.pop("agrees", 0), counts.pop("agrees in float64", 0)
        others = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        lines.append(f"| {' | '.join(group)} | {agree} | {agree64} | {others} |")
    lines += ["", "## What does not agree, and why", "", "| where | names | why |", "| --- | --- | --- |"]
    together: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.status != "agrees":
            where = " ".join(row.key[:3])
            together.setdefault((where, row.status, _without_name(row)), []).append(row)
    for (where, status, reason), same in together.items():
        names = ", ".join(row.name if row.name == EVERY_NAME else f"`{row.name}`" for row in same)
        lines.append(f"| {where} | {names} | {status}{_figures(same)}: {reason} |")
    return "\n".join(lines) + "\n"


def _figures(rows: Sequence[Row]) -> str:
    """The least and the largest error of ``rows``, by dtype."""
    parts = []
    for dtype, errors in (
        ("float32", [row.error for row in rows]),
        ("float64", [row.error64 for row in rows]),
    ):
        known = [error for error in errors if error is not None]
        if known:
            parts.append(f"{min(known):.1e} to {max(known):.1e} in {dtype}")
    return f" ({', '.join(parts)})" if parts else ""


def _without_name(row: Row) -> str:
    """The reason on one line, the method's name, figures of its own and addresses in memory taken out."""
    reason = row.reason.replace(row.method, "NAME") if row.method else row.reason
    text = re.sub(r" object at 0x[0-9a-f]+", "", " ".join(reason.split()).replace("|", "/"))
    if row.status in ("ill-conditioned", "agrees in float64"):
        fails = "; the library fails in float64" if row.error64 is None else ""
        return f"the reference in float32 is as far from itself in float64{fails}"
    return text if len(text) <= 300 else f"{text[:297]}..."
