"""The result of an analysis: its rows, as tables and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from harness.methods import Method, to_json
from harness.stability.figures import (
    QUANTILES,
    SHARES,
    THRESHOLDS,
    Forms,
    InputStability,
    LayerStability,
    LedgerEntry,
    Origin,
)

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Stability:
    """Where relevance becomes extreme or NaN in one run, and why.

    ``target``: the explained class of each sample. ``layers``: in backward order, without the input.
    ``terms``: how many the longest sum of the network has, which rounding grows with.
    ``ledger``: an entry for each layer and sample, in backward order, the input's last. ``origin``: None where
    everything is finite. ``forms``: None where they were not asked for, or nothing is divided.
    """

    model: str
    method: Method
    backend: str
    dtype: str
    target: tuple[int, ...]
    terms: int
    layers: tuple[LayerStability, ...]
    ledger: tuple[LedgerEntry, ...]
    origin: Origin | None
    input: InputStability
    forms: Forms | None

    @property
    def sentence(self) -> str:
        """What happened, and what to do next."""
        from harness.stability.wording import sentence

        return sentence(self)

    @property
    def table(self) -> pandas.DataFrame:
        """A row a layer, in backward order: the figures of `LayerStability` and the ledger summed over samples."""
        import pandas

        return pandas.DataFrame.from_records(
            [_layer_record(row) | self._absorbed_at(row.layer) for row in self.layers]
        )

    @property
    def ledger_table(self) -> pandas.DataFrame:
        """A row for each layer and sample, and under ``TOTAL`` one for each sample from the head to the input."""
        import pandas

        entries = [*self.ledger, *self.totals]
        return pandas.DataFrame.from_records(
            [{"layer": e.layer, "sample": e.sample, **_balance(e)} for e in entries]
        )

    @property
    def totals(self) -> tuple[LedgerEntry, ...]:
        """For each sample what the head received, what the input was given, and the sums of what lies between."""
        samples = range(len(self.target))
        return tuple(_total([entry for entry in self.ledger if entry.sample == sample]) for sample in samples)

    @property
    def forms_table(self) -> pandas.DataFrame:
        """A row for each stabilizer form and layer; empty without forms."""
        import pandas

        return pandas.DataFrame.from_records([asdict(row) for row in self.forms.layers] if self.forms else [])

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs. NaN and infinities are the strings "NaN", "Infinity" and "-Infinity"."""
        return _plain(
            {
                "sentence": self.sentence,
                "model": self.model,
                "method": {"name": self.method.name, "definition": to_json(self.method)},
                "backend": self.backend,
                "dtype": self.dtype,
                "target": self.target,
                "quantiles": QUANTILES,
                "thresholds": THRESHOLDS,
                "origin": None if self.origin is None else asdict(self.origin),
                "layers": [asdict(row) for row in self.layers],
                "ledger": [asdict(entry) for entry in self.ledger],
                "totals": [asdict(entry) for entry in self.totals],
                "input": asdict(self.input),
                "forms": None if self.forms is None else asdict(self.forms),
            }
        )

    def _absorbed_at(self, layer: str) -> dict[str, float]:
        entries = [_balance(entry) for entry in self.ledger if entry.layer == layer]
        return {name: sum(entry[name] for entry in entries) for name in entries[0]}


def _total(entries: list[LedgerEntry]) -> LedgerEntry:
    sums = {
        name: math.fsum(getattr(entry, name) for entry in entries)
        if all(math.isfinite(getattr(entry, name)) for entry in entries)
        else float("nan")
        for name in SHARES
    }
    return LedgerEntry("TOTAL", entries[0].sample, entries[0].received, entries[-1].passed, **sums)


def _balance(entry: LedgerEntry) -> dict[str, float]:
    return {
        "received": entry.received,
        "passed": entry.passed,
        "difference": entry.difference,
        **{name: getattr(entry, name) for name in SHARES},
    }


def _layer_record(row: LayerStability) -> dict[str, Any]:
    record: dict[str, Any] = {
        field.name: getattr(row, field.name)
        for field in fields(row)
        if field.name not in ("counts", "denominators")
    }
    record |= asdict(row.counts)
    denominators = row.denominators
    nan = float("nan")
    record |= {
        "denominator_min": denominators.smallest if denominators else nan,
        **{
            f"denominator_q{quantile:g}": denominators.quantiles[place] if denominators else nan
            for place, quantile in enumerate(QUANTILES)
        },
        "denominator_rms": denominators.rms if denominators else nan,
        "denominator_zeros": denominators.zeros if denominators else 0,
        **{
            f"through_{threshold:g}": denominators.passing[place] if denominators else nan
            for place, threshold in enumerate(THRESHOLDS)
        },
    }
    return record


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
